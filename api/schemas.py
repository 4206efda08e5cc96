"""The wire: what goes in and out of the API, as types that the OpenAPI document is made of."""

import uuid
from collections.abc import Collection
from datetime import datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import AfterValidator, BaseModel, ConfigDict

from api.figures import FORMATS, Caption
from core.fetching import OnDisk
from store.tables import Artifact, Attempt, Epoch, Event, Job, Slot, Worker


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("should hold printable characters only")
    return text


Printable = Annotated[str, AfterValidator(_printable)]
"""Text as people type it. The database takes no NUL."""
Cursor = Annotated[Printable, Query(max_length=200)] | None
"""Where a page begins: the `next_cursor` of the one before."""


class Wire(BaseModel):
    """The base of wire shapes."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class JobOut(Wire):
    """A job as lists show it."""

    id: uuid.UUID
    number: int
    """What people call it by, within its project."""
    group: uuid.UUID
    project: str
    owner: str
    name: str
    kind: str
    seed: int
    state: str
    wish: str
    reason: str | None
    message: str | None
    trust: str
    digest: str
    priority: int
    gpus: int
    deadline: datetime | None
    blockers: int
    """Jobs that must succeed before it starts."""
    phases: dict[str, Any]
    progress: dict[str, Any]
    last: dict[str, Any]
    """The newest figures: of the last epoch, of the selection, of compaction."""
    attempt: int
    """Number of the newest attempt; 0 before the first."""
    events: int
    """Number of the newest event."""
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, job: Job, project: str, owner: str) -> "JobOut":
        """The shape of a row."""
        renamed = {"group": job.group_id, "attempt": job.fence, "events": job.last_seq}
        named = {"project": project, "owner": owner}
        same = cls.model_fields.keys() - renamed.keys() - named.keys()
        return cls(**renamed, **named, **{field: getattr(job, field) for field in same & JobOut.model_fields.keys()})


class JobDetail(JobOut):
    """A job with its specification and its results."""

    spec: dict[str, Any]
    """The resolved specification."""
    results: list[dict[str, Any]]
    """What each attack left of the trained network, in order."""
    exported: list[dict[str, Any]]
    """The same of each exported file that holds another network; `network` is the file's name."""
    checks: list[dict[str, Any]]
    """What each check of the audit found."""


class Submitted(Wire):
    """What a submission has made: a group of one job a seed."""

    group: uuid.UUID
    jobs: list[JobOut]


class Plan(Wire):
    """What a job would be, without its being queued."""

    spec: dict[str, Any]
    digest: str
    seeds: list[int]
    parameters: int
    macs: int
    """Multiply-accumulates of one forward pass of one image."""
    passes: dict[str, float]
    """Forward passes of one image, by phase, for one seed."""
    petaflop: float
    """Floating-point operations of one seed, in 10^15: two a multiply-accumulate."""
    memory_bytes: int
    """A rough lower bound of the memory that training takes: weights, their copies, images and one batch's activations."""


class JobPage(Wire):
    """Some jobs, newest first."""

    items: list[JobOut]
    next_cursor: str | None
    """Give it as `cursor` to go on; null at the end."""
    counts: dict[str, int]
    """How many jobs match, by state."""


class EventOut(Wire):
    """A fact about a job."""

    seq: int
    kind: str
    at: datetime
    body: dict[str, Any]

    @classmethod
    def of(cls, event: Event) -> "EventOut":
        """The shape of a row."""
        return cls(seq=event.seq, kind=event.kind, at=event.created_at, body=event.body)


class EventPage(Wire):
    """Some events, oldest first."""

    items: list[EventOut]


class EpochOut(Wire):
    """The figures of an epoch."""

    epoch: int
    stage: str
    best: bool
    values: dict[str, float]
    layers: list[dict[str, Any]]

    @classmethod
    def of(cls, epoch: Epoch) -> "EpochOut":
        """The shape of a row."""
        return cls(epoch=epoch.epoch, stage=epoch.stage, best=epoch.best, values=epoch.values, layers=epoch.layers)


class Metrics(Wire):
    """A job's figures over time."""

    epochs: list[EpochOut]
    series: list[str]
    """Names of the step-by-step figures; ask for one with `series=`."""
    values: list[float] | None = None
    """The step-by-step figure that was asked for, coarse enough for `points`."""


class AttemptOut(Wire):
    """One try at running a job."""

    number: int
    device: str
    machine: dict[str, Any]
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    message: str | None

    @classmethod
    def of(cls, attempt: Attempt) -> "AttemptOut":
        """The shape of a row."""
        same = ("device", "machine", "started_at", "ended_at", "outcome", "message")
        return cls(number=attempt.fence, **{field: getattr(attempt, field) for field in same})


class Attempts(Wire):
    """A job's attempts, oldest first."""

    items: list[AttemptOut]


class ArtifactOut(Wire):
    """A file of a job."""

    name: str
    sha256: str
    bytes: int
    about: dict[str, Any]
    created_at: datetime

    @classmethod
    def of(cls, artifact: Artifact) -> "ArtifactOut":
        """The shape of a row."""
        same = ("name", "sha256", "bytes", "about", "created_at")
        return cls(**{field: getattr(artifact, field) for field in same})


class FigureOut(Wire):
    """A figure that a job has: where its files are, and its numbers in words."""

    figure: str
    title: str
    words: str
    formats: list[str]

    @classmethod
    def of(cls, caption: Caption) -> "FigureOut":
        """The shape of a caption."""
        return cls(figure=caption.figure, title=caption.title, words=caption.words, formats=list(FORMATS))


class Figures(Wire):
    """The figures that a job has: none before training has chosen its network."""

    items: list[FigureOut]


class Artifacts(Wire):
    """The files of a job."""

    items: list[ArtifactOut]


class Member(Wire):
    """A plug-in: its documentation, its settings as JSON Schema, and an example that is cheap to run."""

    name: str
    doc: str
    module: str
    """The module's documentation: what it computes, the source, and how it differs."""
    settings: dict[str, Any]
    example: dict[str, Any]


class Catalogue(Wire):
    """The members of a family."""

    items: list[Member]


class DatasetOut(Member):
    """A dataset, and what is on disk of it."""

    on_disk: OnDisk


class Datasets(Wire):
    """The datasets."""

    items: list[DatasetOut]


class SlotOut(Wire):
    """A place for a job on a device."""

    device: str
    number: int
    kind: str
    model: str
    memory: int
    busy: bool
    """Whether a job runs on it."""
    job: uuid.UUID | None
    """That job, if the caller sees it."""

    @classmethod
    def of(cls, slot: Slot, seen: Collection[uuid.UUID]) -> "SlotOut":
        """The shape of a row; `seen` are the jobs that the caller sees."""
        same = ("device", "number", "kind", "model", "memory")
        job = slot.job_id if slot.job_id in seen else None
        return cls(busy=slot.job_id is not None, job=job, **{field: getattr(slot, field) for field in same})


class WorkerOut(Wire):
    """A worker that has been seen lately."""

    id: uuid.UUID
    host: str
    draining: bool
    started_at: datetime
    seen_at: datetime
    slots: list[SlotOut]

    @classmethod
    def of(cls, worker: Worker, slots: list[Slot], seen: Collection[uuid.UUID]) -> "WorkerOut":
        """The shape of a row; `seen` are the jobs that the caller sees."""
        same = ("id", "host", "draining", "started_at", "seen_at")
        return cls(
            slots=[SlotOut.of(slot, seen) for slot in slots], **{field: getattr(worker, field) for field in same}
        )


class Workers(Wire):
    """The workers."""

    items: list[WorkerOut]


class Me(Wire):
    """Who is asking."""

    id: uuid.UUID
    name: str
    role: str
    scopes: list[str]
    """What the token may be used for, within the role."""


class Health(Wire):
    """Whether the service works."""

    status: str
    checks: dict[str, bool]


class Version(Wire):
    """What runs."""

    sparring: str
    torch: str
    python: str
