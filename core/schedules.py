"""Learning-rate schedules: the factor on the base rate, as a function of the epochs done."""

import math
from typing import Annotated, Literal

from pydantic import Field, field_validator

from core.family import Settings


class Multistep(Settings):
    """Multiply by `gamma` at each milestone."""

    name: Literal["multistep"] = "multistep"
    milestones: tuple[Annotated[int, Field(ge=1, le=100_000)], ...] = (80, 120, 160)
    """Epochs after which the rate drops (the thesis: 80, 120, 160 of 200)."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    """The factor of each drop."""

    @field_validator("milestones")
    @classmethod
    def _rising(cls, milestones: tuple[int, ...]) -> tuple[int, ...]:
        if list(milestones) != sorted(set(milestones)):
            raise ValueError("milestones must rise")
        return milestones

    def factor(self, done: float, epochs: int) -> float:
        """gamma to the number of milestones passed."""
        return float(self.gamma ** sum(done >= milestone for milestone in self.milestones))


class Constant(Settings):
    """The base rate throughout."""

    name: Literal["constant"] = "constant"

    def factor(self, done: float, epochs: int) -> float:
        """1."""
        return 1.0


class Cosine(Settings):
    """Half a cosine from 1 to 0."""

    name: Literal["cosine"] = "cosine"

    def factor(self, done: float, epochs: int) -> float:
        """(1 + cos(pi done / epochs)) / 2."""
        return (1 + math.cos(math.pi * done / epochs)) / 2


class Linear(Settings):
    """A straight line from 1 to 0."""

    name: Literal["linear"] = "linear"

    def factor(self, done: float, epochs: int) -> float:
        """1 - done / epochs."""
        return 1 - done / epochs


class OneCycle(Settings):
    """Linear from near 0 up to 1 in the first part, then linear down to near 0 (Smith 2018, arXiv 1803.09820)."""

    name: Literal["onecycle"] = "onecycle"
    peak: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """The share of training after which the rate is highest."""

    def factor(self, done: float, epochs: int) -> float:
        """The rate of a batch at `done` epochs; never exactly 0 at the start."""
        share = done / epochs
        up = 0.04 + 0.96 * share / self.peak
        return up if share < self.peak else (1 - share) / (1 - self.peak)


Schedule = Annotated[Multistep | Constant | Cosine | Linear | OneCycle, Field(discriminator="name")]
