"""What people do to a job: pause, resume, cancel, run again, copy, rename, delete."""

import uuid
from collections.abc import Callable

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from api.admission import Admission
from api.dependencies import ChangedJob, Database, SeenJob, Writer
from api.errors import Refused
from api.etags import IfMatch, changed, check, tag
from api.lifecycle_schemas import Copy, JobChanges, Requeue
from api.permissions import Caller
from api.repeats import IdempotencyKey, once, queued
from api.routes.jobs import create, shown
from api.schemas import JobOut, Submitted
from core.errors import InvalidSpec, Problem
from store import actions, backup, feed, jobs, queue
from store.tables import ENDED, PRIORITIES, Job

router = APIRouter(prefix="/jobs", tags=["jobs"])
CHANGES: dict[str, Callable[[Session, uuid.UUID], bool]] = {
    "cancel": jobs.cancel,
    "pause": jobs.pause,
    "resume": jobs.resume,
}


def change(session: Session, who: Caller, job: Job, verb: str, phase: str | None = None) -> None:
    """Cancel, pause, resume or requeue a job (from a phase, if one is given), note who did, commit, and tell everybody.

    Refused where the job's state does not allow it.
    """
    about = {"from_phase": phase} if verb == "requeue" else {}
    gone = jobs.requeue(session, job.id, phase) if verb == "requeue" else _move(session, job, verb)
    actions.note(session, who.name, verb, "job", job.id, **about)
    session.commit()
    backup.remove(session, job.id, gone)  # before anybody claims it, who may save the same again
    tell(session, job)


def _move(session: Session, job: Job, verb: str) -> list[str]:
    """What is not a requeue forgets no checkpoint."""
    if CHANGES[verb](session, job.id):
        return []
    session.refresh(job)
    if job.state in ENDED:
        raise Refused(409, "ended", f"The job has {job.state} already.")
    going = " and is being cancelled" if job.wish == "cancel" else ""
    raise Refused(409, "wrong_state", f"The job is {job.state}{going}; there is nothing to {verb}.")


def tell(session: Session, job: Job) -> None:
    """Commit, tell everybody who looks at the job, and ring for those who may run it; it is read anew."""
    session.commit()
    feed.announce(job.id)
    session.refresh(job)
    if job.state == "queued":
        queue.ring()


@router.post("/{name}/cancel")
def cancel(job: ChangedJob, session: Database, who: Writer) -> JobOut:
    """End a waiting job at once; ask a running one to save and leave. A job that has ended is refused."""
    change(session, who, job, "cancel")
    return shown(session, job)


@router.post("/{name}/pause")
def pause(job: ChangedJob, session: Database, who: Writer) -> JobOut:
    """Hold a queued job back at once; ask a running one to save and leave, and to stay away until it is resumed."""
    change(session, who, job, "pause")
    return shown(session, job)


@router.post("/{name}/resume")
def resume(job: ChangedJob, session: Database, who: Writer) -> JobOut:
    """Queue a paused job, which goes on where it was; or take back a pause that is not obeyed yet."""
    change(session, who, job, "resume")
    return shown(session, job)


@router.post("/{name}/requeue")
def requeue(job: ChangedJob, session: Database, who: Writer, asked: Requeue | None = None) -> JobOut:
    """Queue a job that has ended or is paused, once more; with `from_phase` that phase and those behind it are done again."""
    change(session, who, job, "requeue", asked.from_phase if asked else None)
    return shown(session, job)


@router.post("/{name}/clone", status_code=201)
def clone(
    job: SeenJob, session: Database, who: Writer, changes: Copy | None = None, idempotency_key: IdempotencyKey = None
) -> Submitted:
    """Queue a new job of the same specification, yours, perhaps with another name, seed or priority.

    A deadline is not copied.
    """
    changes = changes or Copy()
    document = job.spec | changes.model_dump(include={"name", "seed"}, exclude_unset=True)
    priority = changes.model_dump(include={"priority"}, exclude_unset=True)
    document["resources"] = job.spec["resources"] | {"deadline": None} | priority

    def make() -> Submitted:
        return create(session, who, Admission(session, who).job(document), document)

    return queued(session, once(session, who, idempotency_key, f"clone {job.id}", changes, Submitted, make))


@router.patch("/{name}")
def edit(
    job: ChangedJob, changes: JobChanges, session: Database, who: Writer, response: Response, if_match: IfMatch = None
) -> JobOut:
    """Change name, priority or deadline of the version that `If-Match` names."""
    given = changes.model_dump(exclude_unset=True)
    if given.get("deadline") and given["deadline"] <= changes.now():
        passed = Problem("/deadline", "has passed", given["deadline"].isoformat(), "a time to come")
        raise InvalidSpec((passed,))
    values = given | ({"priority": PRIORITIES[given["priority"]]} if "priority" in given else {})
    check(if_match, job.version)
    if not jobs.edit(session, job.id, job.version, values):
        raise changed(job.version)
    actions.note(session, who.name, "edit", "job", job.id, changes=changes.model_dump(mode="json", exclude_unset=True))
    tell(session, job)
    tag(response, job.version)
    return shown(session, job)


@router.delete("/{name}", status_code=204)
def delete(job: ChangedJob, session: Database, who: Writer) -> None:
    """Delete a job, what is known of it and its checkpoints; files of it that others may use stay.

    Refused while it runs, or while others wait for it.
    """
    job_id, about = job.id, {"number": job.number, "title": job.name}
    jobs.delete(session, job_id)
    actions.note(session, who.name, "delete", "job", job_id, **about)
    session.commit()
    backup.remove_all(session, job_id)
