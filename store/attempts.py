"""What a running attempt notes of itself and its job, and how it ended: nothing here changes a job's state."""

import uuid
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from store import forget
from store.jobs import Change, mine
from store.tables import Attempt, Job


def started(session: Session, job_id: uuid.UUID, fence: int, pid: int, pid_started: int) -> None:
    """Note which process runs an attempt."""
    this = [Attempt.job_id == job_id, Attempt.fence == fence]
    session.execute(update(Attempt).where(*this).values(pid=pid, pid_started=pid_started))


def describe(session: Session, job_id: uuid.UUID, fence: int, machine: dict[str, Any]) -> None:
    """Note what an attempt runs on."""
    this = [Attempt.job_id == job_id, Attempt.fence == fence]
    session.execute(update(Attempt).where(*this).values(machine=machine))


def anew(session: Session, job_id: uuid.UUID, fence: int) -> list[str]:
    """Forget what earlier attempts have found, since this one begins from nothing: that was found on other weights.

    Returns digests of checkpoints whose files are to be removed after the commit.
    """
    job = session.scalars(select(Job).where(*mine(job_id, fence)).with_for_update()).one_or_none()
    return forget.since(session, job, forget.ANEW[job.kind][0]) if job else []


def refused(session: Session, job_id: uuid.UUID, fence: int) -> None:
    """Count a write of an attempt that changed nothing, since the job has gone on without it."""
    mine = [Attempt.job_id == job_id, Attempt.fence == fence]
    session.execute(update(Attempt).where(*mine).values(refused=Attempt.refused + 1))


def summarise(
    session: Session,
    job_id: uuid.UUID,
    fence: int,
    *,
    progress: Change | None = None,
    last: Change | None = None,
    phases: Change | None = None,
    trust: str | None = None,
) -> bool:
    """Renew what lists and pages show of a running job; False if it is no longer ours."""
    values: Change = {}
    if progress is not None:
        values["progress"] = progress
    if last is not None:
        values["last"] = Job.last.op("||")(last)
    if phases is not None:
        values["phases"] = Job.phases.op("||")(phases)
    if trust is not None:
        values["trust"] = trust
    changed = update(Job).where(*mine(job_id, fence)).values(**values).returning(Job.id)
    return session.execute(changed).scalar() is not None


def newest(session: Session, job_id: uuid.UUID, fence: int) -> int | None:
    """The number of a running job's newest event, after any write that is still under way; None if it is not ours."""
    return session.execute(select(Job.last_seq).where(*mine(job_id, fence)).with_for_update()).scalar()


def outcome(session: Session, job_id: uuid.UUID, fence: int) -> str | None:
    """How an attempt ended: done, failed, left or lost; None while it runs."""
    return session.execute(select(Attempt.outcome).where(Attempt.job_id == job_id, Attempt.fence == fence)).scalar()
