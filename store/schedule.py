"""Who runs next: fair shares between users, priority and age within one, and room on the worker that asks.

A user's usage is the slot-seconds of their attempts, halved every day; the user with the least goes first. Whatever else
they have queued, each user competes with their best job alone, so fifty thousand jobs of one user do not delay the one of
another.
"""

import uuid
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

HALF_LIFE = 86_400.0
"""Seconds after which half of a user's usage is forgotten."""

DECAYED = "u.usage * power(0.5, extract(epoch FROM now() - u.usage_at) / :half_life)"

NEXT = text(
    f"""
WITH RECURSIVE
-- users who wait, found by hopping along the index from one to the next
owners(owner_id) AS (
    (SELECT owner_id FROM jobs WHERE state = 'queued' AND blockers = 0 ORDER BY owner_id LIMIT 1)
    UNION ALL
    SELECT (SELECT owner_id FROM jobs WHERE state = 'queued' AND blockers = 0 AND owner_id > o.owner_id ORDER BY owner_id LIMIT 1)
    FROM owners o WHERE o.owner_id IS NOT NULL
),
room AS (
    SELECT count(*) FILTER (WHERE kind = 'cpu') AS cpu, count(*) FILTER (WHERE kind = 'gpu') AS gpu
    FROM slots s JOIN workers w ON w.id = s.worker_id
    WHERE w.id = :worker AND NOT w.draining AND s.job_id IS NULL
),
-- of each, the best job that fits; a job that another worker is just claiming is passed over
best AS (
    SELECT j.* FROM owners o CROSS JOIN room r CROSS JOIN LATERAL (
        SELECT id, owner_id, gpus, created_at FROM jobs
        WHERE state = 'queued' AND blockers = 0 AND owner_id = o.owner_id
          AND CASE WHEN gpus = 0 THEN r.cpu > 0 ELSE r.gpu >= gpus END
        ORDER BY priority DESC, created_at LIMIT 1
        FOR UPDATE SKIP LOCKED
    ) j
),
chosen AS (
    SELECT b.id, b.gpus FROM best b JOIN users u ON u.id = b.owner_id
    ORDER BY {DECAYED} + coalesce((
        SELECT sum(1 + extract(epoch FROM now() - a.started_at))
        FROM jobs r JOIN attempts a ON a.job_id = r.id AND a.fence = r.fence
        WHERE r.owner_id = u.id AND r.state = 'running'), 0), b.created_at
    LIMIT 1
),
claimed AS (
    UPDATE jobs SET state = 'running', reason = NULL, message = NULL, fence = fence + 1, worker_id = :worker,
        lease_until = now() + make_interval(secs => :lease), started_at = coalesce(started_at, now())
    FROM chosen WHERE jobs.id = chosen.id RETURNING jobs.id, jobs.fence, jobs.gpus, jobs.last_seq
),
taken AS (
    UPDATE slots SET job_id = claimed.id, fence = claimed.fence FROM claimed
    WHERE worker_id = :worker AND (device, number) IN (
        SELECT device, number FROM slots
        WHERE worker_id = :worker AND job_id IS NULL
          AND kind = CASE WHEN (SELECT gpus FROM claimed) = 0 THEN 'cpu' ELSE 'gpu' END
        ORDER BY device, number LIMIT (SELECT greatest(gpus, 1) FROM claimed)
        FOR UPDATE SKIP LOCKED)
    RETURNING device, number
),
tried AS (
    INSERT INTO attempts (job_id, fence, worker_id, device, machine)
    SELECT claimed.id, claimed.fence, :worker, (SELECT min(device) FROM taken), '{{}}'::jsonb FROM claimed
    WHERE EXISTS (SELECT FROM taken)
)
SELECT claimed.id, claimed.fence, claimed.gpus, array(SELECT device FROM taken), array(SELECT number FROM taken) FROM claimed
"""  # noqa: S608 (DECAYED is ours)
)

CHARGE = text(
    f"""
UPDATE users u SET usage = {DECAYED} + :slots * extract(epoch FROM now() - a.started_at), usage_at = now()
FROM attempts a JOIN jobs j ON j.id = a.job_id
WHERE a.job_id = :job AND a.fence = :fence AND u.id = j.owner_id
"""  # noqa: S608
)


class Claim(NamedTuple):
    """A job that is now this worker's: attempt number `fence`, on the slots `device`/`number`."""

    job_id: uuid.UUID
    fence: int
    device: str
    number: int


def claim(session: Session, worker_id: uuid.UUID, lease: float) -> Claim | None:
    """Take the job that is next for this worker, with its slots and its lease, in one statement; None if nothing fits.

    Two processes of one worker may see the same free slot; who comes second gets no slot and must roll back, which the
    caller does by letting `Crowded` through.
    """
    row = session.execute(NEXT, {"worker": worker_id, "lease": lease, "half_life": HALF_LIFE}).one_or_none()
    if row is None:
        return None
    job_id, fence, gpus, devices, numbers = row
    if len(devices) < max(gpus, 1):
        raise Crowded
    return Claim(job_id, fence, devices[0], numbers[0])


class Crowded(Exception):
    """Another process took the slot first."""


def charge(session: Session, job_id: uuid.UUID, fence: int, slots: int) -> None:
    """Add an attempt that ends now to its owner's usage."""
    session.execute(CHARGE, {"job": job_id, "fence": fence, "slots": slots, "half_life": HALF_LIFE})
