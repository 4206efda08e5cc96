"""What somebody else changes while a request is being answered: it is told so, or need not wait at all."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.spec import JobSpec
from store import gate, schedule
from store.database import transaction

QUOTA, QUEUE = "/api/v1/quotas/user/ada", "/api/v1/queues/default"


def waiting() -> bool:
    """Whether a transaction waits for another one."""
    with transaction() as session:
        return bool(session.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar())


def overtaken(database: Session, request: Callable[[], httpx.Response]) -> httpx.Response:
    """The answer to a request that waits for what `database` has changed, and that is committed meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(request)
        until = time.monotonic() + 10
        while not waiting():
            assert time.monotonic() < until, asked
            time.sleep(0.02)
        database.commit()
        return asked.result()


@pytest.mark.parametrize("seen", ["the version that was seen", "*"])
def test_a_quota_that_is_changed_between_look_and_change_is_not_changed(api, database: Session, seen: str) -> None:
    tag = api.put(QUOTA, json={"weight": 2}).headers["etag"]
    database.execute(text("UPDATE quotas SET weight = 5, version = version + 2"))
    match = {"If-Match": "*" if seen == "*" else tag}
    refused = overtaken(database, lambda: api.patch(QUOTA, json={"weight": 3}, headers=match))
    now = api.get(QUOTA)
    assert (refused.status_code, now.json()["weight"]) == (412, 5)
    assert f"its ETag is {now.headers['etag']}" in refused.json()["detail"]


@pytest.mark.parametrize("seen", ["the version that was seen", "*"])
def test_a_queue_that_is_changed_between_look_and_change_is_not_changed(api, database: Session, seen: str) -> None:
    tag = api.post(f"{QUEUE}/pause").headers["etag"]
    assert gate.put(database, "draining")
    match = {"If-Match": "*" if seen == "*" else tag}
    refused = overtaken(database, lambda: api.patch(QUEUE, json={"state": "open"}, headers=match))
    now = api.get(QUEUE)
    assert (refused.status_code, now.json()["state"]) == (412, "draining")
    assert f"its ETag is {now.headers['etag']}" in refused.json()["detail"]


def test_what_somebody_else_has_just_made_impossible_is_a_conflict(api, database: Session) -> None:
    api.post("/api/v1/projects", json={"name": "shared"})
    database.execute(text("DELETE FROM projects"))
    refused = overtaken(database, lambda: api.put("/api/v1/quotas/project/shared", json={"weight": 2}))
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


def test_looking_at_a_quota_waits_for_nobody(api, database: Session) -> None:
    api.post("/api/v1/projects", json={"name": "shared"})
    path = "/api/v1/quotas/project/shared"
    api.put(path, json={"weight": 2})
    database.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": schedule.LOCK})
    for table in ("projects", "quotas"):
        database.execute(text(f"SELECT * FROM {table} FOR UPDATE"))
    assert api.get(path, timeout=5).json()["weight"] == 2
    assert [one["weight"] for one in api.get("/api/v1/quotas", timeout=5).json()["items"]] == [2]


def test_a_batch_is_counted_before_its_seeds_are_made(api, monkeypatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(JobSpec, "seeds", lambda self: made.append(self) or iter([self]))
    job = {"dataset": "fashion_mnist_sample", "model": "lenet5", "replicates": 100}
    answer = api.post("/api/v1/jobs/batch", json={"jobs": [job] * 101})
    assert (answer.status_code, made) == (422, [])
