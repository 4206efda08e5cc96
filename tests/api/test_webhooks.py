"""Webhooks as those meet them who make them: what may be asked for, by whom, and what is told of them elsewhere."""

import logging
import re
import uuid
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from api import deliveries
from hooked import KEY, as_user, cancelled, listed, made
from made import ALL
from receiver import HOST
from store import feed, logs, projects, tokens, webhooks
from store.database import Base, transaction
from store.people import TELLS, Delivery
from store.settings import StoreSettings, settings

ANY = {"If-Match": "*"}


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
    assert api.get("/api/v1/webhooks", headers=held).json()["items"] == []
    assert len(api.get("/api/v1/webhooks").json()["items"]) == 1


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
