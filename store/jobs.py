"""The life of a job: every change of its state, each one guarded statement, and every query about it.

                 claim                succeed
    queued -----------------> running ---------> succeeded
      ^  \\                     |  |  \\  fail
      |   \\ cancel             |  |   `--------> failed
      |    `-----> cancelled <-'  | pause
      `-- release, die, lose -----'-----------> paused

A wish (cancel, pause) is a column that the running attempt reads with its heartbeat. What an attempt writes carries its
fence: once the job has gone on without it, its writes change nothing and it is told so.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, or_, select, text, tuple_, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from core.errors import Reason
from store import feed, schedule, workers
from store.database import uuid7
from store.people import Project, User
from store.settings import settings
from store.tables import ENDED, PRIORITIES, Attempt, Job, Slot, Worker

Change = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """A job to be: its specification, resolved and as sent, and what the store sorts by."""

    spec: dict[str, Any]
    submitted: dict[str, Any]
    digest: str


# ---- asking


def create(session: Session, owner: uuid.UUID, asked: Sequence[Asked]) -> list[Job]:
    """Queue the jobs of one submission, as one group, with the next numbers of their project."""
    project, group, made = _project(session, asked[0].spec["project"], len(asked)), uuid7(), []
    for number, one in enumerate(asked, project.jobs - len(asked) + 1):
        job = Job(
            id=uuid7(),
            group_id=group,
            project_id=project.id,
            owner_id=owner,
            number=number,
            name=one.spec["name"],
            kind=one.spec["kind"],
            seed=one.spec["seed"],
            spec=one.spec,
            submitted=one.submitted,
            digest=one.digest,
            priority=PRIORITIES[one.spec["resources"]["priority"]],
            gpus=one.spec["resources"]["gpus"],
            reason=Reason.WAITING,
        )
        session.add(job)
        made.append(job)
    session.flush()
    for job in made:
        _note(session, job.id, "queued", Reason.WAITING, None)
        session.refresh(job)
    return made


def _project(session: Session, name: str, jobs: int) -> Project:
    """The project of that name, made if need be, with `jobs` more numbers taken."""
    made = postgresql.insert(Project).values(id=uuid7(), name=name, jobs=jobs)
    taken = made.on_conflict_do_update(index_elements=["name"], set_={"jobs": Project.jobs + jobs}).returning(Project)
    return session.scalars(taken, execution_options={"populate_existing": True}).one()


def cancel(session: Session, job_id: uuid.UUID) -> bool:
    """End a waiting job at once, or wish the running attempt to end; False if the job has ended already."""
    state = session.execute(select(Job.state).where(Job.id == job_id).with_for_update()).scalar()
    if state is None or state in ENDED:
        return False
    if state == "running":
        session.execute(update(Job).where(Job.id == job_id).values(wish="cancel"))
        return True
    ended = {"state": "cancelled", "reason": Reason.USER, "message": None, "ended_at": func.now()}
    session.execute(update(Job).where(Job.id == job_id).values(**ended))
    _note(session, job_id, "cancelled", Reason.USER, None)
    return True


# ---- running


def claim(session: Session, worker_id: uuid.UUID) -> schedule.Claim | None:
    """Start an attempt of the job that is next for this worker."""
    claimed = schedule.claim(session, worker_id, settings().lease_seconds)
    if claimed:
        _note(session, claimed.job_id, "running", None, None)
    return claimed


def heartbeat(session: Session, job_id: uuid.UUID, fence: int) -> str | None:
    """Renew the lease and read the wish, in one statement: none, pause, cancel or drain. None: the job is no longer ours."""
    lease = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, settings().lease_seconds)
    draining = select(Worker.draining).where(Worker.id == Job.worker_id).scalar_subquery()
    renewed = update(Job).where(*_mine(job_id, fence)).values(lease_until=lease).returning(Job.wish, draining)
    row = session.execute(renewed).one_or_none()
    if row is None:
        return None
    return "drain" if row[0] == "none" and row[1] else str(row[0])


def started(session: Session, job_id: uuid.UUID, fence: int, pid: int, pid_started: int) -> None:
    """Note which process runs an attempt."""
    mine = [Attempt.job_id == job_id, Attempt.fence == fence]
    session.execute(update(Attempt).where(*mine).values(pid=pid, pid_started=pid_started))


def describe(session: Session, job_id: uuid.UUID, fence: int, machine: dict[str, Any]) -> None:
    """Note what an attempt runs on."""
    mine = [Attempt.job_id == job_id, Attempt.fence == fence]
    session.execute(update(Attempt).where(*mine).values(machine=machine))


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
    changed = update(Job).where(*_mine(job_id, fence)).values(**values).returning(Job.id)
    return session.execute(changed).scalar() is not None


def newest(session: Session, job_id: uuid.UUID, fence: int) -> int | None:
    """The number of a running job's newest event, after any write that is still under way; None if it is not ours."""
    return session.execute(select(Job.last_seq).where(*_mine(job_id, fence)).with_for_update()).scalar()


# ---- ending an attempt


def succeed(session: Session, job_id: uuid.UUID, fence: int) -> bool:
    """The attempt did everything."""
    return _leave(session, job_id, fence, "succeeded", "done", None, None)


def fail(session: Session, job_id: uuid.UUID, fence: int, reason: Reason, message: str, retry: bool) -> bool:
    """The attempt ended with an error; an error worth another try, or a death, queues the job again up to a limit."""
    deaths = session.execute(select(Job.deaths).where(*_mine(job_id, fence))).scalar()
    if deaths is None:
        return False
    again = retry and deaths + 1 < settings().max_attempts
    state = "queued" if again else "failed"
    return _leave(session, job_id, fence, state, "failed", reason, message, {"deaths": Job.deaths + 1})


def release(session: Session, job_id: uuid.UUID, fence: int, wish: str) -> bool:
    """The attempt saved and left because it was asked to: to cancel, to pause, or to drain the worker."""
    state, reason = {
        "cancel": ("cancelled", Reason.USER),
        "pause": ("paused", Reason.USER_PAUSED),
    }.get(wish, ("queued", Reason.DRAINING))
    return _leave(session, job_id, fence, state, "left", reason, None)


def lose(session: Session, job_id: uuid.UUID, fence: int) -> bool:
    """The attempt's worker was silent for a whole lease: queue the job again, or fail it after too many losses."""
    silent = select(Job.losses).where(*_mine(job_id, fence), Job.lease_until < func.now())
    losses = session.execute(silent.with_for_update()).scalar()  # from here on nobody can renew the lease
    if losses is None:
        return False
    state = "queued" if losses + 1 < settings().max_losses else "failed"
    message = f"The worker was lost ({losses + 1} so far)."
    return _leave(session, job_id, fence, state, "lost", Reason.WORKER_LOST, message, {"losses": Job.losses + 1})


def _leave(
    session: Session,
    job_id: uuid.UUID,
    fence: int,
    state: str,
    outcome: str,
    reason: Reason | None,
    message: str | None,
    more: Change | None = None,
) -> bool:
    """End the attempt `fence` in one guarded statement, then free its slots, close its row and charge its owner.

    A job that would go on, but that somebody has asked to cancel, is cancelled.
    """
    wish = session.execute(select(Job.wish).where(*_mine(job_id, fence)).with_for_update()).scalar()
    said = message
    if wish == "cancel" and state not in ENDED:
        state, reason, message = "cancelled", Reason.USER, None
    ended = {"ended_at": func.now()} if state in ENDED else {}
    values = {
        "state": state,
        "reason": reason,
        "message": message,
        "wish": "none",
        "lease_until": None,
        "worker_id": None,
    }
    changed = update(Job).where(*_mine(job_id, fence)).values(**values, **ended, progress={}, **(more or {}))
    if session.execute(changed.returning(Job.id)).scalar() is None:
        return False
    held = [Slot.job_id == job_id, Slot.fence == fence]
    freed = session.execute(update(Slot).where(*held).values(job_id=None, fence=None).returning(Slot.number)).all()
    schedule.charge(session, job_id, fence, len(freed))
    closed = update(Attempt).where(Attempt.job_id == job_id, Attempt.fence == fence)
    session.execute(closed.values(ended_at=func.now(), outcome=outcome, message=said))
    _note(session, job_id, state, reason, message)
    return True


def _mine(job_id: uuid.UUID, fence: int) -> list[Any]:
    return [Job.id == job_id, Job.fence == fence, Job.state == "running"]


def _note(session: Session, job_id: uuid.UUID, state: str, reason: Reason | None, message: str | None) -> None:
    feed.append(session, job_id, [("state_changed", {"state": state, "reason": reason, "message": message})])


# ---- looking


@dataclass(frozen=True)
class Filter:
    """Which jobs a list shows."""

    states: tuple[str, ...] = ()
    project: str | None = None
    text: str | None = None


def find(session: Session, job_id: uuid.UUID) -> Job | None:
    """A job."""
    return session.get(Job, job_id)


def computing(
    session: Session, digests: Sequence[str], states: Sequence[str], reason: Reason | None = None
) -> list[Job]:
    """The jobs in some states (for a reason, if given) that compute what the digests stand for: of each the newest."""
    rows = select(Job).where(Job.digest.in_(digests), Job.state.in_(states)).order_by(Job.digest, Job.created_at.desc())
    why = [Job.reason == reason] if reason else []
    return list(session.scalars(rows.where(*why).distinct(Job.digest)))


def numbered(session: Session, project: str | None, number: int) -> list[Job]:
    """The jobs of that number: one in a project, perhaps several over all projects."""
    named = [Project.name == project] if project else []
    return list(
        session.scalars(select(Job).join(Project, Project.id == Job.project_id).where(Job.number == number, *named))
    )


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


def some(session: Session, job_ids: Sequence[uuid.UUID]) -> list[Row[Any]]:
    """Those jobs, with the names of their project and owner, newest first."""
    rows = select(Job, Project.name.label("project"), User.name.label("owner"))
    rows = rows.join(Project, Project.id == Job.project_id).join(User, User.id == Job.owner_id)
    return list(session.execute(rows.where(Job.id.in_(job_ids)).order_by(Job.created_at.desc(), Job.id.desc())))


def projects(session: Session) -> list[str]:
    """The names of all projects."""
    return list(session.scalars(select(Project.name).order_by(Project.name)))


def _conditions(chosen: Filter) -> list[Any]:
    found: list[Any] = [Job.state.in_(chosen.states)] if chosen.states else []
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


def outcome(session: Session, job_id: uuid.UUID, fence: int) -> str | None:
    """How an attempt ended: done, failed, left or lost; None while it runs."""
    return session.execute(select(Attempt.outcome).where(Attempt.job_id == job_id, Attempt.fence == fence)).scalar()


def names(session: Session, job: Job) -> tuple[str, str]:
    """The names of a job's project and owner."""
    project, owner = session.get(Project, job.project_id), session.get(User, job.owner_id)
    assert project, "a job has a project"
    assert owner, "a job has an owner"
    return project.name, owner.name


# ---- for the reaper


def expired(session: Session, limit: int = 500) -> list[tuple[uuid.UUID, int]]:
    """Running jobs whose lease has run out. None in the first lease after Postgres has started: nobody could renew one."""
    young = text("now() - pg_postmaster_start_time() > make_interval(secs => :lease)").bindparams(
        lease=settings().lease_seconds
    )
    rows = select(Job.id, Job.fence).where(Job.state == "running", Job.lease_until < func.now(), young)
    return [(job_id, fence) for job_id, fence in session.execute(rows.order_by(Job.lease_until).limit(limit))]


def waiting(session: Session) -> int:
    """How many bells are worth ringing: one for each free slot of a living worker for which a job waits."""
    free = select(Slot.kind, func.count()).join(Worker, Worker.id == Slot.worker_id).group_by(Slot.kind)
    ready = [Slot.job_id.is_(None), workers.seen_within(settings().lease_seconds), ~Worker.draining]
    rows = session.execute(free.where(*ready)).tuples().all()
    return sum(_queued(session, kind, slots) for kind, slots in rows)


def _queued(session: Session, kind: str, most: int) -> int:
    """How many jobs wait for a slot of that kind (each takes one), counted no further than `most`."""
    fits = Job.gpus == 0 if kind == "cpu" else Job.gpus > 0
    queued = select(Job.id).where(Job.state == "queued", Job.blockers == 0, fits).limit(most).subquery()
    return session.execute(select(func.count()).select_from(queued)).scalar() or 0
