"""What attacks made of another attack share: its settings are theirs, its work is theirs.

Radius, norm, label and number of images are the composite's. Where it leaves the radius or the norm open, the part's holds.
"""

from collections.abc import Callable
from typing import Self

from pydantic import ConfigDict, model_validator
from torch import nn

from core.attacks.base import Attack, Keep
from core.threat import Norm, Threat

LONGEST = 64
"""Characters of a label."""


class Composite(Attack):
    """An attack that another one carries out."""

    model_config = ConfigDict(defer_build=True)  # its part may be of any kind, and not all are known yet

    attack: Attack
    """The attack that does the work."""

    @model_validator(mode="after")
    def _one_ball(self) -> Self:
        for key in ("norm", "eps"):
            own, inside = getattr(self, key), getattr(self.attack, key)
            if own is not None and inside is not None and own != inside:
                raise ValueError(f"attack.{key} must be left out or be that of {self.name}, {own}, not {inside}")
        if self.attack.images is not None:
            raise ValueError(f"attack.images must be left out: {self.name}.images says how many are attacked")
        return self

    def within(self, threat: Threat, keep: Keep = "best") -> Self:
        """The same for the part."""
        eps = next(eps for eps in (self.eps, self.attack.eps, threat.eps) if eps is not None)
        ball = threat.model_copy(update={"norm": self.norm or self.attack.norm or threat.norm, "eps": eps})
        inside = self.attack.within(ball, keep)
        return Attack.within(self.model_copy(update={"attack": inside}), ball, keep)

    def reading(self, load: Callable[[str], nn.Module]) -> Self:
        """The same for the part."""
        return self.model_copy(update={"attack": self.attack.reading(load)})

    @property
    def searches(self) -> tuple[Norm, ...]:
        """Where the part does."""
        return self.attack.searches

    @property
    def needs_noise(self) -> bool:
        """As the part does."""
        return self.attack.needs_noise

    @property
    def source_sha256(self) -> str | None:
        """The one that the part needs."""
        return self.attack.source_sha256

    @property
    def least_classes(self) -> int:
        """As many as the part needs."""
        return self.attack.least_classes

    @property
    def black_box(self) -> bool:
        """If the part is."""
        return self.attack.black_box

    @property
    def minimal(self) -> bool:
        """If the part is."""
        return self.attack.minimal

    @property
    def default_label(self) -> str:
        """Its name before the part's label."""
        return f"{self.name}-{self.attack.label or self.attack.default_label}"[:LONGEST]

    @property
    def length(self) -> int:
        """Steps of the part."""
        return self.attack.length

    @property
    def tries(self) -> int:
        """Starts of the part."""
        return self.attack.tries

    def turns(self, images: int) -> int:
        """As often as the part."""
        return self.attack.turns(images)

    @property
    def passes(self) -> float:
        """What the part costs."""
        return self.attack.passes
