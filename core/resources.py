"""What a job needs of the machines, as settings: devices, memory, time, priority."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BeforeValidator, Field

from core.family import Settings

TIME = re.compile(r"20\d\d-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)")


def _time(value: Any) -> Any:
    """A time as RFC 3339 writes it; alone, pydantic also takes seconds since 1970."""
    if not isinstance(value, str):
        return value
    if not TIME.fullmatch(value):
        raise ValueError("must be a time of this century with its zone, as in 2026-12-24T18:00:00Z")
    return datetime.fromisoformat(value.upper())


Time = Annotated[AwareDatetime, BeforeValidator(_time)]


class Resources(Settings):
    """What the job needs of the machines, and how urgent it is."""

    gpus: Annotated[int, Field(ge=0, le=1)] | None = None
    """GPUs; 0 trains on the CPU. If left out: 1 where the team has one, else 0."""
    memory: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}(MiB|GiB)$")] | None = None
    """Memory that its device must have: 500MiB, 10GiB; a GPU's own, for the CPU the machine's."""
    max_duration: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}[smhd]$")] = "24h"
    """Wall time of an attempt: 90s, 30m, 24h, 7d."""
    deadline: Time | None = None
    """When it must have ended, with a zone: 2026-12-24T18:00:00Z. Later it saves, leaves and has failed."""
    priority: Literal["low", "normal", "high"] = "normal"
    """Before jobs of lower priority of the same user in the same project."""

    @property
    def seconds(self) -> int:
        """max_duration in seconds."""
        return int(self.max_duration[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[self.max_duration[-1]]
