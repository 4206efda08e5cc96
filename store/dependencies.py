"""Jobs that wait for others: what has been met, and what is said to who waits.

A job counts what it still waits for in `blockers`, and is claimed when that is 0. What has once succeeded holds nobody up
again. A job that fails or is cancelled leaves those behind it queued: run again, it lets them go.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.orm import Session

from store.tables import ENDED, Artifact, Dependency, Job


def states(session: Session, job_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, str]:
    """The states of jobs that others are to wait for; none of them changes its state before this transaction has ended."""
    rows = select(Job.id, Job.state).where(Job.id.in_(job_ids)).order_by(Job.id).with_for_update(read=True)
    return dict(session.execute(rows).tuples().all()) if job_ids else {}


def add(session: Session, after: Mapping[uuid.UUID, Sequence[uuid.UUID]], found: Mapping[uuid.UUID, str]) -> None:
    """Have jobs wait for others, whose `states` were just found."""
    rows = [
        {"job_id": job_id, "on_id": on_id, "met": found[on_id] == "succeeded"}
        for job_id, on in after.items()
        for on_id in on
    ]
    if rows:
        session.execute(insert(Dependency), rows)
        explain(session, list(after))


def met(session: Session, job_id: uuid.UUID) -> None:
    """The job has succeeded: whoever waits for it waits for one less."""
    rows = update(Dependency).where(Dependency.on_id == job_id, ~Dependency.met).values(met=True)
    waiting = list(session.scalars(rows.returning(Dependency.job_id)))
    if not waiting:
        return
    _lock(session, waiting)  # a neighbour that succeeds now has written what it met before we count
    left = select(func.count()).where(Dependency.job_id == Job.id, ~Dependency.met).scalar_subquery()
    counted = update(Job).where(Job.id.in_(waiting)).values(blockers=left)
    session.execute(counted, execution_options={"synchronize_session": False})
    explain(session, waiting)


def waiting_for(session: Session, job_id: uuid.UUID) -> list[uuid.UUID]:
    """The jobs that still wait for this one."""
    rows = select(Dependency.job_id).where(Dependency.on_id == job_id, ~Dependency.met)
    return list(session.scalars(rows.order_by(Dependency.job_id)))


def judging(session: Session, job_id: uuid.UUID) -> list[uuid.UUID]:
    """The jobs that have not ended and are to judge a network of this one: they name it, or a file that it has made."""
    files = select(Artifact.sha256).where(Artifact.job_id == job_id)
    network = Job.spec["network"]
    named = or_(network["job"].astext == str(job_id), network["sha256"].astext.in_(files))
    return list(
        session.scalars(select(Job.id).where(Job.state.not_in(ENDED), Job.id != job_id, named).order_by(Job.id))
    )


def _lock(session: Session, job_ids: Sequence[uuid.UUID]) -> None:
    """Always in this order, in which jobs wait for one another: so nobody waits in a circle."""
    session.execute(select(Job.id).where(Job.id.in_(job_ids)).order_by(Job.id).with_for_update()).all()


def explain(session: Session, job_ids: Sequence[uuid.UUID]) -> None:
    """Say in the messages of queued jobs how much each waits for; the same words to as many as possible at once.

    Which jobs those are is not said: who reads the message may not see them.
    """
    if not job_ids:
        return
    _lock(session, job_ids)
    rows = select(Dependency.job_id, Job.state).join(Job, Job.id == Dependency.on_id)
    rows = rows.where(Dependency.job_id.in_(job_ids), ~Dependency.met)
    on: dict[uuid.UUID, list[str]] = {job_id: [] for job_id in job_ids}
    for job_id, state in session.execute(rows).tuples():
        on[job_id].append(state)
    said: dict[str | None, list[uuid.UUID]] = {}
    for job_id, found in on.items():
        said.setdefault(_words(found), []).append(job_id)
    for words, to in said.items():
        told = update(Job).where(Job.id.in_(to), Job.state == "queued").values(message=words)
        session.execute(told, execution_options={"synchronize_session": False})


def _words(on: list[str]) -> str | None:
    """What a job waits for, and how many of those will not succeed by themselves."""
    if not on:
        return None
    stuck = [f"{on.count(state)} {state}" for state in ("failed", "cancelled") if state in on]
    words = f"It waits for {len(on)} job{'' if len(on) == 1 else 's'} to succeed."
    return words + (f" But {' and '.join(stuck)}: requeue what it needs, or cancel this." if stuck else "")
