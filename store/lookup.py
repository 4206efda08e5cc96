"""Looking at jobs: one, a group, a page of a list, and how many there are of each state. Nothing is changed here."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, or_, select, tuple_
from sqlalchemy.orm import Session

from core.errors import Reason
from store.people import Project, User
from store.sight import Eyes, seen_by
from store.tables import Attempt, Job


@dataclass(frozen=True)
class Filter:
    """Which jobs a list shows: of those that `eyes` see, those that match."""

    eyes: Eyes
    states: tuple[str, ...] = ()
    project: str | None = None
    text: str | None = None


def computing(
    session: Session, eyes: Eyes, digests: Sequence[str], states: Sequence[str], reason: Reason | None = None
) -> list[Job]:
    """The jobs in some states (for a reason, if given) that compute what the digests stand for: of each the newest seen."""
    rows = select(Job).join(Project, Project.id == Job.project_id).order_by(Job.digest, Job.created_at.desc())
    rows = rows.where(Job.digest.in_(digests), Job.state.in_(states), seen_by(eyes))
    why = [Job.reason == reason] if reason else []
    return list(session.scalars(rows.where(*why).distinct(Job.digest)))


def numbered(session: Session, eyes: Eyes, number: int) -> list[Job]:
    """The jobs of that number that these eyes see: one in each project, at most."""
    rows = select(Job).join(Project, Project.id == Job.project_id)
    return list(session.scalars(rows.where(Job.number == number, seen_by(eyes))))


def page(session: Session, chosen: Filter, limit: int, before: tuple[datetime, uuid.UUID] | None) -> list[Row[Any]]:
    """Jobs with the names of their project and owner, newest first, before a given one. Touches no points and no events."""
    rows = select(Job, Project.name.label("project"), User.name.label("owner"))
    rows = rows.join(Project, Project.id == Job.project_id).join(User, User.id == Job.owner_id)
    rows = rows.where(*_conditions(chosen))
    if before:
        rows = rows.where(tuple_(Job.created_at, Job.id) < before)
    return list(session.execute(rows.order_by(Job.created_at.desc(), Job.id.desc()).limit(limit)))


def counts(session: Session, chosen: Filter) -> dict[str, int]:
    """How many jobs are in each state."""
    rows = select(Job.state, func.count()).join(Project, Project.id == Job.project_id).where(*_conditions(chosen))
    return dict(session.execute(rows.group_by(Job.state)).tuples().all())


def some(session: Session, eyes: Eyes, job_ids: Sequence[uuid.UUID]) -> list[Row[Any]]:
    """Those of these jobs that are seen, with the names of their project and owner, newest first."""
    rows = select(Job, Project.name.label("project"), User.name.label("owner"))
    rows = rows.join(Project, Project.id == Job.project_id).join(User, User.id == Job.owner_id)
    rows = rows.where(Job.id.in_(job_ids), seen_by(eyes))
    return list(session.execute(rows.order_by(Job.created_at.desc(), Job.id.desc())))


def _conditions(chosen: Filter) -> list[Any]:
    found: list[Any] = [seen_by(chosen.eyes)]
    if chosen.states:
        found.append(Job.state.in_(chosen.states))
    if chosen.project:
        found.append(Project.name == chosen.project)
    if chosen.text:
        number = chosen.text.lstrip("#")
        exact = [Job.number == int(number)] if number.isdecimal() and len(number) < 10 else []
        found.append(or_(Job.name.icontains(chosen.text, autoescape=True), *exact))
    return found


def group(session: Session, group_id: uuid.UUID) -> list[Job]:
    """The jobs of one submission, by seed."""
    return list(session.scalars(select(Job).where(Job.group_id == group_id).order_by(Job.seed)))


def attempts(session: Session, job_id: uuid.UUID) -> list[Attempt]:
    """A job's attempts, oldest first."""
    return list(session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.fence)))


def names(session: Session, job: Job) -> tuple[str, str]:
    """The names of a job's project and owner."""
    project, owner = session.get(Project, job.project_id), session.get(User, job.owner_id)
    assert project, "a job has a project"
    assert owner, "a job has an owner"
    return project.name, owner.name
