"""Claims: the rules of `policy.py` on what the database knows, one claim after the other.

An advisory lock makes claims wait for one another, so that what a claim sees of slots, shares and maxima is still so when it
starts a job. However long a queue, a claim reads the first job of each user, project and need alone, hopping along an index.
"""

import uuid
from collections.abc import Hashable, Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from store.policy import HALF_LIFE, Choice, Need, Party, Place, Waiting, decayed, next_job

LOCK = 0x5BA_C1A1
SEEN = 64
"""Needs of one user in one project that a claim looks at, the smallest first."""
COLUMNS = "id, owner_id, project_id, priority, extract(epoch FROM created_at)::float8 AS since, number, gpus, memory"
WAITS = "state = 'queued' AND blockers = 0"
URGENCY = "priority DESC, created_at, number"
FIRST = f"""
WITH RECURSIVE first AS (
    (SELECT {COLUMNS}, 1 AS seen FROM jobs WHERE {WAITS}
     ORDER BY owner_id, project_id, gpus, memory, {URGENCY} LIMIT 1)
    UNION ALL
    SELECT j.*, CASE WHEN (j.owner_id, j.project_id) = (f.owner_id, f.project_id) THEN f.seen + 1 ELSE 1 END
    FROM first f CROSS JOIN LATERAL (
        SELECT {COLUMNS} FROM jobs WHERE {WAITS} AND (owner_id, project_id, gpus, memory)
            > (f.owner_id, f.project_id, CASE WHEN f.seen < {SEEN} THEN f.gpus ELSE 32767 END::smallint, f.memory)
        ORDER BY owner_id, project_id, gpus, memory, {URGENCY} LIMIT 1
    ) j
)"""  # noqa: S608 (all of it is ours)

ROOM = text("""
SELECT s.device, s.number, s.kind, s.memory, s.job_id IS NULL FROM slots s JOIN workers w ON w.id = s.worker_id
WHERE w.id = :worker AND NOT w.draining AND NOT EXISTS (SELECT FROM queues WHERE state <> 'open')
ORDER BY s.device, s.number
""")

PARTIES = text("""
SELECT u.id, u.usage, extract(epoch FROM u.usage_at)::float8, coalesce(q.weight, 1), coalesce(q.guarantee, 0), q.maximum
FROM users u LEFT JOIN quotas q ON q.user_id = u.id WHERE u.id = ANY(:ids)
UNION ALL
SELECT p.id, p.usage, extract(epoch FROM p.usage_at)::float8, coalesce(q.weight, 1), coalesce(q.guarantee, 0), q.maximum
FROM projects p LEFT JOIN quotas q ON q.project_id = p.id WHERE p.id = ANY(:ids)
""")

RUNS = text("""
SELECT j.owner_id, j.project_id, greatest(j.gpus, 1), extract(epoch FROM a.started_at)::float8
FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.fence = j.fence WHERE j.state = 'running'
""")

START = text(f"""
WITH mine AS (SELECT id FROM jobs WHERE id = :job AND {WAITS} FOR UPDATE SKIP LOCKED),
started AS (
    UPDATE jobs SET state = 'running', reason = NULL, message = NULL, fence = fence + 1, worker_id = :worker,
        lease_until = clock_timestamp() + make_interval(secs => :lease), started_at = coalesce(started_at, :now)
    FROM mine WHERE jobs.id = mine.id RETURNING jobs.id, jobs.fence
),
taken AS (
    UPDATE slots SET job_id = started.id, fence = started.fence FROM started
    WHERE worker_id = :worker AND (device, number) IN (SELECT * FROM unnest(CAST(:devices AS text[]), CAST(:numbers AS int[])))
),
tried AS (
    INSERT INTO attempts (job_id, fence, worker_id, device, machine, started_at)
    SELECT id, fence, :worker, :device, '{{}}'::jsonb, :now FROM started
)
SELECT fence FROM started
""")  # noqa: S608


class Claim(NamedTuple):
    """A job that is now this worker's: attempt number `fence`, on slots given as device and number."""

    job_id: uuid.UUID
    fence: int
    places: tuple[tuple[str, int], ...]

    @property
    def devices(self) -> list[str]:
        """The devices of its slots: cpu:0, or gpu:0, gpu:1."""
        return [device for device, _ in self.places]

    @property
    def slots(self) -> str:
        """Its slots as text: gpu:0/0,gpu:1/0."""
        return ",".join(f"{device}/{number}" for device, number in self.places)


def claim(session: Session, worker_id: uuid.UUID, lease: float) -> Claim | None:
    """Take the job that is next for this worker, with its slots and its lease; None if none may go or fits.

    Until the transaction ends, every other claim waits. A job that somebody is just changing is passed over.
    """
    session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    places = [Place(*row) for row in session.execute(ROOM, {"worker": worker_id})]
    if not any(place.free for place in places):
        return None
    waiting, now = first(session), clock(session)
    known = parties(session, (party for one in waiting for party in (one.user, one.project)))
    while choice := next_job(waiting, known, places, now.timestamp()):
        fence = _start(session, choice, worker_id, lease, now)
        if fence is not None:
            return Claim(choice.waiting.job, fence, tuple((place.device, place.number) for place in choice.places))
        waiting.remove(choice.waiting)
    return None


def _start(session: Session, choice: Choice, worker_id: uuid.UUID, lease: float, now: datetime) -> int | None:
    """The number of the new attempt; None if the job is no longer to be had."""
    devices = [place.device for place in choice.places]
    values = {"job": choice.waiting.job, "worker": worker_id, "lease": lease, "now": now, "device": ",".join(devices)}
    where = {"devices": devices, "numbers": [place.number for place in choice.places]}
    return session.execute(START, values | where).scalar()


def clock(session: Session) -> datetime:
    """The time by which claims and charges go: the database's."""
    now: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
    return now


def first(session: Session) -> list[Waiting]:
    """Of each user, project and need the first job that waits."""
    rows = session.execute(text(f"{FIRST} SELECT * FROM first"))  # noqa: S608
    return [waiting_job(*row[:-1]) for row in rows]


def waiting_job(
    job: uuid.UUID,
    user: uuid.UUID,
    project: uuid.UUID,
    priority: int,
    since: float,
    number: int,
    gpus: int,
    memory: int,
) -> Waiting:
    """A row of COLUMNS as the policy sees it."""
    return Waiting(job, user, project, priority, since, number, Need(gpus, memory))


def parties(session: Session, ids: Iterable[Hashable]) -> dict[Hashable, Party]:
    """Those users and projects: what they have had, have and may have."""
    found: dict[Hashable, Party] = {}
    for party, usage, usage_at, weight, guarantee, maximum in session.execute(PARTIES, {"ids": list(set(ids))}):
        found[party] = Party(usage, usage_at, [], weight, guarantee, maximum)
    for user, project, slots, started in session.execute(RUNS):
        for party in (user, project):
            if party in found:
                found[party].runs.append((started, slots))
    return found


def charge(session: Session, job_id: uuid.UUID, fence: int, slots: int) -> None:
    """Add an attempt that ends now to the usage of its owner and its project."""
    attempt = "SELECT extract(epoch FROM started_at)::float8 FROM attempts WHERE job_id = :job AND fence = :fence"
    started: float = session.execute(text(attempt), {"job": job_id, "fence": fence}).scalar_one()
    now = clock(session)
    amount = slots * decayed(now.timestamp() - started)
    for table, column in (("users", "owner_id"), ("projects", "project_id")):  # always in this order: no deadlock
        session.execute(
            text(
                f"UPDATE {table} SET usage_at = :now, usage = :amount + usage * power(0.5, "  # noqa: S608
                "least(greatest(extract(epoch FROM CAST(:now AS timestamptz) - usage_at), 0) / :half_life, 1000)) "
                f"WHERE id = (SELECT {column} FROM jobs WHERE id = :job)"
            ),
            {"now": now, "amount": amount, "half_life": HALF_LIFE, "job": job_id},
        )
