"""What is audited: a network, the images, what the evaluation found; and how checks attack it and give their verdicts.

On random networks every figure is an average over judging draws, so that no single draw counts as an attack's success.
On others an image that has fallen is not attacked again. Points lost are never judged finer than the images allow: up to one
image passes, and more than three are needed to fail.
"""

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypedDict

import torch
from torch import Tensor, nn

from core.accuracy import Trial
from core.alone import alone_of, constants_of
from core.attacks.base import Attack
from core.audit.strength import Strength, of_the_evaluation, within_the_threat
from core.datasets.base import Split
from core.events import Checked, Scored, Verdict
from core.noise import Foreign, reseed, stochastic_layers
from core.spec import Spec
from core.threat import Threat

DRAWS = 8
"""Judging draws."""
LOOKED = 16
"""Images on which undeclared randomness shows itself."""
NOISE = 1e-2
"""Logits that differ by more than this share of their range are different: rounding stays below it, in bf16 too."""

Found = Generator[float, None, Tensor]
Look = Generator[float | Checked, None, None]


class Known(TypedDict, total=False):
    """What several checks rest on, found out once: an audit that goes on takes it from its checkpoint."""

    foreign: bool
    frozen: list[float]
    evaluated: Tensor
    strongest: Tensor


@dataclass
class Subject:
    """One network on a prefix of the test images; `train` is where constants of its noise are measured."""

    spec: Spec
    given: nn.Module
    images: Split
    train: Split
    scored: list[Scored]
    known: Known = field(default_factory=Known)

    def __post_init__(self) -> None:
        self.full = self.spec.evaluate.audit == "full"
        if "foreign" not in self.known:
            self.known["foreign"] = bool(self.differ(self.images.prefix(LOOKED)).any())
        self.foreign = self.known["foreign"]
        self.net = Foreign(self.given) if self.foreign else self.given
        self.random = bool(stochastic_layers(self.net))
        self.draws = DRAWS if self.random else 1
        found = of_the_evaluation(self.spec, self.random)
        self.strength = replace(found, draws=max((one.eot for one in self.scored if one.attack), default=found.draws))
        if self.spec.evaluate.strict:
            self.net = self.alone  # as the strict protocol judged it: each image its own problem

    def key(self, *name: str) -> tuple[int | str, ...]:
        """A key of the audit's own."""
        return ("audit", *name, self.spec.seed)

    @torch.no_grad()
    def differ(self, split: Split) -> Tensor:
        """Which images get other logits when asked again, with the same seed. (n,)."""
        x, _ = split.batch(0, len(split))
        logits = []
        for _ in range(2):
            reseed(self.given, *self.key("again"))
            logits.append(self.given(x))
        return apart(*logits)

    @cached_property
    def alone(self) -> nn.Module:
        """The network; where images of a batch influence one another, its copy in which each is its own problem."""
        size, seed = self.spec.evaluate.batch_size, self.spec.seed
        made = alone_of(self.net, self.train, size, seed, self.known.get("frozen"))
        self.known["frozen"] = constants_of(made)
        return made

    def trial(self, name: str, attack: Attack, split: Split | None = None, on: nn.Module | None = None) -> Trial:
        """An attack on the images, judged over the draws; `on` is the network that it sees, where that is another."""
        some = self.images if split is None else split
        return Trial(self.net, some, attack, self.spec.evaluate.batch_size, self.key(name), self.draws, on)

    def survival(
        self, name: str, strength: Strength, before: Tensor | None = None, threat: Threat | None = None
    ) -> Found:
        """How often each image is still right after the attacks of `strength`, and not more often than `before`. (n,)."""
        left = torch.ones(len(self.images)).double() if before is None else before.clone()
        attacks = strength.attacks(threat or self.spec.threat)
        for number, attack in enumerate(attacks):
            trial = self.trial(f"{name}_{attack.loss}", attack, self.where(left), strength.sees(self.net, self.random))
            for share in trial:
                yield (number + share) / len(attacks)
            left = self.lower(left, trial.right.double().mean(0))
        return left

    def where(self, left: Tensor) -> Split:
        """The images that are not lost yet; of a random network all, since each falls by chance."""
        kept = (left > 0).to(self.images.y.device)
        return self.images if self.random else Split(self.images.x[kept], self.images.y[kept])

    def lower(self, left: Tensor, found: Tensor) -> Tensor:
        """The outcome of one more attack joined to `left`: image by image, or for a random network the lower of two means."""
        if self.random:
            return found if found.mean() < left.mean() else left
        joined = left.clone()
        joined[left > 0] = found
        return joined

    def evaluated(self) -> Found:
        """What the evaluation's gradient attacks leave of each image. (n,).

        Of a deterministic network that is what it found, image by image. Otherwise, or where it has no gradient attack
        within the threat, an attack of its strength is made here.
        """
        if "evaluated" not in self.known:
            told = None if self.random else self.survived(black_box=False)
            found = (yield from self.survival("evaluated", self.strength)) if told is None else told
            self.known["evaluated"] = found
        return self.known["evaluated"]

    def survived(self, black_box: bool) -> Tensor | None:
        """Which images the evaluation's attacks with or without gradients left, all together; None if not all were tried."""
        clean = [one for one in self.scored if one.label == "clean"]
        found = self.group(black_box)
        if not found or min(one.images for one in found) < len(self.images):
            return None
        return (
            torch.tensor([[mark == "1" for mark in one.survived[: len(self.images)]] for one in clean + found])
            .all(0)
            .double()
        )

    def group(self, black_box: bool) -> list[Scored]:
        """The evaluation's results within the threat of attacks of one kind."""
        labels = {attack.label for attack in within_the_threat(self.spec) if attack.black_box == black_box}
        return [one for one in self.scored if one.label in labels]

    @cached_property
    def arsenal(self) -> Strength:
        """The stronger attack that a failed check triggers."""
        return self.strength.stronger(self.spec.dataset.num_classes)

    def strongest(self) -> Found:
        """What that attack leaves of each image, the evaluation's attacks included. (n,)."""
        if "strongest" not in self.known:
            before = yield from self.evaluated()
            self.known["strongest"] = yield from self.survival("stronger", self.arsenal, before)
        return self.known["strongest"]

    def checked(
        self,
        check: str,
        value: float,
        limits: tuple[float, float],
        unit: str,
        words: str,
        advice: str,
        images: int | None = None,
        settled: bool = False,
    ) -> Checked:
        """The verdict of a check. One that failed and that a stronger attack has settled is a warning."""
        n = len(self.images) if images is None else images
        passes, fails = floored(limits, n) if unit == "points lost" else limits
        verdict = judged(value, passes, fails)
        verdict = "warnings" if verdict == "failed" and settled else verdict
        return Checked(
            check=check,
            value=value,
            passes=passes,
            fails=fails,
            unit=unit,
            images=n,
            verdict=verdict,
            words=words,
            advice="" if verdict == "passed" else advice,
        )


def floored(limits: tuple[float, float], images: int) -> tuple[float, float]:
    """Thresholds in points, never finer than the images allow."""
    return max(limits[0], 100 / images), max(limits[1], 300 / images)


def points(before: Tensor, after: Tensor) -> float:
    """How many points of accuracy lie between two outcomes of the same images."""
    return 100 * float(before.mean() - after.mean())


def judged(value: float, passes: float, fails: float) -> Verdict:
    """A measurement between its thresholds; a rounding error decides nothing."""
    return "passed" if value <= passes + 1e-9 else "failed" if value > fails + 1e-9 else "warnings"


def apart(one: Tensor, other: Tensor) -> Tensor:
    """Which images have different logits, by more than rounding. (n, K), (n, K) -> (n,)."""
    return (one - other).abs().amax(1) > NOISE * (one.amax(1) - one.amin(1))
