"""The tables of jobs and machines (people have theirs in `people.py`). What a column means is said here; who may change it, in
`jobs.py` and its neighbours.

Nothing but `store` and `api` sees a row. Times are the database's. An attempt writes only in a transaction that has changed
its job's row under its fence; some tables keep the fence as well, to say whose a row is.
"""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, SmallInteger, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from core.errors import Reason
from core.events import TRAINED
from store.database import Base, one_of, uuid7
from store.people import Project, User

STATES = ("queued", "running", "paused", "succeeded", "failed", "cancelled")
ENDED = ("succeeded", "failed", "cancelled")
WISHES = ("none", "pause", "cancel")
TRUST = ("unaudited", "passed", "warnings", "failed")
QUEUE_STATES = ("open", "paused", "draining")
KINDS = ("train", "evaluate", "study")
PRIORITIES = {"low": -1, "normal": 0, "high": 1}


class Job(Base):
    """A job: what was asked, where it is, and the newest summary of its run."""

    __tablename__ = "jobs"
    __table_args__ = (
        one_of("state", STATES),
        one_of("wish", WISHES),
        one_of("kind", KINDS),
        one_of("trust", TRUST),
        one_of("reason", tuple(Reason)),
        CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name="lease"),
        Index("uq_jobs_number", "project_id", "number", unique=True),
        Index("ix_jobs_newest", text("created_at DESC"), text("id DESC")),
        Index(
            "ix_jobs_waiting",
            "owner_id",
            "project_id",
            "gpus",
            "memory",
            text("priority DESC"),
            "created_at",
            "number",
            postgresql_where=text("state = 'queued' AND blockers = 0"),
        ),
        Index("ix_jobs_leases", "lease_until", postgresql_where=text("state = 'running'")),
        Index(
            "ix_jobs_deadlines",
            "deadline",
            postgresql_where=text("deadline IS NOT NULL AND state IN ('queued', 'running', 'paused')"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    group_id: Mapped[uuid.UUID] = mapped_column(index=True)
    """The jobs of one submission (its seeds)."""
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Project.id))
    owner_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.id))
    number: Mapped[int]
    """What people call it by, within its project."""
    name: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    seed: Mapped[int]
    spec: Mapped[dict[str, Any]]
    """The resolved specification."""
    submitted: Mapped[dict[str, Any]]
    """The specification as it was sent."""
    digest: Mapped[str] = mapped_column(Text, index=True)
    """SHA-256 of what is computed."""
    priority: Mapped[int] = mapped_column(SmallInteger)
    gpus: Mapped[int] = mapped_column(SmallInteger)
    memory: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    """Bytes that each of its slots must have."""
    deadline: Mapped[datetime | None]
    """When it must have ended."""
    blockers: Mapped[int] = mapped_column(default=0, server_default="0")
    """Jobs that must succeed first and have not yet (`dependencies`)."""
    from_phase: Mapped[str | None] = mapped_column(Text)
    """Where a requeued job is to begin; the checkpoints of attempts up to `from_fence` know nothing behind it."""
    from_fence: Mapped[int] = mapped_column(default=0, server_default="0")
    version: Mapped[int] = mapped_column(default=1, server_default="1")
    """Counts the changes that people made, for ETags."""
    state: Mapped[str] = mapped_column(Text, default="queued")
    wish: Mapped[str] = mapped_column(Text, default="none")
    reason: Mapped[str | None] = mapped_column(Text)
    """Why it is in this state, from the closed list of `core.errors.Reason`."""
    message: Mapped[str | None] = mapped_column(Text)
    """The same for people."""
    trust: Mapped[str] = mapped_column(Text, default="unaudited")
    fence: Mapped[int] = mapped_column(default=0)
    """Number of the newest attempt; what an older attempt writes is refused."""
    lease_until: Mapped[datetime | None]
    worker_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("workers.id"))
    deaths: Mapped[int] = mapped_column(default=0)
    """Attempts that died or failed under a living worker."""
    losses: Mapped[int] = mapped_column(default=0)
    """Attempts that were lost with their worker."""
    last_seq: Mapped[int] = mapped_column(BigInteger, default=0)
    """Number of its newest event."""
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Phase, share done, text and ETA of the running attempt."""
    phases: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """State and seconds of each phase."""
    last: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """The newest figures, for lists: of the last epoch, of the selection, of compaction."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class Dependency(Base):
    """A job that waits until another has succeeded."""

    __tablename__ = "dependencies"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    on_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True, index=True)
    met: Mapped[bool] = mapped_column(default=False)
    """Whether it has succeeded; once met, met for ever."""


class Queue(Base):
    """The queue. While it is paused nothing starts; while it drains what runs saves and leaves, too."""

    __tablename__ = "queues"
    __table_args__ = (one_of("state", QUEUE_STATES),)

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    state: Mapped[str] = mapped_column(Text, default="open")
    version: Mapped[int] = mapped_column(default=1, server_default="1")


class Worker(Base):
    """A Celery worker on a machine."""

    __tablename__ = "workers"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    host: Mapped[str] = mapped_column(Text)
    pid: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    draining: Mapped[bool] = mapped_column(default=False)


class Slot(Base):
    """A place for one job on a device of a worker; a claim reserves some, the end of the attempt frees them."""

    __tablename__ = "slots"
    __table_args__ = (one_of("kind", ("cpu", "gpu")),)

    worker_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("workers.id", ondelete="CASCADE"), primary_key=True)
    device: Mapped[str] = mapped_column(Text, primary_key=True)
    """cpu:0, gpu:0, ..."""
    number: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    memory: Mapped[int] = mapped_column(BigInteger)
    """Bytes: its part of its device."""
    job_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("jobs.id"), index=True)
    fence: Mapped[int | None]


class Attempt(Base):
    """One try at running a job."""

    __tablename__ = "attempts"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    fence: Mapped[int] = mapped_column(primary_key=True)
    worker_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("workers.id"))
    device: Mapped[str] = mapped_column(Text)
    pid: Mapped[int | None]
    pid_started: Mapped[int | None] = mapped_column(BigInteger)
    """Start time of that process in clock ticks since boot: a pid is used again, the pair is not."""
    machine: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Versions, threads, device model: what exactness depends on."""
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(Text)
    message: Mapped[str | None] = mapped_column(Text)
    refused: Mapped[int] = mapped_column(default=0, server_default="0")
    """Its writes that changed nothing, since the job had gone on without it."""


class Checkpoint(Base):
    """A file from which the job can go on; the newest row is the pointer."""

    __tablename__ = "checkpoints"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), index=True)
    fence: Mapped[int]
    phase: Mapped[str] = mapped_column(Text)
    epoch: Mapped[int]
    batch: Mapped[int]
    sha256: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Epoch(Base):
    """The figures of an epoch."""

    __tablename__ = "epochs"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    fence: Mapped[int]
    stage: Mapped[str] = mapped_column(Text)
    best: Mapped[bool]
    """Whether it was the best so far."""
    values: Mapped[dict[str, Any]]
    layers: Mapped[list[Any]]
    """Input channels alive, layer by layer."""
    checkpoint_sha256: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Series(Base):
    """Step-by-step figures of an epoch in one array; higher levels are coarser by 8 at each (means)."""

    __tablename__ = "series"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    chunk: Mapped[int] = mapped_column(primary_key=True)
    """The epoch."""
    level: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    values: Mapped[list[float]]


class Event(Base):
    """A fact about a run, for ever; numbered within its job without gaps."""

    __tablename__ = "events"
    __table_args__ = (
        Index("uq_events_position", "position", unique=True),
        Index("ix_events_unplaced", "job_id", "seq", postgresql_where=text("position IS NULL")),
    )

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    body: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    position: Mapped[int | None] = mapped_column(BigInteger)
    """Its place among the events of all jobs (store/team.py); none until somebody has placed it."""


class Result(Base):
    """What an attack left of a network's accuracy."""

    __tablename__ = "results"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    network: Mapped[str] = mapped_column(Text, primary_key=True, server_default=TRAINED)
    """The trained one, by which a job is known; or the exported file that holds it."""
    protocol: Mapped[str] = mapped_column(Text, primary_key=True)
    label: Mapped[str] = mapped_column(Text, primary_key=True)
    position: Mapped[int]
    """Its place in the list of attacks."""
    accuracy: Mapped[float]
    body: Mapped[dict[str, Any]]
    """The `Scored` event, but for the outcomes of the images."""
    outcomes: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    """Of each image in order what became of it: `survived`, `predicted`, `distance`, `queries`."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Check(Base):
    """What a check of the audit found."""

    __tablename__ = "checks"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    position: Mapped[int]
    body: Mapped[dict[str, Any]]
    """The whole `Checked` event."""


class Artifact(Base):
    """A file of a job, kept by its hash."""

    __tablename__ = "artifacts"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    sha256: Mapped[str] = mapped_column(Text, index=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    about: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
