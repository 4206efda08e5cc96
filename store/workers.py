"""Workers and the slots they offer."""

import uuid
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from store.tables import Attempt, Slot, Worker


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
        about = {"kind": device.kind, "model": device.model, "memory": device.memory}
        session.add_all(Slot(worker_id=worker.id, device=device.name, number=n, **about) for n in range(device.slots))
    return worker.id


def seen(session: Session, worker_id: uuid.UUID) -> None:
    """The worker is alive."""
    session.execute(update(Worker).where(Worker.id == worker_id).values(seen_at=func.now()))


def drain(session: Session, worker_id: uuid.UUID) -> None:
    """The worker takes nothing new, and what it runs saves and leaves."""
    session.execute(update(Worker).where(Worker.id == worker_id).values(draining=True))


def unended(session: Session, host: str) -> list[Attempt]:
    """Attempts on a host that never ended and whose process is known: what a crash of the machine's worker may leave."""
    rows = select(Attempt).join(Worker, Worker.id == Attempt.worker_id)
    return list(session.scalars(rows.where(Worker.host == host, Attempt.ended_at.is_(None), Attempt.pid.is_not(None))))


def have_gpu(session: Session) -> bool:
    """Whether any worker of the team has offered a GPU."""
    return session.execute(select(Slot.device).where(Slot.kind == "gpu").limit(1)).scalar() is not None


def living(session: Session, within: float) -> list[tuple[Worker, list[Slot]]]:
    """The workers seen in the last `within` seconds, with their slots."""
    fresh = Worker.seen_at > func.now() - func.make_interval(0, 0, 0, 0, 0, 0, within)
    found = []
    for worker in session.scalars(select(Worker).where(fresh).order_by(Worker.started_at)):
        slots = select(Slot).where(Slot.worker_id == worker.id).order_by(Slot.device, Slot.number)
        found.append((worker, list(session.scalars(slots))))
    return found
