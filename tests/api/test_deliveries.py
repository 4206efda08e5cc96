"""What a receiver is told, how it can believe it, and what becomes of a delivery that it does not take."""

import asyncio
import hashlib
import hmac
import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy.exc import OperationalError

from api import app, deliveries
from api.deliveries import Sender
from hooked import PATH, cancelled, listed, made, time_goes_by
from receiver import Receiver, aside, receiving
from store import webhooks
from store.settings import settings


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

    assert ("sender" in aside(threads())) == on
    monkeypatch.undo()
    settings.cache_clear()
