"""The team's events through the API: a list, a stream that goes on where it was left."""

import asyncio
import json
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from sqlalchemy import update

from api.hub import Hub
from api.routes.team import look, stream
from made import ALL
from store import feed
from store.database import transaction
from store.people import Project
from store.sight import Eyes

SPEC = {"dataset": "fashion_mnist_sample", "model": "lenet5"}


def submitted(api: Any) -> uuid.UUID:
    return uuid.UUID(api.post("/api/v1/jobs", json=SPEC).json()["jobs"][0]["id"])


def note(job_id: uuid.UUID, word: str, announce: bool = True) -> None:
    with transaction() as session:
        feed.append(session, job_id, [("noticed", {"text": word})])
    if announce:
        feed.announce(job_id)


def test_the_events_of_all_jobs_are_listed_behind_a_position(api) -> None:
    one, other = submitted(api), submitted(api)
    page = api.get("/api/v1/events").json()
    assert [(item["position"], item["job"], item["kind"]) for item in page["items"]] == [
        (1, str(one), "state_changed"),
        (2, str(other), "state_changed"),
    ]
    assert page["next"] == 2
    note(one, "hello")
    page = api.get("/api/v1/events", params={"after": page["next"]}).json()
    assert [(item["position"], item["seq"], item["body"]) for item in page["items"]] == [(3, 2, {"text": "hello"})]
    assert api.get("/api/v1/events", params={"after": 3}).json() == {"items": [], "next": 3}


def test_a_page_that_is_full_says_where_the_next_begins(api) -> None:
    for _ in range(3):
        submitted(api)
    page = api.get("/api/v1/events", params={"limit": 2}).json()
    assert ([item["position"] for item in page["items"]], page["next"]) == ([1, 2], 2)


def test_a_reader_goes_on_behind_what_it_may_not_see(api) -> None:
    job_id = submitted(api)
    with transaction() as session:
        session.execute(update(Project).values(visibility="private"))
        assert look(session, 0, 10, Eyes(uuid.uuid4())) == ([], 1)
        ((one,), _) = look(session, 0, 10, ALL)
    assert one.job == job_id


def follow(after: int | None, act: Callable[[], None], until: str) -> list[tuple[float, str]]:
    """Read the team's stream until a line holds a word, while `act` does things in a thread."""
    hub, chunks = Hub(), []
    hub.start()

    async def read() -> None:
        async for chunk in stream(hub, lambda session: ALL, after):
            chunks.append((time.monotonic(), chunk))
            if until in chunk:
                return

    writer = threading.Thread(target=act)
    writer.start()
    reader = threading.Thread(
        target=lambda: asyncio.run(asyncio.wait_for(read(), 30))
    )  # the browser tests have a loop here
    reader.start()
    reader.join()
    writer.join()
    hub.stop()
    return chunks


def test_a_stream_goes_on_behind_the_last_event_that_was_seen(api) -> None:
    job_id = submitted(api)
    for word in ("a", "b", "last"):
        note(job_id, word)
    chunks = [chunk for _, chunk in follow(2, lambda: None, "last")]
    assert [chunk.split("\n")[0] for chunk in chunks] == ["id: 3", "id: 4"]
    data = json.loads(chunks[0].split("data: ")[1])
    assert (data["job"], data["body"], data["position"]) == (str(job_id), {"text": "b"}, 3)


def test_a_stream_without_a_position_begins_with_what_comes_next_and_says_where(api) -> None:
    job_id = submitted(api)

    def act() -> None:
        time.sleep(1.0)
        note(job_id, "news")

    assert [chunk.split("\n")[0] for _, chunk in follow(None, act, "news")] == ["id: 1", "id: 2"]


def test_news_of_any_job_arrive_at_once_and_without_the_doorbell_within_two_seconds(api) -> None:
    for announce, patience in ((True, 1.0), (False, 2.5)):
        sent: list[float] = []

        def act(announce: bool = announce, sent: list[float] = sent) -> None:
            job_id = submitted(api)
            time.sleep(1.0)
            sent.append(time.monotonic())
            note(job_id, "news", announce)

        chunks = follow(None, act, "news")
        assert chunks[-1][0] - sent[0] < patience


def test_the_stream_over_http_resumes_with_last_event_id(api) -> None:
    job_id = submitted(api)
    note(job_id, "old")
    note(job_id, "new")
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "2"}
    with api.stream("GET", "/api/v1/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert next(answer.iter_lines()) == "id: 3"
