"""The wire of the queue: its state, quotas, usage, why a job waits."""

import uuid
from collections.abc import Collection
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from api.schemas import Wire
from store.explain import Explanation
from store.people import Quota
from store.tables import Queue
from store.usage import Had

Slots = Annotated[int, Field(ge=0, le=1_000_000)]
Weight = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]


class QueueOut(Wire):
    """A queue."""

    name: str
    state: str
    """open; paused: nothing starts; draining: what runs saves and leaves, too."""

    @classmethod
    def of(cls, queue: Queue) -> "QueueOut":
        """The shape of a row."""
        return cls(name=queue.name, state=queue.state)


class Queues(Wire):
    """The queues: there is one."""

    items: list[QueueOut]


class QueueChange(Wire):
    """What is to become of a queue."""

    model_config = ConfigDict(extra="forbid")

    state: Literal["open", "paused", "draining"]


class QuotaChange(Wire):
    """What is to be changed of a quota; the rest stays."""

    model_config = ConfigDict(extra="forbid")

    guarantee: Slots | None = None
    """Slots below which its jobs go before those of others."""
    weight: Weight | None = None
    """Its share is in proportion to this."""
    maximum: Slots | None = None
    """Slots that it has at most at one time; null for as many as there are."""


class NewQuota(Wire):
    """What a user or a project may have of the slots."""

    model_config = ConfigDict(extra="forbid")

    guarantee: Slots = 0
    """Slots below which its jobs go before those of others."""
    weight: Weight = 1.0
    """Its share is in proportion to this."""
    maximum: Slots | None = None
    """Slots that it has at most at one time; null for as many as there are."""

    @model_validator(mode="after")
    def _the_maximum_leaves_room_for_the_guarantee(self) -> Self:
        if self.maximum is not None and self.maximum < self.guarantee:
            raise ValueError(f"maximum ({self.maximum}) should be no less than guarantee ({self.guarantee})")
        return self


class QuotaOut(Wire):
    """The quota of a user or a project."""

    kind: str
    """user or project"""
    name: str
    guarantee: int
    weight: float
    maximum: int | None

    @classmethod
    def of(cls, quota: Quota, kind: str, name: str) -> "QuotaOut":
        """The shape of a row."""
        return cls(kind=kind, name=name, guarantee=quota.guarantee, weight=quota.weight, maximum=quota.maximum)


class Quotas(Wire):
    """All quotas; who has none has a weight of 1 and no limits."""

    items: list[QuotaOut]


class HadOut(Wire):
    """What a user or a project has had of the slots."""

    name: str
    hours: float
    """Slot-hours of the last `days`."""
    share: float
    """Their part of those of all users, or of all projects that the caller sees."""
    running: int
    """Slots that it has now."""
    counted: float
    """Slot-hours that count when it is asked who is next: of all times, halved every day, divided by the weight."""

    @classmethod
    def of(cls, had: Had) -> "HadOut":
        """The shape of a row."""
        return cls(name=had.name, hours=had.hours, share=had.share, running=had.running, counted=had.counted)


class Usage(Wire):
    """What users and projects have had of the slots in the last `days`."""

    days: int
    users: list[HadOut]
    projects: list[HadOut]


class ExplanationOut(Wire):
    """Why a job is where it is, and when it is likely to start."""

    state: str
    reason: str | None
    words: str
    blocked_by: list[uuid.UUID]
    """Jobs that must succeed first and have not; those that the caller does not see are only counted, in `words`."""
    before: int | None
    """Jobs that will start before it, as things are."""
    starts_at: datetime | None
    """When it is likely to start, if nothing else is submitted; null where that cannot be foreseen."""

    @classmethod
    def of(cls, found: Explanation, seen: Collection[uuid.UUID]) -> "ExplanationOut":
        """The shape of what the store found; of the jobs that go first those in `seen`."""
        shown = [one for one in found.blocked_by if one in seen]
        others = len(found.blocked_by) - len(shown)
        words = found.words + (f" You do not see {others} other{'' if others == 1 else 's'} of them." if others else "")
        return cls.model_validate(vars(found) | {"blocked_by": shown, "words": words})
