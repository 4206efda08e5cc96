"""What a run leaves behind: checkpoints, epochs, series, results, checks, files. Who writes has shown the fence before."""

import math
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.events import TRAINED
from store import artifacts
from store.people import Project
from store.sight import Eyes, seen_by
from store.tables import Artifact, Check, Checkpoint, Epoch, Job, Result, Series

KEPT_CHECKPOINTS = 2
"""The newest, and the one before in case the newest is damaged."""
COARSER = 8
OUTCOMES = ("survived", "predicted", "distance", "queries")
"""What a score says of each image: a column apart, which lists need not read."""


def checkpoint(session: Session, job_id: uuid.UUID, fence: int, saved: dict[str, Any]) -> list[str]:
    """Note a checkpoint; returns the digests that no row of the job has any more, to be removed after the commit."""
    columns = {key: saved[key] for key in ("phase", "epoch", "batch", "sha256")}
    session.add(Checkpoint(job_id=job_id, fence=fence, **columns))
    session.flush()
    rows = checkpoints(session, job_id)
    kept, old = rows[:KEPT_CHECKPOINTS], rows[KEPT_CHECKPOINTS:]
    session.execute(delete(Checkpoint).where(Checkpoint.id.in_([one.id for one in old])))
    return sorted({one.sha256 for one in old} - {one.sha256 for one in kept})


def checkpoints(session: Session, job_id: uuid.UUID) -> list[Checkpoint]:
    """The checkpoints of a job, newest first."""
    return list(session.scalars(select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(Checkpoint.id.desc())))


def epoch(session: Session, job_id: uuid.UUID, fence: int, ended: dict[str, Any]) -> None:
    """Write an epoch's row and its series; an epoch that is run again after a crash replaces its row."""
    row = {key: ended[key] for key in ("stage", "best", "values", "layers")}
    row |= {"fence": fence, "checkpoint_sha256": ended["checkpoint"]["sha256"]}
    _put(session, Epoch, {"job_id": job_id, "epoch": ended["epoch"]}, row)
    for name, values in ended["series"].items():
        for level, coarse in enumerate(_levels(values)):
            key = {"job_id": job_id, "name": name, "chunk": ended["epoch"], "level": level}
            _put(session, Series, key, {"values": coarse})


def _levels(values: list[float]) -> list[list[float]]:
    """The values, then means of 8, of 64, ... down to a handful."""
    levels = [values]
    while len(levels[-1]) > COARSER:
        levels.append(_means(levels[-1], COARSER))
    return levels


def _means(values: list[float], size: int) -> list[float]:
    """The mean of every `size` values."""
    parts = [values[first : first + size] for first in range(0, len(values), size)]
    return [sum(part) / len(part) for part in parts]


def result(session: Session, job_id: uuid.UUID, scored: dict[str, Any]) -> None:
    """Write what an attack left."""
    key = {"job_id": job_id} | {name: scored[name] for name in ("network", "protocol", "label")}
    position = session.execute(select(func.count()).where(Result.job_id == job_id)).scalar()
    told = {name: scored[name] for name in OUTCOMES if scored.get(name)}
    body = {name: value for name, value in scored.items() if name not in OUTCOMES}
    _put(session, Result, key, {"accuracy": scored["accuracy"], "body": body, "outcomes": told}, {"position": position})


def check(session: Session, job_id: uuid.UUID, checked: dict[str, Any]) -> None:
    """Write what a check of the audit found."""
    key = {"job_id": job_id, "name": checked["check"]}
    position = session.execute(select(func.count()).where(Check.job_id == job_id)).scalar()
    _put(session, Check, key, {"body": checked}, {"position": position})


def artifact(session: Session, job_id: uuid.UUID, name: str, digest: str, size: int, about: dict[str, Any]) -> None:
    """Write that a job has made a file, which is kept already."""
    _put(session, Artifact, {"job_id": job_id, "name": name}, {"sha256": digest, "bytes": size, "about": about})


def _put(
    session: Session, table: Any, key: dict[str, Any], row: dict[str, Any], first: dict[str, Any] | None = None
) -> None:
    """Insert a row, or replace its values; `first` is set on insertion alone."""
    made = insert(table).values(**key, **row, **(first or {}))
    session.execute(made.on_conflict_do_update(index_elements=list(key), set_=row))


# ---- reading


def epochs(session: Session, job_id: uuid.UUID) -> list[Epoch]:
    """The epochs of a job, in order."""
    return list(session.scalars(select(Epoch).where(Epoch.job_id == job_id).order_by(Epoch.epoch)))


def one_epoch(session: Session, job_id: uuid.UUID, number: int | None) -> Epoch | None:
    """An epoch of a job by its number; the newest without one."""
    rows = select(Epoch).where(Epoch.job_id == job_id, *([Epoch.epoch == number] if number is not None else []))
    return session.scalars(rows.order_by(Epoch.epoch.desc()).limit(1)).one_or_none()


def series(session: Session, job_id: uuid.UUID, name: str, points: int) -> list[float]:
    """A step-by-step figure over the whole run, at the finest level that has no more than `points` values.

    Where even the coarsest has more, its means.
    """
    rows = select(Series.level, Series.values).where(Series.job_id == job_id, Series.name == name)
    levels: dict[int, list[float]] = {}
    for level, values in session.execute(rows.order_by(Series.level, Series.chunk)):
        levels.setdefault(level, []).extend(values)
    fitting = [level for level, values in levels.items() if len(values) <= points]
    if fitting or not levels:
        return levels[min(fitting)] if fitting else []
    coarsest = levels[max(levels)]
    return _means(coarsest, math.ceil(len(coarsest) / points))


def series_names(session: Session, job_id: uuid.UUID) -> list[str]:
    """The names of a job's step-by-step figures."""
    return list(session.scalars(select(Series.name).where(Series.job_id == job_id).distinct().order_by(Series.name)))


def results(session: Session, job_id: uuid.UUID) -> list[dict[str, Any]]:
    """What each attack left of the trained network, in the order of the specification, without the outcome of every image."""
    return scores(session, [job_id]).get(job_id, [])


def exported(session: Session, job_id: uuid.UUID) -> list[dict[str, Any]]:
    """The same of the networks in exported files, file by file."""
    rows = select(Result.body).where(Result.job_id == job_id, Result.network != TRAINED)
    return list(session.scalars(rows.order_by(Result.network, Result.position)))


def scores(session: Session, job_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[dict[str, Any]]]:
    """The same of the trained networks of several jobs."""
    rows = select(Result.job_id, Result.body).where(Result.job_id.in_(job_ids), Result.network == TRAINED)
    found: dict[uuid.UUID, list[dict[str, Any]]] = {}
    for job_id, body in session.execute(rows.order_by(Result.job_id, Result.position)):
        found.setdefault(job_id, []).append(body)
    return found


def outcomes(session: Session, job_id: uuid.UUID, network: str = TRAINED) -> list[dict[str, Any]]:
    """What became of each image under the attacks on one of a job's networks: protocol, label, those of `OUTCOMES` there are."""
    rows = select(Result.protocol, Result.label, Result.outcomes)
    rows = rows.where(Result.job_id == job_id, Result.network == network).order_by(Result.position)
    return [{"protocol": protocol, "label": label, **told} for protocol, label, told in session.execute(rows)]


def checks(session: Session, job_id: uuid.UUID) -> list[dict[str, Any]]:
    """What each check of the audit found."""
    return list(session.scalars(select(Check.body).where(Check.job_id == job_id).order_by(Check.position)))


def files(session: Session, job_id: uuid.UUID) -> list[Artifact]:
    """The files of a job, by name."""
    return list(session.scalars(select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.name)))


def holding(session: Session, eyes: Eyes, digest: str) -> list[Artifact]:
    """The rows of all jobs, of those that are seen, that have made a file with these bytes, oldest first."""
    rows = select(Artifact).join(Job, Job.id == Artifact.job_id).join(Project, Project.id == Job.project_id)
    return list(session.scalars(rows.where(Artifact.sha256 == digest, seen_by(eyes)).order_by(Artifact.created_at)))


def log(session: Session, job_id: uuid.UUID) -> Path | None:
    """What is kept of the output of the newest attempt that left any."""
    rows = select(Artifact.sha256).where(Artifact.job_id == job_id, Artifact.about["kind"].astext == "log")
    found = session.execute(rows.order_by(Artifact.created_at.desc()).limit(1)).scalar()
    return artifacts.place(found) if found else None


def file(session: Session, job_id: uuid.UUID, name: str) -> tuple[Path, Artifact] | None:
    """A file of a job by its name, and where its bytes are."""
    found = session.get(Artifact, (job_id, name))
    return (artifacts.place(found.sha256), found) if found else None
