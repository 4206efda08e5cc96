"""What a job needs of the machines, as settings: devices, time, priority."""

from typing import Annotated, Literal

from pydantic import Field

from core.family import Settings


class Resources(Settings):
    """What the job needs of the machines, and how urgent it is."""

    gpus: Annotated[int, Field(ge=0, le=1)] | None = None
    """GPUs; 0 trains on the CPU. If left out: 1 where the team has one, else 0."""
    max_duration: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}[smhd]$")] = "24h"
    """Wall time of an attempt: 90s, 30m, 24h, 7d."""
    priority: Literal["low", "normal", "high"] = "normal"
    """Before jobs of lower priority of the same user."""

    @property
    def seconds(self) -> int:
        """max_duration in seconds."""
        return int(self.max_duration[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[self.max_duration[-1]]
