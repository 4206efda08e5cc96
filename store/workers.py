"""Workers and the slots they offer."""

import uuid
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, not_, select, update
from sqlalchemy.orm import Session

from store.settings import settings
from store.tables import Attempt, Job, Slot, Worker


@dataclass(frozen=True)
class Device:
    """A device of a machine: its name (cpu:0, gpu:1), what it is, its memory in bytes, and how many jobs it takes."""

    name: str
    kind: str
    model: str
    memory: int
    slots: int


def register(session: Session, host: str, pid: int, devices: list[Device]) -> uuid.UUID:
    """A new worker with its slots."""
    worker = Worker(host=host, pid=pid)
    session.add(worker)
    session.flush()
    for device in devices:
        about = {"kind": device.kind, "model": device.model, "memory": device.memory // max(1, device.slots)}
        session.add_all(Slot(worker_id=worker.id, device=device.name, number=n, **about) for n in range(device.slots))
    return worker.id


def seen(session: Session, worker_id: uuid.UUID) -> None:
    """The worker is alive."""
    session.execute(update(Worker).where(Worker.id == worker_id).values(seen_at=func.now()))


def drain(session: Session, worker_id: uuid.UUID, draining: bool = True) -> bool:
    """The worker takes nothing new, and what it runs saves and leaves; or it is open again. False if there is none."""
    changed = update(Worker).where(Worker.id == worker_id).values(draining=draining)
    return session.execute(changed.returning(Worker.id)).scalar() is not None


def unended(session: Session, host: str) -> list[Attempt]:
    """Attempts on a host that never ended and whose process is known: what a crash of a worker there may leave.

    Not those under a good lease: another worker of the host watches over them.
    """
    rows = select(Attempt).join(Worker, Worker.id == Attempt.worker_id).join(Job, Job.id == Attempt.job_id)
    left = [Worker.host == host, Attempt.ended_at.is_(None), Attempt.pid.is_not(None), not_(_held())]
    return list(session.scalars(rows.where(*left)))


def held(session: Session) -> set[tuple[uuid.UUID, int]]:
    """The attempts that run under a good lease, as job and fence."""
    rows = select(Attempt.job_id, Attempt.fence).join(Job, Job.id == Attempt.job_id).where(_held())
    return set(session.execute(rows).tuples())


def _held() -> ColumnElement[bool]:
    return and_(Job.state == "running", Job.fence == Attempt.fence, Job.lease_until > func.now())


def seen_within(seconds: float) -> ColumnElement[bool]:
    """The condition that a worker has been seen in the last `seconds`."""
    return Worker.seen_at > func.now() - func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def have_gpu(session: Session) -> bool:
    """Whether a living worker offers a GPU; so not while no worker lives, whatever there was before."""
    alive = seen_within(settings().lease_seconds)
    rows = select(Slot.device).join(Worker, Worker.id == Slot.worker_id).where(Slot.kind == "gpu", alive)
    return session.execute(rows.limit(1)).scalar() is not None


def living(session: Session, within: float) -> list[tuple[Worker, list[Slot]]]:
    """The workers seen in the last `within` seconds, with their slots."""
    found = []
    for worker in session.scalars(select(Worker).where(seen_within(within)).order_by(Worker.started_at)):
        slots = select(Slot).where(Slot.worker_id == worker.id).order_by(Slot.device, Slot.number)
        found.append((worker, list(session.scalars(slots))))
    return found
