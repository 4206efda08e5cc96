"""What a job forgets: of the phases that it is to do again, and everything when it is deleted.

Files that jobs share stay where they are; only the rows that name them go, and a file that nobody names any more goes by
retention. A job's checkpoints are its own: their digests
are returned, for the files to be removed after the commit.
"""

import uuid
from typing import Any

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session

from core.events import TRAINED
from store.tables import Artifact, Attempt, Check, Checkpoint, Dependency, Epoch, Event, Job, Result, Series

PHASES = {
    "train": ("prepare", "train", "compact", "evaluate", "audit", "export"),
    "evaluate": ("prepare", "evaluate", "audit"),
}
"""The phases of a job of each kind."""
ANEW = {"train": ("prepare", "train"), "evaluate": ("prepare", "evaluate")}
"""Phases before which nothing is done that could be reused."""


def since(session: Session, job: Job, phase: str) -> list[str]:
    """Forget what the job found in a phase and in those behind it; returns the digests of checkpoints that go with it."""
    gone = PHASES[job.kind][PHASES[job.kind].index(phase) :]
    files = [Artifact.about["kind"].astext.in_(_kinds(gone))]
    if "evaluate" in gone:
        _delete(session, Result, job.id)
    else:
        _delete(session, Result, job.id, Result.network != TRAINED)
        other = Artifact.about["network"].astext != TRAINED
        files.append((Artifact.about["kind"].astext == "witness") & other)
    _delete(session, Artifact, job.id, or_(*files))
    if "audit" in gone:
        _delete(session, Check, job.id)
        job.trust = "unaudited"
    job.phases = {name: found for name, found in job.phases.items() if name not in gone}
    return _training(session, job) if phase in ANEW[job.kind] else []


def _kinds(gone: tuple[str, ...]) -> list[str]:
    """The kinds of files that come from these phases alone; logs stay."""
    made = {"train": "weights", "evaluate": "witness", "export": "export"}
    return [made[phase] for phase in gone if phase in made]


def _training(session: Session, job: Job) -> list[str]:
    """Forget every checkpoint, and the figures of training."""
    for table in (Epoch, Series):
        _delete(session, table, job.id)
    job.last = {}
    return _checkpoints(session, job.id)


def _checkpoints(session: Session, job_id: uuid.UUID) -> list[str]:
    gone = delete(Checkpoint).where(Checkpoint.job_id == job_id).returning(Checkpoint.sha256)
    return sorted(set(session.scalars(gone)))


def reusable(session: Session, job_id: uuid.UUID) -> bool:
    """Whether there is a checkpoint from behind training."""
    rows = select(func.count()).where(Checkpoint.job_id == job_id, Checkpoint.phase != "train")
    return bool(session.execute(rows).scalar())


def saved_since(session: Session, job_id: uuid.UUID, fence: int) -> bool:
    """Whether an attempt after that one has left a checkpoint."""
    rows = select(func.count()).where(Checkpoint.job_id == job_id, Checkpoint.fence > fence)
    return bool(session.execute(rows).scalar())


def everything(session: Session, job_id: uuid.UUID) -> list[str]:
    """Delete a job, its rows and what it waited for; returns the digests of its checkpoints."""
    digests = _checkpoints(session, job_id)
    session.execute(delete(Dependency).where(or_(Dependency.job_id == job_id, Dependency.on_id == job_id)))
    for table in (Attempt, Epoch, Series, Event, Result, Check, Artifact):
        _delete(session, table, job_id)
    session.execute(delete(Job).where(Job.id == job_id))
    return digests


def _delete(session: Session, table: Any, job_id: uuid.UUID, *which: Any) -> None:
    gone = delete(table).where(table.job_id == job_id, *which)
    session.execute(gone, execution_options={"synchronize_session": False})
