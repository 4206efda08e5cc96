"""The life of a job: every change of its state, each one guarded statement (lists of jobs are in lookup.py).

                 claim                succeed
    queued -----------------> running ---------> succeeded --.
      ^  \\                     |  |  \\  fail                   |
      |   \\ cancel             |  |   `--------> failed -------+ requeue: queued
      |    `-----> cancelled <-'  | pause                     |
      |-- release, die, lose -----'-----------> paused -------'
      `------------------------------- resume ----'

A wish (cancel, pause) is a column that the running attempt reads with its heartbeat; so is a deadline that has passed. What an
attempt writes carries its fence: once the job has gone on without it, its writes change nothing and it is told so.
"""

import uuid
from typing import Any

from sqlalchemy import func, or_, select, text, update
from sqlalchemy.orm import Session

from core.errors import Reason
from store import dependencies, feed, forget, schedule, webhooks, workers
from store.settings import settings
from store.tables import ENDED, PRIORITIES, Attempt, Job, Queue, Slot, Worker

Change = dict[str, Any]
WISHED: dict[str, tuple[str, Reason]] = {"cancel": ("cancelled", Reason.USER), "pause": ("paused", Reason.USER_PAUSED)}
"""Where a job goes whose attempt ends while somebody wishes so."""
LATE = func.coalesce(Job.deadline < func.now(), False)
LATE_MESSAGE = "Its deadline passed before it had ended."


class Impossible(Exception):
    """A change that the job's state does not allow; `code` says why to programs, the message to people."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.code = code


# ---- what people change


def cancel(session: Session, job_id: uuid.UUID) -> bool:
    """End a waiting job at once, or wish the running attempt to end; False if the job has ended already."""
    job = _locked(session, job_id)
    if job is None or job.state in ENDED:
        return False
    if job.state == "running":
        return _wish(session, job, "cancel")
    return _move(session, job, "cancelled", Reason.USER)


def pause(session: Session, job_id: uuid.UUID) -> bool:
    """Hold a queued job back, or wish the running attempt to save and leave; False in any other state, or after a cancel."""
    job = _locked(session, job_id)
    if job and job.state == "queued":
        return _move(session, job, "paused", Reason.USER_PAUSED)
    if job is None or job.state != "running" or job.wish == "cancel":
        return False
    return _wish(session, job, "pause")


def resume(session: Session, job_id: uuid.UUID) -> bool:
    """Queue a paused job, or take back a wish to pause; False where there is neither."""
    job = _locked(session, job_id)
    if job and job.state == "paused":
        return _move(session, job, "queued", Reason.WAITING)
    if job is None or job.state != "running" or job.wish != "pause":
        return False
    return _wish(session, job, "none")  # the attempt may leave all the same: then the job is queued


def requeue(session: Session, job_id: uuid.UUID, phase: str | None = None) -> list[str]:
    """Queue a job that has ended or is paused, to go on where it was, or to do a phase and what follows again.

    Returns digests of checkpoints whose files are to be removed after the commit. Raises `Impossible`.
    """
    job = _locked(session, job_id)
    if job is None or job.state not in (*ENDED, "paused"):
        raise Impossible(
            "not_ended", f"The job is {job.state if job else 'gone'}; what has ended or is paused is requeued."
        )
    if job.deadline and session.execute(select(Job.deadline < func.now()).where(Job.id == job_id)).scalar():
        raise Impossible(
            "deadline", f"The job's deadline, {job.deadline.isoformat()}, has passed; give it another first."
        )
    if not phase and not forget.reusable(session, job.id):
        job.from_phase, job.from_fence = None, 0  # what it was to begin with is gone: it starts anew
    gone = _forget(session, job, phase) if phase else []
    job.deaths = job.losses = 0
    job.ended_at, job.progress = None, {}
    _move(session, job, "queued", Reason.WAITING)
    return gone


def _forget(session: Session, job: Job, phase: str) -> list[str]:
    """Forget a phase and what follows; later attempts read the checkpoints up to here without it."""
    if phase not in forget.PHASES[job.kind]:
        named = ", ".join(forget.PHASES[job.kind])
        raise Impossible("no_such_phase", f"A job of kind {job.kind} has no phase {phase}; its phases are {named}.")
    phase = _earlier(session, job, phase)
    anew = phase in forget.ANEW[job.kind]
    if not anew and not forget.reusable(session, job.id):
        raise Impossible(
            "nothing_to_reuse", f"The job has no checkpoint from which {phase} could begin; requeue it from train."
        )
    job.from_phase, job.from_fence = (None, 0) if anew else (phase, job.fence)
    return forget.since(session, job, phase)


def _earlier(session: Session, job: Job, phase: str) -> str:
    """The phase, or that of an earlier requeue: while nothing is saved since, the checkpoints know what that one forgot."""
    if job.from_phase is None or forget.saved_since(session, job.id, job.from_fence):
        return phase
    return min(phase, job.from_phase, key=forget.PHASES[job.kind].index)


def delete(session: Session, job_id: uuid.UUID) -> None:
    """Delete a job and all that it alone has; its checkpoints' files are to be removed after the commit. Raises `Impossible`."""
    job = _locked(session, job_id)
    if job and job.state == "running":
        raise Impossible("running", "The job is running; cancel it first.")
    if waiting := dependencies.waiting_for(session, job_id):
        raise Impossible("awaited", f"{len(waiting)} jobs wait for it; cancel and delete those first.")
    if judging := dependencies.judging(session, job_id):
        raise Impossible("judged", f"{len(judging)} jobs are to judge a network of it; cancel those first.")
    forget.everything(session, job_id)


def edit(session: Session, job_id: uuid.UUID, version: int, changes: Change) -> bool:
    """Change name, priority (-1, 0, 1) or deadline, in the specification too; False if it is not that version any more."""
    job = _locked(session, job_id)
    if job is None or job.version != version:
        return False
    resources, spec = dict(job.spec["resources"]), dict(job.spec)
    for key, value in changes.items():
        setattr(job, key, value)
    if "name" in changes:
        spec["name"] = changes["name"]
    if "priority" in changes:
        resources["priority"] = next(name for name, rank in PRIORITIES.items() if rank == changes["priority"])
    if "deadline" in changes:
        resources["deadline"] = changes["deadline"].isoformat() if changes["deadline"] else None
    job.spec, job.version = spec | {"resources": resources}, version + 1
    session.flush()
    return True


def _locked(session: Session, job_id: uuid.UUID) -> Job | None:
    """A job whose state nobody else changes before this transaction has ended."""
    rows = select(Job).where(Job.id == job_id).with_for_update().execution_options(populate_existing=True)
    return session.scalars(rows).one_or_none()


def _wish(session: Session, job: Job, wish: str) -> bool:
    """What the running attempt of a locked job is to read with its next heartbeat."""
    job.wish = wish
    session.flush()
    return True


def _move(session: Session, job: Job, state: str, reason: Reason, message: str | None = None) -> bool:
    """Change the state of a locked job that is not running, and say so to whoever waits for it."""
    job.state, job.reason, job.message = state, reason, message
    if state in ENDED:
        job.ended_at = func.now()
    session.flush()
    _note(session, job.id, state, reason, message)
    dependencies.explain(session, [*dependencies.waiting_for(session, job.id), *([job.id] if job.blockers else [])])
    session.expire(job)
    return True


# ---- running


def claim(session: Session, worker_id: uuid.UUID) -> schedule.Claim | None:
    """Start an attempt of the job that is next for this worker."""
    claimed = schedule.claim(session, worker_id, settings().lease_seconds)
    if claimed:
        _note(session, claimed.job_id, "running", None, None)
    return claimed


def heartbeat(session: Session, job_id: uuid.UUID, fence: int) -> str | None:
    """Renew the lease and read the wish, in one statement: none, pause, cancel, deadline or drain. None: it is no longer ours."""
    lease = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, settings().lease_seconds)
    leaving = select(Worker.draining).where(Worker.id == Job.worker_id).scalar_subquery()
    draining = or_(leaving, select(Queue.name).where(Queue.state == "draining").exists())
    renewed = update(Job).where(*mine(job_id, fence)).values(lease_until=lease)
    row = session.execute(renewed.returning(Job.wish, LATE, draining)).one_or_none()
    if row is None:
        return None
    wish, late, drain = row
    if late and wish != "cancel":
        return "deadline"
    return "drain" if wish == "none" and drain else str(wish)


# ---- ending an attempt


def succeed(session: Session, job_id: uuid.UUID, fence: int) -> bool:
    """The attempt did everything."""
    return _leave(session, job_id, fence, "succeeded", "done", None, None)


def fail(session: Session, job_id: uuid.UUID, fence: int, reason: Reason, message: str, retry: bool) -> bool:
    """The attempt ended with an error; an error worth another try, or a death, queues the job again up to a limit."""
    deaths = session.execute(select(Job.deaths).where(*mine(job_id, fence))).scalar()
    if deaths is None:
        return False
    again = retry and deaths + 1 < settings().max_attempts
    state = "queued" if again else "failed"
    return _leave(session, job_id, fence, state, "failed", reason, message, {"deaths": Job.deaths + 1})


def halt(session: Session, job_id: uuid.UUID, fence: int, reason: Reason, message: str) -> bool:
    """The attempt met something that people must set right first: the job is paused, and goes on when it is resumed."""
    return _leave(session, job_id, fence, "paused", "failed", reason, message)


def release(session: Session, job_id: uuid.UUID, fence: int, asked: str) -> bool:
    """The attempt saved and left because it was asked to; what is wished now, not then, decides where the job goes."""
    found = session.execute(select(Job.wish, LATE).where(*mine(job_id, fence)).with_for_update()).one_or_none()
    if found and found[0] != "cancel" and found[1]:
        return _leave(session, job_id, fence, "failed", "left", Reason.DEADLINE, LATE_MESSAGE)
    reason = Reason.DRAINING if asked == "drain" else Reason.WAITING
    return _leave(session, job_id, fence, "queued", "left", reason, None)


def lose(session: Session, job_id: uuid.UUID, fence: int) -> bool:
    """The attempt's worker was silent for a whole lease: queue the job again, or fail it after too many losses."""
    silent = select(Job.losses).where(*mine(job_id, fence), Job.lease_until < func.now())
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

    A job that would go on, but that somebody has asked to cancel or to pause, is cancelled or paused.
    """
    wish = session.execute(select(Job.wish).where(*mine(job_id, fence)).with_for_update()).scalar()
    said = message
    if wish in WISHED and (state == "queued" or (wish == "cancel" and state == "paused")):
        state, reason = WISHED[wish]
        message = None
    ended = {"ended_at": func.now()} if state in ENDED else {}
    values = {
        "state": state,
        "reason": reason,
        "message": message,
        "wish": "none",
        "lease_until": None,
        "worker_id": None,
    }
    changed = update(Job).where(*mine(job_id, fence)).values(**values, **ended, progress={}, **(more or {}))
    if session.execute(changed.returning(Job.id)).scalar() is None:
        return False
    if state == "succeeded":
        dependencies.met(session, job_id)
    else:
        dependencies.explain(session, dependencies.waiting_for(session, job_id))
    held = [Slot.job_id == job_id, Slot.fence == fence]
    freed = session.execute(update(Slot).where(*held).values(job_id=None, fence=None).returning(Slot.number)).all()
    schedule.charge(session, job_id, fence, len(freed))
    closed = update(Attempt).where(Attempt.job_id == job_id, Attempt.fence == fence)
    session.execute(closed.values(ended_at=func.now(), outcome=outcome, message=said))
    _note(session, job_id, state, reason, message)
    return True


def mine(job_id: uuid.UUID, fence: int) -> list[Any]:
    """The condition that a job runs, and in this attempt."""
    return [Job.id == job_id, Job.fence == fence, Job.state == "running"]


def _note(session: Session, job_id: uuid.UUID, state: str, reason: Reason | None, message: str | None) -> None:
    """Say what has become of a job: to whoever reads its events, and to webhooks."""
    webhooks.tell(session, job_id, state, reason)
    feed.append(session, job_id, [("state_changed", {"state": state, "reason": reason, "message": message})])


def find(session: Session, job_id: uuid.UUID) -> Job | None:
    """A job."""
    return session.get(Job, job_id)


# ---- for the reaper


def expired(session: Session, limit: int = 500) -> list[tuple[uuid.UUID, int]]:
    """Running jobs whose lease has run out. None in the first lease after Postgres has started: nobody could renew one."""
    young = text("now() - pg_postmaster_start_time() > make_interval(secs => :lease)").bindparams(
        lease=settings().lease_seconds
    )
    rows = select(Job.id, Job.fence).where(Job.state == "running", Job.lease_until < func.now(), young)
    return [(job_id, fence) for job_id, fence in session.execute(rows.order_by(Job.lease_until).limit(limit))]


WAITS_LATE = (Job.deadline < func.now(), Job.state.in_(("queued", "paused")))


def overdue(session: Session, limit: int = 500) -> list[uuid.UUID]:
    """The jobs that wait past their deadline; a running one is told with its heartbeat."""
    return list(session.scalars(select(Job.id).where(*WAITS_LATE).order_by(Job.deadline).limit(limit)))


def miss(session: Session, job_id: uuid.UUID) -> bool:
    """Fail a job that waits past its deadline; False if it does not, or if somebody is just changing it."""
    late = select(Job).where(Job.id == job_id, *WAITS_LATE).with_for_update(skip_locked=True)
    job = session.scalars(late.execution_options(populate_existing=True)).one_or_none()
    return job is not None and _move(session, job, "failed", Reason.DEADLINE, LATE_MESSAGE)


def waiting(session: Session) -> int:
    """How many bells are worth ringing: one for each free slot of a living worker for which a job waits."""
    free = select(Slot.kind, func.count()).join(Worker, Worker.id == Slot.worker_id).group_by(Slot.kind)
    open_ = ~select(Queue.name).where(Queue.state != "open").exists()
    ready = [Slot.job_id.is_(None), workers.seen_within(settings().lease_seconds), ~Worker.draining, open_]
    rows = session.execute(free.where(*ready)).tuples().all()
    return sum(_queued(session, kind, slots) for kind, slots in rows)


def _queued(session: Session, kind: str, most: int) -> int:
    """How many jobs wait for a slot of that kind (each takes one), counted no further than `most`."""
    fits = Job.gpus == 0 if kind == "cpu" else Job.gpus > 0
    queued = select(Job.id).where(Job.state == "queued", Job.blockers == 0, fits).limit(most).subquery()
    return session.execute(select(func.count()).select_from(queued)).scalar() or 0
