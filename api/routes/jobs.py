"""Jobs: submit, plan, list, show, and what a run has left."""

import base64
import binascii
import hashlib
import uuid
from datetime import datetime
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.orm import Session

from api import documents, networks
from api.admission import Admission
from api.dependencies import Database, Known, SeenJob, Writer, check_project
from api.errors import Refused
from api.etags import tag
from api.permissions import Caller
from api.repeats import IdempotencyKey, once, queued
from api.schemas import AttemptOut, Attempts, EpochOut, JobDetail, JobOut, JobPage, Metrics, Plan, Printable, Submitted
from core import plan, spec
from store import actions, lookup, records, submission
from store.tables import STATES, Job

router = APIRouter(prefix="/jobs", tags=["jobs"])
FORMS = {"oneOf": [{"$ref": f"#/components/schemas/{form.__name__}"} for form in spec.KINDS.values()]}
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": FORMS},
            "application/yaml": {"schema": FORMS},
        },
    }
}


class Sent(NamedTuple):
    """The specification in a body, as it was sent; where it stands there, for pointers; the body's hash."""

    document: Any
    at: str
    sha256: bytes


async def sent(request: Request) -> Sent:
    """What a body holds: the specification itself, or an object whose one key `spec` holds it."""
    body = await request.body()
    return await run_in_threadpool(opened, body, request.headers.get("content-type", ""))


def opened(body: bytes, kind: str) -> Sent:
    """What `sent` gives. A large body takes seconds, in which others must be answered: not for the event loop."""
    value, digest = documents.read(body, kind), hashlib.sha256(body).digest()
    wrapped = isinstance(value, dict) and set(value) == {"spec"}
    return Sent(value["spec"], "/spec", digest) if wrapped else Sent(value, "", digest)


Body = Annotated[Sent, Depends(sent)]


@router.post("", status_code=201, openapi_extra=BODY)
def submit(
    who: Writer,
    asked: Body,
    session: Database,
    response: Response,
    idempotency_key: IdempotencyKey = None,
    dry_run: bool = False,
) -> Submitted | Plan:
    """Queue a job for each of its seeds, or with `dry_run=true` say what it would be and queue nothing."""
    if dry_run:
        response.status_code = 200
        return planned(Admission(session, who).job(asked.document, asked.at))
    return create_once(session, who, idempotency_key, "jobs", asked)


def create_once(session: Session, who: Caller, key: str | None, route: str, asked: Sent) -> Submitted:
    """Queue the jobs, or give the answer that the key got before."""

    def make() -> Submitted:
        return create(session, who, Admission(session, who).job(asked.document, asked.at), asked.document)

    return queued(session, once(session, who, key, route, asked.sha256, Submitted, make))


def planned(job: spec.AnySpec) -> Plan:
    """What a job would be."""
    net = networks.shape(job) if isinstance(job, spec.EvaluateSpec) else None
    weight, passes = plan.weigh(job, net), plan.passes(job, net)
    return Plan(
        spec=job.json_dict(),
        digest=job.digest,
        seeds=[one.seed for one in job.seeds()],
        parameters=weight.parameters,
        macs=weight.macs,
        passes=dict(passes),
        petaflop=2 * weight.macs * sum(passes.values()) / 1e15,
        memory_bytes=weight.memory,
    )


def create(session: Session, who: Caller, job: spec.AnySpec, sent: dict[str, Any]) -> Submitted:
    """Queue a job for each of its seeds, and note who did; the caller commits, then rings."""
    asked = [submission.Asked(one.json_dict(), sent, one.digest) for one in job.seeds()]
    made = submission.create(session, who.id, asked)
    check_project(session, who, job.project)
    actions.note_all(session, who.name, "submit", "job", [one.id for one in made])
    return Submitted(group=made[0].group_id, jobs=[shown(session, one) for one in made])


def shown(session: Session, job: Job) -> JobOut:
    """A job as lists show it."""
    return JobOut.of(job, *lookup.names(session, job))


@router.get("")
def find(
    who: Known,
    session: Database,
    state: Annotated[list[str] | None, Query()] = None,
    project: Printable | None = None,
    q: Annotated[Printable | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str | None = None,
) -> JobPage:
    """Jobs, newest first; by state, project, and part of the name or the number."""
    for one in state or ():
        if one not in STATES:
            raise Refused(422, "invalid_request", f"state must be one of {', '.join(STATES)}, not {one[:80]}.")
    chosen = lookup.Filter(who.eyes, tuple(state or ()), project, q)
    rows = lookup.page(session, chosen, limit + 1, before(cursor) if cursor else None)
    items = [JobOut.of(*row) for row in rows[:limit]]
    following = cursor_of(rows[limit - 1][0]) if len(rows) > limit else None
    return JobPage(items=items, next_cursor=following, counts=lookup.counts(session, chosen))


def cursor_of(job: Job) -> str:
    """Where a page ends."""
    return base64.urlsafe_b64encode(f"{job.created_at.isoformat()} {job.id}".encode()).decode().rstrip("=")


def before(cursor: str) -> tuple[datetime, uuid.UUID]:
    """Where the next page begins."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        created, _, job_id = text.partition(" ")
        return datetime.fromisoformat(created), uuid.UUID(job_id)
    except (ValueError, binascii.Error):
        raise Refused(422, "invalid_request", "cursor must be a next_cursor that an earlier page gave.") from None


@router.get("/{name}")
def show(job: SeenJob, session: Database, response: Response) -> JobDetail:
    """A job by its id or number, with its results; its ETag is of what people change: name, priority, deadline."""
    tag(response, job.version)
    return JobDetail(
        **shown(session, job).model_dump(),
        spec=job.spec,
        results=records.results(session, job.id),
        exported=records.exported(session, job.id),
        checks=records.checks(session, job.id),
    )


@router.get("/{name}/spec")
def specification(job: SeenJob, sent: bool = False) -> dict[str, Any]:
    """The resolved specification, or with `sent=true` the one that was sent."""
    return job.submitted if sent else job.spec


@router.get("/{name}/attempts")
def attempts(job: SeenJob, session: Database) -> Attempts:
    """The attempts at running a job."""
    return Attempts(items=[AttemptOut.of(one) for one in lookup.attempts(session, job.id)])


@router.get("/{name}/metrics")
def metrics(
    job: SeenJob,
    session: Database,
    series: Annotated[Printable | None, Query(max_length=100)] = None,
    points: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> Metrics:
    """The figures of each epoch; and with `series=` one figure step by step, in no more than `points` values."""
    values = records.series(session, job.id, series, points) if series else None
    epochs = [EpochOut.of(one) for one in records.epochs(session, job.id)]
    return Metrics(epochs=epochs, series=records.series_names(session, job.id), values=values)
