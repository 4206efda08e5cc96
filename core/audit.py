"""Is the robustness real? Checks for masked gradients and weak attacks, and a verdict on the *evaluation*.

After Athalye, Carlini, Wagner 2018 (arXiv 1802.00420) and Carlini et al. 2019 (arXiv 1902.06705). Each check measures
something, compares it with two thresholds (passes, fails; between them: warning) and says it in words. A failed check is
no charge against the network: it means that the attacks were too weak to conclude.

On random networks every figure is an average over judging draws, so that no single draw counts as an attack's success.
Points lost are never judged finer than the images allow: up to one image passes, and more than three are needed to fail.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import nn

from core.accuracy import Trial
from core.ascent import LOSSES, gradient
from core.attacks.base import Attack
from core.attacks.ifgsm import Ifgsm
from core.attacks.pgd import Pgd
from core.datasets.base import Split
from core.device import generator
from core.events import Audited, Checked, Event, Progress, Scored, Verdict
from core.noise import Quiet, reseed, stochastic_layers
from core.spec import Judging
from core.threat import Threat

IMAGES = 128
DRAWS = 8
STEPS = 10


@dataclass
class Audit:
    """The audit of one network on a prefix of the test images."""

    spec: Judging
    net: nn.Module
    images: Split
    scored: list[Scored]

    def __post_init__(self) -> None:
        self.images = self.images.prefix(min(IMAGES, self.spec.evaluate.images or IMAGES))
        self.random = bool(stochastic_layers(self.net))
        self.draws = DRAWS if self.random else 1
        self.verdicts: list[Verdict] = []

    def run(self) -> Iterator[Event]:
        """All checks that apply, then the verdict."""
        checks = [self.identity, self.unbounded, self.converged, self.zero_gradients, self.black_box]
        checks += [self.twin] if self.random else []
        for number, check in enumerate(checks):
            yield self._progress(number, len(checks), check)
            for found in check():
                if isinstance(found, Checked):
                    self.verdicts.append(found.verdict)
                    yield found
                else:
                    yield self._progress(number + found, len(checks), check)
        worst = max(self.verdicts, key=("passed", "warnings", "failed").index)
        yield Audited(level="quick", verdict=worst)

    def identity(self) -> Iterator[float | Checked]:
        """An attack of radius 0 must return the image."""
        x, y = self.images.batch(0, self.spec.evaluate.batch_size)
        reseed(self.net, "audit", "identity", self.spec.seed)
        attack = self._attack(0)
        attacked = attack.perturb(self.net, x, y, generator(x.device, "audit", self.spec.seed))
        changed = int((attacked != x).flatten(1).any(1).sum())
        words = "At radius 0 the attack returns the image itself." if not changed else "The attack leaves its ball."
        yield self._checked("eps_0", changed, 0, 0, "images changed", words, len(x))

    def unbounded(self) -> Iterator[float | Checked]:
        """With a radius of 0.5 any image can become grey, so no network can beat chance."""
        trial = yield from self._trial("eps_0.5", self._attack(Fraction(1, 2)))
        chance = 1 / self.spec.dataset.num_classes
        limit = chance + 3 * (chance * (1 - chance) / len(self.images)) ** 0.5
        words = "An attack without a real bound takes everything: the gradients lead somewhere."
        if trial.accuracy > limit:
            words = "Even a radius of 0.5 leaves more than chance: the attack is lost, its numbers mean nothing."
        yield self._checked("eps_0.5", 100 * trial.accuracy, 100 * limit, 100 * limit, "% accuracy", words)

    def converged(self) -> Iterator[float | Checked]:
        """Twice the steps must hardly find more."""
        threat = self.spec.threat
        once = yield from self._trial("steps", Ifgsm(steps=STEPS, step=threat.eps / 4 or None).within(threat))
        twice = yield from self._trial("twice", Ifgsm(steps=2 * STEPS, step=threat.eps / 4 or None).within(threat))
        drop = 100 * (once.accuracy - twice.accuracy)
        words = f"{2 * STEPS} steps instead of {STEPS} change the accuracy by {-drop:+.1f} points."
        yield self._checked("twice_the_steps", drop, 0.5, 1.5, "points lost", words)

    def zero_gradients(self) -> Iterator[float | Checked]:
        """A gradient of exactly zero stops an attack before it starts."""
        x, y = self.images.batch(0, len(self.images))
        zero = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        for name, loss in LOSSES.items():
            reseed(self.net, "audit", "gradient", name, self.spec.seed)
            for start in range(0, len(x), self.spec.evaluate.batch_size):
                some = slice(start, start + self.spec.evaluate.batch_size)
                pixels, _, _ = gradient(self.net, x[some], y[some], loss)
                zero[some] |= pixels.flatten(1).eq(0).all(1)
        share = 100 * float(zero.float().mean())
        words = f"{share:.1f} % of the images have a gradient of exactly zero, under cross-entropy or margin."
        yield self._checked("zero_gradients", share, 1, 10, "% of images", words)

    def black_box(self) -> Iterator[float | Checked]:
        """An attack without gradients must not break what those with gradients leave, at the threat's radius."""
        attacks = [attack for attack in self.spec.evaluate.paper.attacks if attack.eps == self.spec.threat.eps]
        labels = {attack.label: attack.black_box for attack in attacks}
        blind = [scored for scored in self.scored if labels.get(scored.label) is True]
        seeing = [scored for scored in self.scored if labels.get(scored.label) is False]
        if not blind or not seeing:
            return
        n = min(s.images for s in blind + seeing)
        lost = 100 * (self._lost_together(blind, seeing, n) if self.random else _lost_alone(blind, seeing, n))
        words = f"Without gradients {lost:.1f} points more are lost than with them, on the first {n} images."
        yield self._checked("black_box_only", lost, 0.2, 1, "points lost", words, n)

    def _lost_together(self, blind: list[Scored], seeing: list[Scored], n: int) -> float:
        """For a random network, whose single images fall by chance: how much lower the best blind attack's accuracy is."""
        lowest = [min(s.survived[:n].count("1") for s in group) for group in (seeing, blind)]
        return max(0, lowest[0] - lowest[1]) / n

    def twin(self) -> Iterator[float | Checked]:
        """Images made against the network without its noise must not fool it better than those made against itself."""
        attack = self._attack(self.spec.threat.eps)
        direct = yield from self._trial("direct", attack)
        twin = yield from self._trial("twin", attack, Quiet(self.net))
        gain = 100 * (direct.accuracy - twin.accuracy)
        words = f"Images made against the network without noise lower its accuracy {gain:+.1f} points further than direct ones."
        yield self._checked("noise_free_twin", max(0.0, gain), 1, 3, "points lost", words)

    def _attack(self, eps: Fraction | int) -> Attack:
        return Pgd(steps=STEPS).within(Threat(eps=Fraction(eps)), "last")

    def _trial(self, name: str, attack: Attack, crafted_on: nn.Module | None = None) -> Generator[float, None, Trial]:
        size, key = self.spec.evaluate.batch_size, ("audit", name, self.spec.seed)
        trial = Trial(self.net, self.images, attack, size, key, self.draws, crafted_on)
        for share in trial:
            yield share / 2
        return trial

    def _checked(
        self, check: str, value: float, passes: float, fails: float, unit: str, words: str, images: int | None = None
    ) -> Checked:
        n = len(self.images) if images is None else images
        if unit == "points lost":
            passes, fails = max(passes, 100 / n), max(fails, 300 / n)
        verdict: Verdict = "passed" if value <= passes else "failed" if value > fails else "warnings"
        return Checked(
            check=check,
            value=value,
            passes=passes,
            fails=fails,
            unit=unit,
            images=n,
            verdict=verdict,
            words=words,
        )

    def _progress(self, done: float, of: int, check: Callable[[], object]) -> Progress:
        return Progress(phase="audit", done=done, total=of, text=getattr(check, "__name__", "").replace("_", " "))


def passes(spec: Judging) -> float:
    """Cost of an audit in forward passes: images times steps, for a random network the most."""
    if spec.evaluate.audit == "off":
        return 0.0
    steps = 2 * (STEPS + STEPS + 2 * STEPS) + 3 * 3 * STEPS
    return float(min(IMAGES, spec.evaluate.images or IMAGES) * (steps + 5 * DRAWS))


def _lost_alone(blind: list[Scored], seeing: list[Scored], n: int) -> float:
    """The share of images that only blind attacks break."""
    return (
        sum(any(s.survived[i] == "0" for s in blind) and all(s.survived[i] == "1" for s in seeing) for i in range(n))
        / n
    )
