"""The wire of what people do to jobs: batches, requeues, copies, changes."""

import uuid
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from api.schemas import Wire
from core.events import Phase
from core.resources import Time
from core.spec import Text


class Queued(Wire):
    """A job that has just been queued."""

    id: uuid.UUID
    number: int
    group_id: uuid.UUID
    name: str
    seed: int


class Batch(Wire):
    """What a list of specifications has made, in its order; jobs of one group are the seeds of one specification."""

    jobs: list[Queued]


class Requeue(Wire):
    """Where a job is to begin again."""

    model_config = ConfigDict(extra="forbid")

    from_phase: Phase | None = None
    """That phase and those behind it are done again; left out, the job goes on where it was. `prepare` and `train` start anew."""


class Copy(Wire):
    """In what a copy differs."""

    model_config = ConfigDict(extra="forbid")

    name: Text = "unnamed"
    """Left out: the same."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1
    """Left out: the same."""
    priority: Literal["low", "normal", "high"] = "normal"
    """Left out: the same."""


class JobChanges(Wire):
    """What is to be changed; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: Text = "unnamed"
    priority: Literal["low", "normal", "high"] = "normal"
    deadline: Time | None = None
    """Null: it has none any more."""

    @staticmethod
    def now() -> datetime:
        """What a deadline must be later than."""
        return datetime.now(UTC)
