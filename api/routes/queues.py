"""The shared queue: opened, paused, drained, as a whole or on one worker; who has had how much of it; why a job waits."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from sqlalchemy.orm import Session

from api import etags
from api.dependencies import Database, Known, Maintainer, SeenJob
from api.errors import not_found
from api.etags import IfMatch
from api.permissions import Caller
from api.queue_schemas import ExplanationOut, HadOut, QueueChange, QueueOut, Queues, Usage
from api.schemas import Printable
from store import actions, explain, gate, lookup, projects, queue, usage, workers

router = APIRouter(tags=["queue"])


def named(name: Printable, who: Known) -> str:
    """The one queue's name."""
    if name != gate.NAME:
        raise not_found("queue", name[:80])
    return name


Name = Annotated[str, Depends(named)]


@router.get("/queues")
def queues(who: Known, session: Database) -> Queues:
    """The queues: there is one, `default`."""
    return Queues(items=[QueueOut.of(gate.find(session))])


@router.get("/queues/{name}")
def show(name: Name, who: Known, session: Database, response: Response) -> QueueOut:
    """A queue."""
    found = gate.find(session)
    etags.tag(response, found.version)
    return QueueOut.of(found)


@router.patch("/queues/{name}")
def change(
    name: Name, asked: QueueChange, who: Maintainer, session: Database, response: Response, if_match: IfMatch = None
) -> QueueOut:
    """Open, pause or drain the queue as it was when it was looked at (If-Match)."""
    before = gate.find(session)
    etags.check(if_match, before.version)
    return _put(session, who, asked.state, response, before.version)


@router.post("/queues/{name}/pause")
def pause(name: Name, who: Maintainer, session: Database, response: Response) -> QueueOut:
    """Start nothing more; what runs goes on."""
    return _put(session, who, "paused", response)


@router.post("/queues/{name}/resume")
def resume(name: Name, who: Maintainer, session: Database, response: Response) -> QueueOut:
    """Start jobs again."""
    return _put(session, who, "open", response)


@router.post("/queues/{name}/drain")
def drain(name: Name, who: Maintainer, session: Database, response: Response) -> QueueOut:
    """Start nothing more; what runs saves, leaves and waits again."""
    return _put(session, who, "draining", response)


def _put(session: Session, who: Caller, state: str, response: Response, version: int | None = None) -> QueueOut:
    if not gate.put(session, state, version):
        raise etags.changed(gate.find(session).version)
    actions.note(session, who.name, "change", "queue", gate.NAME, state=state)
    found = gate.find(session)
    etags.tag(response, found.version)
    session.commit()
    if state == "open":
        queue.ring()
    return QueueOut.of(found)


@router.post("/workers/{worker_id}/drain", status_code=204)
def drain_worker(worker_id: uuid.UUID, who: Maintainer, session: Database) -> None:
    """Have a worker take nothing new, and what it runs save and leave."""
    _drain(session, who, worker_id, True)


@router.post("/workers/{worker_id}/undrain", status_code=204)
def undrain_worker(worker_id: uuid.UUID, who: Maintainer, session: Database) -> None:
    """Have a worker take jobs again."""
    _drain(session, who, worker_id, False)
    session.commit()
    queue.ring()


def _drain(session: Session, who: Caller, worker_id: uuid.UUID, draining: bool) -> None:
    if not workers.drain(session, worker_id, draining):
        raise not_found("worker", worker_id)
    actions.note(session, who.name, "drain" if draining else "undrain", "worker", worker_id)


@router.get("/usage")
def used(who: Known, session: Database, days: Annotated[int, Query(ge=1, le=3650)] = 30) -> Usage:
    """What users and projects have had of the slots: hours of the last days, slots now, and what counts for who is next."""
    seen = set(projects.names(session, who.eyes))
    users, had = usage.by(session, "user", days), usage.by(session, "project", days, seen)
    return Usage(days=days, users=[HadOut.of(one) for one in users], projects=[HadOut.of(one) for one in had])


@router.get("/jobs/{name}/explain", tags=["jobs"])
def why(job: SeenJob, who: Known, session: Database) -> ExplanationOut:
    """Why a job waits, how many go before it, and when it is likely to start; of what it needs, only what the caller sees."""
    found = explain.explain(session, job)
    seen = {row[0].id for row in lookup.some(session, who.eyes, found.blocked_by)}
    return ExplanationOut.of(found, seen)
