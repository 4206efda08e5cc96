"""Many jobs at once: a list of specifications, queued in one transaction, all or none."""

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.orm import Session

from api import documents
from api.admission import Admission
from api.dependencies import Database, Writer, check_project
from api.errors import MOST, Refused
from api.lifecycle_schemas import Batch, Queued
from api.permissions import Caller
from api.repeats import IdempotencyKey, once, queued
from api.routes.jobs import FORMS, Sent
from core import spec
from core.errors import InvalidSpec, Problem
from store import actions, submission

router = APIRouter(prefix="/jobs", tags=["jobs"])
MOST_SPECS = 1000
MOST_JOBS = 10_000
"""With the seeds of each."""
MOST_VALUES = 500_000
FORM = {
    "type": "object",
    "required": ["jobs"],
    "additionalProperties": False,
    "properties": {"jobs": {"type": "array", "minItems": 1, "maxItems": MOST_SPECS, "items": FORMS}},
}
BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": FORM}}}}


async def sent(request: Request) -> Sent:
    """What the body holds; reading it is not for the event loop."""
    body, kind = await request.body(), request.headers.get("content-type", "")
    value = await run_in_threadpool(documents.read, body, kind, MOST_VALUES)
    return Sent(value, "", hashlib.sha256(body).digest())


@router.post("/batch", status_code=201, openapi_extra=BODY)
def submit(
    who: Writer, asked: Annotated[Sent, Depends(sent)], session: Database, idempotency_key: IdempotencyKey = None
) -> Batch:
    """Queue the jobs of up to 1,000 specifications, `{"jobs": [...]}`: all, or if one is not valid, none.

    Each specification makes a group of its own: one job for each of its seeds.
    """

    def make() -> Batch:
        return create(session, who, asked.document)

    return queued(session, once(session, who, idempotency_key, "batch", asked.sha256, Batch, make))


def _listed(document: Any) -> list[Any]:
    found = document.get("jobs") if isinstance(document, dict) and set(document) == {"jobs"} else None
    if not isinstance(found, list) or not 1 <= len(found) <= MOST_SPECS:
        detail = f'Send {{"jobs": [...]}} with 1 to {MOST_SPECS:,} specifications.'
        raise Refused(422, "invalid_request", detail)
    return found


def create(session: Session, who: Caller, document: Any) -> Batch:
    """Queue them; the caller commits."""
    found = _understood(Admission(session, who), _listed(document))
    if (jobs := sum(job.replicates if isinstance(job, spec.JobSpec) else 1 for job, _ in found)) > MOST_JOBS:
        raise Refused(422, "invalid_request", f"That would be {jobs:,} jobs; a batch makes at most {MOST_JOBS:,}.")
    groups = [[submission.Asked(one.json_dict(), sent, one.digest) for one in job.seeds()] for job, sent in found]
    made = submission.create_all(session, who.id, groups)
    for project in sorted({one.spec["project"] for group in groups for one in group}):
        check_project(session, who, project)
    actions.note_all(session, who.name, "submit", "job", [one.id for one in made])
    shapes = [Queued.model_validate(job, from_attributes=True) for job in made]
    return Batch(jobs=shapes)


def _understood(admission: Admission, listed: Sequence[Any]) -> list[tuple[spec.AnySpec, Any]]:
    """What each document asks for, beside it; `InvalidSpec` lists what is wrong with any of them."""
    found: list[tuple[spec.AnySpec, Any]] = []
    problems: list[Problem] = []
    for number, document in enumerate(listed):
        try:
            found.append((admission.job(document, f"/jobs/{number}"), document))
        except InvalidSpec as error:
            problems.extend(error.problems)
            if len(problems) >= MOST:
                break
    if problems:
        raise InvalidSpec(tuple(problems))
    return found
