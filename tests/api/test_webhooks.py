"""Webhooks as those meet them who make them and who are told: the API, what is sent, when, and what is told of them."""

import asyncio
import hashlib
import hmac
import json
import logging
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from api import app, deliveries
from api.deliveries import Sender
from made import ALL, queue
from receiver import HOST, Receiver, receiving
from store import feed, jobs, logs, projects, tokens, webhooks
from store.database import Base, transaction
from store.people import TELLS, Delivery
from store.settings import StoreSettings, settings

ANY = {"If-Match": "*"}
KEY = "T0P53CR3T"
PATH = f"/hooks/{KEY}"


@pytest.fixture
def reached(inside: Callable[[str], None], looked_up: Any) -> None:
    """The receiver's name stands for this machine, and webhooks may go there."""
    inside("127.0.0.1/32")
    looked_up({HOST: [["127.0.0.1"]]})


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as found:
        yield found


def made(api: Any, port: int = 443, **about: Any) -> dict[str, Any]:
    answer = api.post("/api/v1/webhooks", json={"url": f"https://{HOST}:{port}{PATH}"} | about)
    assert answer.status_code == 201, answer.text
    return answer.json()


def cancelled(**about: Any) -> uuid.UUID:
    """A job that has ended."""
    with transaction() as session:
        job_id = queue(session, tokens.user_named(session, "ada"), **about).id
        jobs.cancel(session, job_id)
    return job_id


def listed(api: Any, hook: dict[str, Any]) -> list[dict[str, Any]]:
    return api.get(f"/api/v1/webhooks/{hook['id']}/deliveries").json()["items"]


def time_goes_by(**span: float) -> None:
    with transaction() as session:
        waits = update(Delivery).where(Delivery.state == "waiting")
        session.execute(waits.values(next_try=Delivery.next_try - timedelta(**span)))


def as_user(name: str, role: str, **about: Any) -> dict[str, str]:
    with transaction() as session:
        return {
            "Authorization": f"Bearer {tokens.issue(session, tokens.user_named(session, name, role), 'x', **about)}"
        }


# ---- what arrives


def test_a_job_that_ends_is_told_of_with_a_signature_that_the_documented_lines_verify(
    api, reached, receiver: Receiver, runner, root: Path
) -> None:
    hook = made(api, receiver.port, project=None)
    job_id = cancelled(name="net")
    assert deliveries.look(runner) == 1
    (got,) = receiver.got
    (told,) = listed(api, hook)
    code = re.search(r"```python\n(.*?)```", (root / "docs/howto/webhooks.md").read_text(), re.DOTALL)
    scope: dict[str, Any] = {}
    exec(code[1], scope)
    verified = scope["verified"]
    assert verified(hook["secret"], got.headers, got.body)
    assert not verified(hook["secret"], got.headers, got.body + b" ")
    assert not verified(hook["secret"] + "0", got.headers, got.body)
    assert not verified(hook["secret"], got.headers | {"Sparring-Timestamp": "1780000000"}, got.body)
    assert json.loads(got.body) == {
        "event": "job.cancelled",
        "delivery": told["id"],
        "at": told["created_at"].replace("Z", "+00:00"),
        "job": {
            "id": str(job_id),
            "number": 1,
            "name": "net",
            "project": "default",
            "state": "cancelled",
            "reason": "user",
            "link": f"{settings().url}/jobs/{job_id}",
        },
    }
    assert got.path == PATH
    assert (got.headers["Sparring-Event"], got.headers["Sparring-Delivery"]) == ("job.cancelled", told["id"])
    assert got.headers["Content-Type"] == "application/json"
    assert (told["state"], told["status"], told["attempts"], told["next_try"]) == ("delivered", 204, 1, None)


def test_a_signature_is_that_of_rfc_4231() -> None:
    """Test case 2: key `Jefe`, data `what do ya want for nothing?`, the dot among them taken as ours would be."""
    reference = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert hmac.new(b"Jefe", b"what do ya want for nothing?", hashlib.sha256).hexdigest() == reference
    assert deliveries.signature("k", "1", b"{}") == hmac.new(b"k", b"1.{}", hashlib.sha256).hexdigest()


def test_a_test_is_sent_without_a_job(api, reached, receiver, runner) -> None:
    hook = made(api, receiver.port)
    answer = api.post(f"/api/v1/webhooks/{hook['id']}/test")
    assert (answer.status_code, answer.json()["state"]) == (201, "waiting")
    assert receiver.got == [], "nothing is sent in a request"
    deliveries.look(runner)
    (got,) = receiver.got
    assert (got.headers["Sparring-Event"], b'"job": null' in got.body) == ("test", True)


def test_a_receiver_that_is_down_is_tried_again_and_nothing_is_lost_or_sent_under_another_id(
    api, reached, tmp_path, receiver, runner
) -> None:
    hook = made(api, receiver.port)
    cancelled(), cancelled()
    receiver.stop()
    assert deliveries.look(runner) == 2
    down = listed(api, hook)
    assert [(one["state"], one["attempts"], one["status"]) for one in down] == [("waiting", 1, None)] * 2
    assert all("Connect" in one["error"] for one in down)
    assert deliveries.look(runner) == 0, "not before its time"
    with receiving(tmp_path, port=receiver.port) as again:
        again.statuses = [500, 204]
        time_goes_by(seconds=11)
        assert deliveries.look(runner) == 2
        time_goes_by(seconds=61)
        assert deliveries.look(runner) == 1
        ids = [got.headers["Sparring-Delivery"] for got in again.got]
        assert set(ids) == {one["id"] for one in down}
        assert len(ids) == 3
        same = [got for got in again.got if ids.count(got.headers["Sparring-Delivery"]) == 2]
        assert same[0].body == same[1].body
    assert [one["state"] for one in listed(api, hook)] == ["delivered"] * 2


def test_an_api_that_dies_before_it_notes_the_answer_has_it_sent_again_under_the_same_id(
    api, reached, receiver, runner, monkeypatch
) -> None:
    hook = made(api, receiver.port)
    cancelled()

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(webhooks, "settle", dies)
        with pytest.raises(KeyboardInterrupt):
            deliveries.look(runner)
    assert [(one["state"], one["attempts"]) for one in listed(api, hook)] == [("waiting", 1)]
    assert deliveries.look(runner) == 0
    time_goes_by(seconds=61)
    assert deliveries.look(runner) == 1
    first, second = receiver.got
    assert first.headers["Sparring-Delivery"] == second.headers["Sparring-Delivery"]
    assert first.body == second.body
    assert [(one["state"], one["attempts"]) for one in listed(api, hook)] == [("delivered", 2)]


def test_one_receiver_that_hangs_holds_nobody_up(api, reached, tmp_path, receiver, runner, monkeypatch) -> None:
    monkeypatch.setattr(deliveries.receivers, "SECONDS", 1.0)
    receiver.statuses = [None]
    slow = made(api, receiver.port)
    with receiving(tmp_path) as quick:
        fast = made(api, quick.port)
        cancelled()
        assert deliveries.look(runner) == 2
    assert [(one["state"], one["error"]) for one in listed(api, slow)] == [("waiting", "no answer within 1 s")]
    assert [one["state"] for one in listed(api, fast)] == ["delivered"]


def test_a_redirect_is_an_answer_that_does_not_do(api, reached, receiver, runner) -> None:
    receiver.statuses = [302]
    hook = made(api, receiver.port)
    cancelled()
    deliveries.look(runner)
    (one,) = listed(api, hook)
    assert (one["state"], one["status"], one["error"]) == ("waiting", 302, "answered 302")
    assert len(receiver.got) == 1


def test_what_is_no_answer_is_not_quoted(api, reached, receiver, runner) -> None:
    receiver._answer = lambda handler: handler.wfile.write(b"something of the inside\r\n\r\n")
    hook = made(api, receiver.port)
    cancelled()
    deliveries.look(runner)
    (one,) = listed(api, hook)
    assert (one["state"], one["status"], one["error"]) == ("waiting", None, "the answer is not HTTP")


def test_an_error_of_our_own_is_the_error_of_one_delivery(api, reached, receiver, runner, monkeypatch) -> None:
    broken, sound = made(api, receiver.port), made(api, receiver.port)
    cancelled()
    post = deliveries.receivers.post

    async def sometimes(*about: Any) -> int:
        if b'"delivery": "%s"' % listed(api, broken)[0]["id"].encode() in about[1]:
            raise ZeroDivisionError("ours")
        return await post(*about)

    monkeypatch.setattr(deliveries.receivers, "post", sometimes)
    deliveries.look(runner)
    assert listed(api, broken)[0]["error"] == "ZeroDivisionError: ours"
    assert listed(api, sound)[0]["state"] == "delivered"


def test_the_thread_of_the_api_sends_by_itself_and_waits_for_a_database_that_is_away(
    api, reached, receiver, monkeypatch
) -> None:
    monkeypatch.setenv("SPARRING_REAPER_SECONDS", "0.05")
    settings.cache_clear()
    look, away = deliveries.look, [True, True]

    def at_first_away(runner: asyncio.Runner) -> int:
        if away:
            away.pop()
            raise OperationalError("", {}, Exception("gone"))
        return look(runner)

    monkeypatch.setattr(deliveries, "look", at_first_away)
    made(api, receiver.port)
    cancelled()
    sender = Sender()
    sender.start()
    sender.join(0.1)
    for _ in range(100):
        if receiver.got:
            break
        sender.join(0.1)
    sender.stop()
    assert not sender.is_alive()
    assert (len(receiver.got), away) == (1, [])


@pytest.mark.parametrize("on", [True, False])
def test_only_an_api_with_webhooks_switched_on_has_the_thread(servers, monkeypatch, on: bool) -> None:
    monkeypatch.setenv("SPARRING_WEBHOOKS", "on" if on else "off")
    settings.cache_clear()

    async def threads() -> list[str]:
        before = set(threading.enumerate())
        async with app.lifespan(FastAPI()):
            return sorted(one.name for one in set(threading.enumerate()) - before)

    assert ("sender" in asyncio.run(threads())) == on
    monkeypatch.undo()
    settings.cache_clear()


# ---- the API


def test_where_webhooks_are_off_the_answer_says_how_to_turn_them_on(api, monkeypatch) -> None:
    monkeypatch.setenv("SPARRING_WEBHOOKS", "off")
    settings.cache_clear()
    for method, path in (("GET", ""), ("POST", ""), ("DELETE", f"/{uuid.uuid4()}")):
        answer = api.request(
            method, f"/api/v1/webhooks{path}", json={"url": "https://a.org"} if method == "POST" else None
        )
        assert (answer.status_code, answer.json()["code"]) == (409, "webhooks_off")
        assert "SPARRING_WEBHOOKS=on" in answer.json()["detail"]
    monkeypatch.undo()
    settings.cache_clear()


def test_webhooks_are_off_unless_somebody_turns_them_on(servers) -> None:
    assert StoreSettings.model_fields["webhooks"].default is False


def test_the_secret_is_shown_once(api) -> None:
    hook = made(api)
    assert re.fullmatch(r"whs_[0-9a-f]{48}", hook["secret"])
    path = f"/api/v1/webhooks/{hook['id']}"
    shown = [api.get(path), api.get("/api/v1/webhooks"), api.patch(path, json={"active": True}, headers=ANY)]
    for answer in [*shown, api.post(f"{path}/test"), api.get(f"{path}/deliveries"), api.get("/api/v1/actions")]:
        assert answer.status_code < 300
        assert hook["secret"][4:] not in answer.text
    assert made(api)["secret"] != hook["secret"]


def test_a_webhook_is_changed_as_it_was_looked_at_by_who_then_answers_for_it(api) -> None:
    hook = made(api, project=None, events=["job.failed", "job.failed"])
    assert (hook["events"], hook["owner"], hook["active"]) == (["job.failed"], "ada", True)
    path = f"/api/v1/webhooks/{hook['id']}"
    tag = api.get(path).headers["etag"]
    eve = as_user("eve", "admin")
    changed = api.patch(path, json={"events": ["job.paused"], "active": False}, headers={"If-Match": tag} | eve)
    assert (changed.json()["events"], changed.json()["active"], changed.json()["owner"]) == (
        ["job.paused"],
        False,
        "eve",
    )
    assert api.get(path).headers["etag"] == changed.headers["etag"] != tag
    again = api.patch(path, json={}, headers={"If-Match": tag})
    assert (again.status_code, again.json()["code"]) == (412, "changed_meanwhile")
    assert api.patch(path, json={}).status_code == 428
    assert api.delete(path).status_code == 204
    assert api.get(path).json()["detail"] == f"There is no webhook {hook['id']}."


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ({}, "/url"),
        ({"url": "https://a.org", "events": []}, "/events"),
        ({"url": "https://a.org", "events": ["job.queued"]}, "/events/0"),
        ({"url": "https://a.org", "secret": "mine"}, "/secret"),
        ({"url": "https://a.org/" + "x" * 2000}, "/url"),
        ({"url": "https://a.org/\u0000"}, "/url"),
    ],
)
def test_a_webhook_that_cannot_be_is_refused(api, asked: dict[str, Any], pointer: str) -> None:
    answer = api.post("/api/v1/webhooks", json=asked)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


def test_a_project_has_no_more_webhooks_than_the_end_of_a_job_can_bear(api) -> None:
    for _ in range(20):
        made(api)
    answer = api.post("/api/v1/webhooks", json={"url": "https://a.org"})
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many")


def test_what_tells_of_all_projects_is_for_administrators(api) -> None:
    hook = made(api)
    path = f"/api/v1/webhooks/{hook['id']}"
    mia, held = as_user("mia", "maintainer"), as_user("ada", "admin", scopes=("read", "write"))
    assert api.post("/api/v1/webhooks", json={"url": "https://a.org"}, headers=mia).status_code == 403
    assert api.get(path, headers=mia).status_code == 404
    assert api.get("/api/v1/webhooks", headers=mia).json()["items"] == []
    for method, rest in (("GET", ""), ("DELETE", ""), ("POST", "/test"), ("GET", "/deliveries")):
        assert api.request(method, path + rest, headers=held).status_code == 403
    assert api.post("/api/v1/webhooks", json={"url": "https://a.org"}, headers=held).status_code == 403


def test_lists_are_read_page_by_page_and_by_project_and_state(api, reached, receiver, runner) -> None:
    for project in ("one", "two"):
        api.post("/api/v1/projects", json={"name": project})
    hooks = [made(api, receiver.port, project=name) for name in ("one", "two", "one", None)]
    first = api.get("/api/v1/webhooks", params={"limit": 3}).json()
    rest = api.get("/api/v1/webhooks", params={"cursor": first["next_cursor"]}).json()
    assert [one["id"] for one in first["items"] + rest["items"]] == [one["id"] for one in hooks]
    assert rest["next_cursor"] is None
    ones = api.get("/api/v1/webhooks", params={"project": "one"}).json()["items"]
    assert [one["id"] for one in ones] == [hooks[0]["id"], hooks[2]["id"]]
    for _ in range(3):
        cancelled(project="two")
        deliveries.look(runner)
    path = f"/api/v1/webhooks/{hooks[1]['id']}/deliveries"
    page = api.get(path, params={"limit": 2}).json()
    more = api.get(path, params={"cursor": page["next_cursor"]}).json()
    assert [one["about"]["number"] for one in page["items"] + more["items"]] == [3, 2, 1]
    assert api.get(path, params={"state": "failed"}).json()["items"] == []
    assert len(api.get(path, params={"state": "delivered"}).json()["items"]) == 3


def test_a_delivery_is_sent_again_when_somebody_asks(api, reached, receiver, runner) -> None:
    hook = made(api, receiver.port)
    cancelled()
    path = f"/api/v1/webhooks/{hook['id']}/deliveries/{listed(api, hook)[0]['id']}/redeliver"
    waits = api.post(path)
    assert (waits.status_code, waits.json()["code"]) == (409, "waiting")
    deliveries.look(runner)
    assert api.post(path).json()["state"] == "waiting"
    deliveries.look(runner)
    assert len({got.headers["Sparring-Delivery"] for got in receiver.got}) == 1
    assert len(receiver.got) == 2
    other = made(api, receiver.port)
    stolen = api.post(path.replace(hook["id"], other["id"]))
    assert stolen.status_code == 404, "a delivery is of its webhook"


def test_what_a_maintainer_may_not_see_no_more_is_not_told_to_their_receiver(api, reached, receiver, runner) -> None:
    mia = as_user("mia", "maintainer")
    api.post("/api/v1/projects", json={"name": "secret", "visibility": "private", "members": ["mia"]})
    answer = api.post(
        "/api/v1/webhooks", json={"url": f"https://{HOST}:{receiver.port}/", "project": "secret"}, headers=mia
    )
    hook = answer.json()
    cancelled(project="secret")
    with transaction() as session:
        ada = tokens.user_named(session, "ada")
        projects.change(session, projects.named(session, ALL, "secret"), "private", (ada,))
    cancelled(project="secret")
    assert deliveries.look(runner) == 0
    assert receiver.got == []
    assert [one["error"] for one in listed(api, hook)] == [webhooks.UNSEEN]
    assert api.get(f"/api/v1/webhooks/{hook['id']}", headers=mia).status_code == 404


# ---- what is told of them


def test_neither_secret_nor_the_key_in_an_address_is_told_in_logs_or_in_the_log_of_who_did_what(
    api, reached, receiver, runner, database: Session, caplog
) -> None:
    logs.configure()
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    hook = made(api, receiver.port)
    path = f"/api/v1/webhooks/{hook['id']}"
    receiver.statuses = [500]
    api.post(f"{path}/test")
    deliveries.look(runner)
    api.patch(path, json={"url": hook["url"] + "/again", "events": ["job.failed"]}, headers=ANY)
    api.delete(path)
    told = api.get("/api/v1/actions", params={"kind": "webhook"}).json()["items"]
    assert [one["verb"] for one in told] == ["remove", "change", "test", "add"]
    assert told[1]["about"] == {"host": HOST, "events": ["job.failed"]}
    lines = "\n".join(map(logs.Text().format, [one for one in caplog.records if not one.name.startswith("httpcore")]))
    assert "answered 500" in lines
    for secret in (hook["secret"][4:], KEY):
        assert secret not in lines
        assert secret not in str(told)
    assert logs.clean(f"x {hook['secret']} y") == "x whs_*** y"


def test_a_secret_is_kept_in_one_column_and_nowhere_else(api, reached, receiver, runner, database: Session) -> None:
    secret = made(api, receiver.port)["secret"]
    cancelled()
    deliveries.look(runner)
    database.commit()
    for table in Base.metadata.sorted_tables:
        rows = "\n".join(database.execute(text(f'SELECT t::text FROM "{table.name}" t')).scalars())
        assert (secret in rows) == (table.name == "webhooks"), table.name
    broker: Any = feed.connection()
    assert not any(secret.encode() in (broker.dump(key) or b"") for key in broker.scan_iter())


def test_deliveries_are_counted_by_state(api, reached, receiver, runner) -> None:
    receiver.statuses = [204, 500]
    made(api, receiver.port)
    cancelled(), deliveries.look(runner)
    cancelled(), cancelled()
    found = {
        tuple(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(api.get("/api/v1/metrics").text)
        for sample in family.samples
        if sample.name == "sparring_deliveries"
    }
    assert found == {("waiting",): 2, ("delivered",): 1, ("failed",): 0}


def test_every_kind_of_event_can_be_asked_for(api) -> None:
    assert made(api)["events"] == sorted(TELLS)
    assert {event.removeprefix("job.") for event in TELLS} < {"succeeded", "failed", "cancelled", "paused", "queued"}
    with transaction() as session:
        assert session.scalars(select(Delivery)).all() == []
