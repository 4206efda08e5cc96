"""Events as a list and as a stream."""

import asyncio
import threading
import time
import uuid
from typing import Any

from api.hub import Hub
from api.permissions import Caller
from api.routes.events import stream
from store import feed, jobs, tokens
from store.database import transaction

SPEC = {"dataset": "fashion_mnist_sample", "model": "lenet5"}


def submitted(api: Any) -> uuid.UUID:
    return uuid.UUID(api.post("/api/v1/jobs", json=SPEC).json()["jobs"][0]["id"])


def note(job_id: uuid.UUID, text: str, announce: bool = True) -> None:
    with transaction() as session:
        feed.append(session, job_id, [("noticed", {"text": text})])
    if announce:
        feed.announce(job_id)


def test_events_are_listed_after_a_number(api) -> None:
    job_id = submitted(api)
    note(job_id, "hello")
    items = api.get(f"/api/v1/jobs/{job_id}/events").json()["items"]
    assert [(one["seq"], one["kind"]) for one in items] == [(1, "state_changed"), (2, "noticed")]
    assert [one["seq"] for one in api.get(f"/api/v1/jobs/{job_id}/events?after=1").json()["items"]] == [2]


def test_a_stream_of_an_ended_job_tells_everything_and_ends(api) -> None:
    job_id = submitted(api)
    note(job_id, "hello")
    api.post(f"/api/v1/jobs/{job_id}/cancel")
    lines = api.get(f"/api/v1/jobs/{job_id}/events", headers={"Accept": "text/event-stream"}).text.splitlines()
    assert [line for line in lines if line.startswith("id:")] == ["id: 1", "id: 2", "id: 3"]
    assert [line for line in lines if line.startswith("event:")] == [
        "event: state_changed",
        "event: noticed",
        "event: state_changed",
    ]


def test_a_stream_resumes_after_the_last_event_that_was_seen(api) -> None:
    job_id = submitted(api)
    note(job_id, "hello")
    api.post(f"/api/v1/jobs/{job_id}/cancel")
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "2"}
    text = api.get(f"/api/v1/jobs/{job_id}/events", headers=headers).text
    assert [line for line in text.splitlines() if line.startswith("id:")] == ["id: 3"]


def watch(job_id: uuid.UUID, act: Any) -> list[tuple[float, str]]:
    """Follow a stream to its end in an event loop of its own while `act` does things in a thread."""
    with transaction() as session:
        user, (token, *_) = tokens.user_named(session, "ada"), tokens.valid(session, tokens.user_named(session, "ada"))
    who, hub, seen = Caller(user, "ada", "admin", token=token.id), Hub(), []
    hub.start()

    async def follow() -> None:
        async for chunk in stream(hub, who, job_id, 0):
            seen.append((time.monotonic(), chunk))

    worker = threading.Thread(target=act)
    worker.start()
    asyncio.run(asyncio.wait_for(follow(), 30))
    worker.join()
    hub.stop()
    return seen


def test_news_arrive_while_the_stream_is_open(api) -> None:
    job_id, sent = submitted(api), []

    def act() -> None:
        time.sleep(1.5)
        sent.append(time.monotonic())
        note(job_id, "news")
        time.sleep(0.5)
        with transaction() as session:
            jobs.cancel(session, job_id)
        feed.announce(job_id)

    seen = watch(job_id, act)
    (arrived,) = [at for at, chunk in seen if '"news"' in chunk]
    assert arrived - sent[0] < 1.0
    assert "cancelled" in seen[-1][1]


def test_a_lost_doorbell_costs_a_second_and_loses_nothing(api) -> None:
    job_id = submitted(api)

    def act() -> None:
        time.sleep(1.0)
        for number in range(20):
            note(job_id, f"number {number}", announce=False)
        with transaction() as session:
            jobs.cancel(session, job_id)

    seen = watch(job_id, act)
    numbers = [chunk.split("\n")[0] for _, chunk in seen]
    assert numbers == [f"id: {number}" for number in range(1, 23)]
