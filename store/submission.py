"""Queueing jobs: one submission, or a thousand in one transaction of a handful of statements."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from core.errors import Reason
from store import dependencies
from store.database import uuid7
from store.jobs import Impossible
from store.people import Project
from store.tables import PRIORITIES, Event, Job

UNITS = {"MiB": 2**20, "GiB": 2**30}


@dataclass(frozen=True)
class Asked:
    """A job to be: its specification, resolved and as sent, and what the store sorts by."""

    spec: dict[str, Any]
    submitted: dict[str, Any]
    digest: str

    @property
    def after(self) -> list[uuid.UUID]:
        """The jobs that it waits for."""
        return [uuid.UUID(one) for one in self.spec.get("after", ())]


def create(session: Session, owner: uuid.UUID, asked: Sequence[Asked]) -> list[Job]:
    """Queue the jobs of one submission, as one group, with the next numbers of their project."""
    return create_all(session, owner, [asked])


def create_all(session: Session, owner: uuid.UUID, groups: Sequence[Sequence[Asked]]) -> list[Job]:
    """Queue the jobs of several submissions, each a group of its own, in a handful of statements."""
    every = list(chain.from_iterable(groups))
    if not every:
        return []
    found = dependencies.states(session, {on for one in every for on in one.after})  # before any other row is locked
    if gone := {on for one in every for on in one.after} - found.keys():
        raise Impossible("gone", f"The job {min(gone)}, which a job is to wait for, has just been deleted.")
    numbered = _numbered(session, [one.spec["project"] for one in every])
    made: dict[uuid.UUID, Asked] = {}
    for group in groups:
        group_id = uuid7()
        for one in group:
            project_id, number = numbered[one.spec["project"]].pop()
            blockers = sum(found[on] != "succeeded" for on in one.after)
            job = _job(one, group_id=group_id, owner_id=owner, project_id=project_id, number=number, blockers=blockers)
            session.add(job)
            made[job.id] = one
    session.flush()
    queued = {"state": "queued", "reason": Reason.WAITING, "message": None}
    session.execute(insert(Event), [{"job_id": one, "seq": 1, "kind": "state_changed", "body": queued} for one in made])
    dependencies.add(session, {job_id: one.after for job_id, one in made.items() if one.after}, found)
    rows = select(Job).where(Job.id.in_(made)).execution_options(populate_existing=True)
    jobs = {job.id: job for job in session.scalars(rows)}
    return [jobs[job_id] for job_id in made]


def _job(one: Asked, **more: Any) -> Job:
    resources = one.spec["resources"]
    return Job(
        id=uuid7(),
        name=one.spec["name"],
        kind=one.spec["kind"],
        seed=one.spec["seed"],
        spec=one.spec,
        submitted=one.submitted,
        digest=one.digest,
        priority=PRIORITIES[resources["priority"]],
        gpus=resources["gpus"],
        memory=_bytes(resources.get("memory")),
        deadline=datetime.fromisoformat(resources["deadline"]) if resources.get("deadline") else None,
        reason=Reason.WAITING,
        last_seq=1,
        **more,
    )


def _bytes(memory: str | None) -> int:
    return int(memory[:-3]) * UNITS[memory[-3:]] if memory else 0


def _numbered(session: Session, names: Sequence[str]) -> dict[str, list[tuple[uuid.UUID, int]]]:
    """The project of each name, made if need be, with as many new numbers as jobs name it, the first one last."""
    found: dict[str, list[tuple[uuid.UUID, int]]] = {}
    for name in sorted(set(names)):
        jobs = names.count(name)
        made = postgresql.insert(Project).values(id=uuid7(), name=name, jobs=jobs)
        taken = made.on_conflict_do_update(index_elements=["name"], set_={"jobs": Project.jobs + jobs})
        project_id, last = session.execute(taken.returning(Project.id, Project.jobs)).one()
        found[name] = [(project_id, last - n) for n in range(jobs)]
    return found
