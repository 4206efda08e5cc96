"""How a network is judged, as settings: the attacks and the rules of each protocol, and the audit of them."""

from typing import Annotated, Literal, Self

from pydantic import Field

from core.attacks.apgd_ce import ApgdCe
from core.attacks.apgd_t import ApgdT
from core.attacks.base import Attack
from core.attacks.square import Square
from core.family import OneOf, Settings
from core.recipe import Batch, Count
from core.threat import Threat

AnyAttack = Annotated[Attack, OneOf("core.attacks")]


class Paper(Settings):
    """The protocol that produced the published numbers: one noise draw, joint fixed batches, the last iterate counts."""

    attacks: tuple[AnyAttack, ...] = Field((), max_length=50)
    """The attacks, besides none at all."""


class Strict(Settings):
    """The protocol that an expert accepts: right clean and attacked, by the worst of all attacks, image by image.

    On a random network gradients are averages over noise draws; the worst candidate of an image is chosen on some draws and
    judged on others.
    """

    images: Count | None = None
    """A prefix of the evaluated images; the first 1,000, or all if there are fewer, if left out."""
    noise_context: Literal["frozen_std"] = "frozen_std"
    """Noise whose scale spans a batch goes by constants measured on training images: each image is its own problem."""
    eot: Literal["auto"] | Annotated[int, Field(ge=1, le=1000)] = "auto"
    """Draws that an attack's gradients average, on random networks; `auto` takes as many as make the average repeatable."""
    selection_draws: Annotated[int, Field(ge=1, le=10_000)] = 32
    """Noise draws by which the worst candidate of an image is chosen."""
    judging_draws: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Noise draws of another stream, by which it is judged."""
    precision: Literal["fp32"] = "fp32"
    """Attack and judge compute in fp32, TF32 off."""
    attacks: Annotated[tuple[AnyAttack, ...], Field(min_length=1, max_length=50)] | None = None
    """The attacks; if left out, those of `core.protocols.strict_attacks`."""

    def within(self, threat: Threat, images: int) -> Self:
        """These settings with what they leave open filled in."""
        attacks = strict_attacks() if self.attacks is None else self.attacks
        filled = tuple(attack.within(threat) for attack in attacks)
        return self.model_copy(update={"images": self.images or min(1000, images), "attacks": filled})


class Evaluate(Settings):
    """How the network is judged, on the test set."""

    batch_size: Batch = 128
    """Images a batch; under batch-wide noise a batch's images influence one another."""
    images: Count | None = None
    """A fixed prefix of the test set; all of it if left out."""
    paper: Paper = Paper()
    """The papers' protocol."""
    strict: Strict | None = None
    """The strict protocol; not run if null."""
    audit: Literal["off", "quick", "full"] = "quick"
    """Whether the evaluation itself is checked for masked gradients: some checks, for less than a tenth of its passes, or all."""

    def within(self, threat: Threat, test_size: int) -> Self:
        """These settings with what they leave open filled in."""
        images = self.images or test_size
        paper = Paper(attacks=tuple(attack.within(threat, "last") for attack in self.paper.attacks))
        strict = self.strict.within(threat, images) if self.strict else None
        return self.model_copy(update={"images": images, "paper": paper, "strict": strict})


def strict_attacks() -> tuple[Attack, ...]:
    """The attacks of the strict protocol where a job names none: AutoAttack's but for FAB, which costs most and adds least."""
    return (ApgdCe(), ApgdT(), Square())
