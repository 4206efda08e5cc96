"""How strong a gradient attack is: steps, starts, losses, draws. The evaluation's own strength, twice it, and more."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from torch import nn

from core.attacks.base import Attack, Keep
from core.attacks.pgd import Ascended, GradientAttack, Pgd
from core.events import Protocol
from core.noise import Expectation
from core.spec import Spec
from core.threat import Threat

GUESSED = 8
LOSS_NAMES: dict[Ascended, str] = {"ce": "cross-entropy", "margin": "margin", "dlr": "difference of logits ratio"}


@dataclass(frozen=True)
class Strength:
    """PGD from random starts on one loss after the other; on a random network with gradients averaged over `draws` draws."""

    steps: int = 20
    restarts: int = 1
    losses: tuple[Ascended, ...] = ("ce",)
    draws: int = 1
    keep: Keep = "best"
    step: Fraction | None = None
    """Length of a step; the usual one where None."""

    def attacks(self, threat: Threat) -> list[Pgd]:
        """One attack a loss."""
        made = [Pgd(steps=self.steps, step=self.step, restarts=self.restarts, loss=loss) for loss in self.losses]
        return [attack.within(threat, self.keep) for attack in made]

    def sees(self, net: nn.Module, random: bool) -> nn.Module:
        """The network as the attack sees it."""
        return Expectation(net, self.draws) if random and self.draws > 1 else net

    def doubled(self) -> "Strength":
        """Twice the steps, starts and draws."""
        return replace(self, steps=2 * self.steps, restarts=2 * self.restarts, draws=2 * self.draws)

    def longer(self) -> "Strength":
        """Twice the steps alone."""
        return replace(self, steps=2 * self.steps)

    def stronger(self, classes: int) -> "Strength":
        """What a failed check is judged again with: all losses, at least 100 steps from two starts, 8 draws."""
        losses: tuple[Ascended, ...] = ("margin", "dlr", "ce") if classes > 2 else ("margin", "ce")
        steps, restarts = max(100, 2 * self.steps), max(2, self.restarts)
        return replace(self, steps=steps, restarts=restarts, losses=losses, draws=max(8, 2 * self.draws), step=None)

    def passes(self, random: bool) -> float:
        """Cost an image, in forward passes."""
        judged = self.steps if self.keep == "best" else int(self.restarts > 1)
        draws = self.draws if random else 1
        return float(len(self.losses) * self.restarts * draws * (2 * self.steps + judged))

    def words(self, random: bool) -> str:
        """The attack in words."""
        starts = f", {self.restarts} starts" if self.restarts > 1 else ""
        draws = f", {self.draws} draws a gradient" if random else ""
        return f"PGD with {self.steps} steps{starts}{draws} on {' and '.join(LOSS_NAMES[loss] for loss in self.losses)}"


def protocol(spec: Spec) -> Protocol:
    """The protocol whose evaluation is audited: the strict one, if the job has it."""
    return "strict" if spec.evaluate.strict else "paper"


def within_the_threat(spec: Spec) -> Iterator[Attack]:
    """The evaluation's attacks that look for the worst image of the job's ball."""
    strict = spec.evaluate.strict
    for attack in strict.attacks or () if strict else spec.evaluate.paper.attacks:
        if attack.eps == spec.threat.eps and attack.norm == spec.threat.norm and not attack.minimal:
            yield attack


def of_the_evaluation(spec: Spec, random: bool) -> Strength:
    """The most steps, starts and all losses among the evaluation's gradient attacks; PGD-20 where it has none.

    On a random network the last iterate counts, since the best one would be that of the luckiest draw.
    """
    seeing = [attack for attack in within_the_threat(spec) if not attack.black_box]
    keep: Keep = "last" if random or spec.evaluate.audit == "quick" else "best"
    if not seeing:
        return Strength(keep=keep)
    longest = max(seeing, key=lambda attack: attack.length)
    losses = dict.fromkeys(_loss(attack) for attack in [longest, *seeing])
    kept = tuple(losses) if spec.evaluate.audit == "full" and not random else tuple(losses)[:1]
    step = longest.step if isinstance(longest, GradientAttack) else None
    return Strength(longest.length, longest.tries, kept, draws_of(spec), keep=keep, step=step)


def draws_of(spec: Spec) -> int:
    """Draws that a gradient of the evaluation averages; where the evaluation is yet to find how many, 8."""
    strict = spec.evaluate.strict
    if not strict:
        return 1
    return GUESSED if strict.eot == "auto" else strict.eot


def _loss(attack: Attack) -> Ascended:
    loss: Ascended = getattr(attack, "ascends", "ce")
    return loss
