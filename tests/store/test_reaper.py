"""The reaper ends each job in a transaction of its own: it stands in nobody's way, and one job in no other's."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from made import queue
from store import jobs, reaper, workers
from store.database import transaction
from store.settings import settings
from store.workers import Device

Key = tuple[uuid.UUID, int]
WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")


@pytest.fixture
def silent(database: Session, ada, monkeypatch: pytest.MonkeyPatch) -> list[Key]:
    """Two running jobs of one user, whose leases have run out, the longest ago first."""
    monkeypatch.setattr(jobs, "settings", lambda: settings().model_copy(update={"lease_seconds": 0.01}))
    machine = workers.register(database, "host", 1, [Device("cpu:0", "cpu", "x", 2**34, 2)])
    for _ in range(2):
        queue(database, ada)
    found = [jobs.claim(database, machine) for _ in range(2)]
    late = text("UPDATE jobs SET lease_until = now() - make_interval(secs => :ago) WHERE id = :job")
    for ago, claimed in zip((20, 10), found, strict=True):
        database.execute(late, {"ago": ago, "job": claimed.job_id})
    database.commit()
    return [(claimed.job_id, claimed.fence) for claimed in found]


def states(session: Session) -> dict[uuid.UUID, str]:
    session.expire_all()
    return dict(session.execute(text("SELECT id, state FROM jobs")).tuples().all())


def test_an_attempt_that_returns_while_the_reaper_looks_and_the_reaper_do_not_block_each_other(
    database: Session, silent: list[Key]
) -> None:
    (first, _), returning = silent
    with ThreadPoolExecutor(1) as pool:
        with transaction() as attempt:
            attempt.execute(text("SELECT FROM jobs WHERE id = :job FOR UPDATE"), {"job": returning[0]})
            look = pool.submit(reaper.reap)
            while not database.execute(WAITING).scalar():
                database.commit()  # else it would see the same again
                time.sleep(0.02)
            assert jobs.succeed(attempt, *returning), "which charges the user of both"
        assert look.result(10) == 1
    assert states(database) == {first: "queued", returning[0]: "succeeded"}


def test_a_job_that_cannot_be_ended_stops_no_other(database: Session, silent: list[Key], monkeypatch, caplog) -> None:
    (first, _), (second, _) = silent
    lose = jobs.lose

    def fails(session: Session, job_id: uuid.UUID, fence: int) -> bool:
        return lose(session, job_id, fence) and (1 / (job_id != first)) > 0

    monkeypatch.setattr(jobs, "lose", fails)
    assert reaper.reap() == 1
    assert states(database) == {first: "running", second: "queued"}
    assert f"job {first} cannot be ended" in caplog.text
