"""P17, P18: fifty thousand queued jobs delay neither another user's one job, nor a claim, nor a list."""

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from conftest import empty
from made import CPU, queue
from promises.figures import p99
from store import jobs, tokens, workers
from store.database import transaction
from store.tables import Job

pytestmark = pytest.mark.slow


def copies(session: Session, job: Job, many: int) -> None:
    """The job again, `many` times."""
    own = ("id", "number", "created_at")
    columns = ", ".join(column.name for column in Job.__table__.columns if column.name not in own)
    made = f"SELECT gen_random_uuid(), 10 + n, now() - interval '1 day' + n * interval '1 ms', {columns} FROM jobs, generate_series(1, :many) n"
    session.execute(
        text(f"INSERT INTO jobs ({', '.join(own)}, {columns}) {made} WHERE id = :job"), {"job": job.id, "many": many}
    )


@pytest.fixture
def crowd(database: Session, times: Callable[[str], int]) -> Iterator[uuid.UUID]:
    """Ada's long queue; and a worker that finds it."""
    worker = workers.register(database, "host", 1, [CPU])
    copies(database, queue(database, tokens.user_named(database, "ada")), times("jobs in the queue"))
    database.commit()
    with transaction() as session:
        session.execute(text("ANALYZE"))
    yield worker
    empty()


def claimed(worker: uuid.UUID) -> tuple[Any, float]:
    """The next job, and the seconds that its claim took, commit included."""
    began = time.perf_counter()
    with transaction() as session:
        found = jobs.claim(session, worker)
    return found, time.perf_counter() - began


def finish(found: Any, seconds: float) -> None:
    """End an attempt as if it had taken so long."""
    with transaction() as session:
        late = "UPDATE attempts SET started_at = now() - make_interval(secs => :seconds) WHERE job_id = :job"
        session.execute(text(late), {"seconds": seconds, "job": found.job_id})
        assert jobs.succeed(session, found.job_id, found.fence)


def test_p17_one_job_comes_before_another_users_long_queue(
    database: Session, crowd: uuid.UUID, times: Callable[[str], int], keep: Callable[..., None]
) -> None:
    finish(claimed(crowd)[0], 10)
    wanted = queue(database, tokens.user_named(database, "bob")).id
    database.commit()
    found, _ = claimed(crowd)
    often = times("jobs in the queue")
    keep(found.job_id == wanted, "B is next" if found.job_id == wanted else "A is next", jobs_in_the_queue=often)


def test_p17_ten_users_get_equal_shares(
    database: Session, times: Callable[[str], int], keep: Callable[..., None]
) -> None:
    """Attempts of one length, for more turns than users; the shares are the slot-seconds that each has had."""
    worker = workers.register(database, "host", 1, [CPU])
    users = [tokens.user_named(database, f"user-{number}") for number in range(10)]
    turns = times("claims")
    for user in users:
        copies(database, queue(database, user), 0)
        for _ in range(turns // 10 + 5):
            queue(database, user)
    database.commit()
    served = dict.fromkeys(users, 0)
    for _ in range(turns):
        found, _ = claimed(worker)
        served[jobs.find(database, found.job_id).owner_id] += 1
        finish(found, 60)
    ratio = max(served.values()) / min(served.values())
    keep(ratio <= 1.1, f"over ten users max/min {ratio:.3f}", turns=turns)


def test_p18_a_claim_among_many_is_quick(
    database: Session, crowd: uuid.UUID, times: Callable[[str], int], slack: float, keep: Callable[..., None]
) -> None:
    queue(database, tokens.user_named(database, "bob"))
    database.commit()
    took = []
    for _ in range(times("claims")):
        found, seconds = claimed(crowd)
        took.append(seconds)
        finish(found, 1)
    slowest = p99(took) * 1000
    keep(
        slowest <= 10 * slack,
        f"claim p99 {slowest:.1f} ms",
        claims=len(took),
        jobs_in_the_queue=times("jobs in the queue"),
    )


def test_p18_a_list_of_many_is_quick(
    api: httpx.Client, crowd: uuid.UUID, times: Callable[[str], int], slack: float, keep: Callable[..., None]
) -> None:
    """The newest fifty, the next page, those in a state, those of a name: as the dashboard asks for them."""
    took, asked = [], [{}, {"state": "queued"}, {"q": "job"}]
    for number in range(times("lists")):
        began = time.perf_counter()
        answer = api.get("/api/v1/jobs", params=asked[number % 3])
        took.append(time.perf_counter() - began)
        assert answer.status_code == 200
        assert len(answer.json()["items"]) == 50
        asked[0] = {"cursor": answer.json()["next_cursor"]}
    slowest = p99(took) * 1000
    keep(slowest <= 100 * slack, f"list p99 {slowest:.0f} ms", lists=len(took))
