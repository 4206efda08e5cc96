"""Judging a network on the test set: clean, then under each attack, image by image, under each protocol's own rules.

*paper* repeats what produced the published numbers: joint fixed batches, one noise draw, what the attack made of the image.

*strict* is what an expert accepts. An image must be right clean and attacked. A random network's gradients are averages over
as many draws as make them repeatable; noise whose scale spans a batch goes by constants measured on training images, so that
each image is its own problem; the worse candidate is chosen and judged by different draws. Its last number, `worst_case`,
takes of each image the worst that any attack made; on a network without noise also of the paper's attacks, so that it
is never above theirs. Only attacks that keep to the job's ball count there.

An evaluation goes on where it was left: behind the last batch of the attack under way.
"""

import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from core import witness
from core.accuracy import Trial
from core.alone import alone_of, constants_of
from core.attacks.base import Attack
from core.candidates import Candidates
from core.datasets.base import Split, Splits
from core.eot import MOST, STABLE, draws_needed
from core.events import TRAINED, WORST_CASE, Event, Noticed, Phase, Progress, Protocol, Scored, Witnessed
from core.files import sha256
from core.intervals import wilson
from core.noise import Expectation, reseed, stochastic_layers
from core.protocols import Strict
from core.spec import Spec
from core.witness import About

Told = tuple[Tensor, Tensor, Tensor, Tensor]
"""Of each image the share of the draws in which it is right, the class said, the distance, the queries. (n,) each."""
FORM = 2
"""Of the state in checkpoints: what is kept of each image."""
EOT_IMAGES = 64
"""Test images on which the number of draws is chosen."""


class Evaluation:
    """The evaluation of one network: `run` it. `state` is what `saved` takes to go on from, besides the scores."""

    def __init__(
        self,
        spec: Spec,
        net: nn.Module,
        splits: Splits,
        work: Path,
        scored: list[Scored],
        network: str = TRAINED,
        saved: dict[str, Any] | None = None,
        load: Callable[[str], nn.Module] | None = None,
    ) -> None:
        self.spec, self.net, self.splits, self.work, self.network = spec, net, splits, work, network
        self.load = load
        self.done = {(one.protocol, one.label) for one in scored if one.network == network}
        self.strict = spec.evaluate.strict
        self.images = splits.test.prefix(spec.evaluate.images)
        self.random = bool(stochastic_layers(net))
        self.clean: Candidates | None = None
        self.worst: Candidates | None = None
        self.trial: Trial | None = None
        self.of: list[str] = []
        self.saved = saved if saved and saved["network"] == network else None
        if self.saved:
            self.clean, self.worst = (Candidates(*one) if one else None for one in self.saved["candidates"])
        self.frozen: list[float] | None = self.saved.get("frozen") if self.saved else None
        self.eot: int = (self.saved["eot"] or 0) if self.saved else 0  # 0: not known yet

    @property
    def state(self) -> dict[str, Any]:
        """Candidates so far, the whole batches of the trial under way, and what the strict protocol measured first."""
        under_way = {"of": self.of, "state": self.trial.state} if self.trial else None
        candidates = [tuple(one) if one else None for one in (self.clean, self.worst)]
        measured = {"eot": self.eot, "frozen": self.frozen}
        return {"form": FORM, "network": self.network, "candidates": candidates, "trial": under_way, **measured}

    @property
    def finished(self) -> bool:
        """Whether every score is there."""
        paper = {("paper", label_of(attack)) for attack in (None, *self.spec.evaluate.paper.attacks)}
        return paper <= self.done and (not self.strict or ("strict", WORST_CASE) in self.done)

    def run(self) -> Iterator[Event]:
        """Every score that is not there yet. `InvalidSpec` where an attack needs noise and the network has none."""
        self.spec.check_noise(self.random)
        for number, attack in enumerate([None, *self.spec.evaluate.paper.attacks]):
            if ("paper", label_of(attack)) not in self.done:
                yield from self._paper(number, attack)
        if self.strict:
            yield from self._strict(self.strict)

    def _paper(self, number: int, attack: Attack | None) -> Iterator[Event]:
        began, offered = time.monotonic(), self._offered(attack)
        keep = len(self._few) if self.strict and offered else 0
        some = self.images.prefix(attack.images) if attack else self.images
        trial = Trial(self.net, some, attack, self.size, self._key("paper", attack), keep=keep)
        yield from self._run(trial, number, "paper", attack)
        if keep:
            self._offer(self._made(trial, number))
        told = (trial.right.float().mean(0), trial.predicted, trial.distance, trial.queries)
        yield self._scored("paper", attack, told, time.monotonic() - began, draws=1)

    def _offered(self, attack: Attack | None) -> bool:
        """Whether what the paper's attack makes counts for the worst case."""
        return not self.random and (attack is None or self._in_ball(attack))

    def _in_ball(self, attack: Attack) -> bool:
        threat = self.spec.threat
        return attack.norm == threat.norm and attack.threat.eps <= threat.eps

    def _made(self, trial: Trial, by: int) -> Candidates:
        """The candidates that a trial has made, which is then over."""
        self.trial, n = None, len(trial.kept)
        told = (trial.predicted[:n], trial.distance[:n], trial.queries[:n])
        return Candidates.judged(trial.kept, trial.selected[:, :n], trial.right[:, :n], by, *told)

    def _offer(self, found: Candidates) -> None:
        """Let candidates count for the worst case; the first ones are the clean images."""
        assert self.worst or not found.by.any(), "what was known of the clean images is lost"
        self.clean = self.clean or found
        self.worst = self.worst.or_worse(found) if self.worst else found

    # ---- strict

    def _strict(self, strict: Strict) -> Iterator[Event]:
        attacks = strict.attacks or ()
        if ("strict", WORST_CASE) in self.done:
            return
        yield from self._prepared(strict)
        first = 1 + len(self.spec.evaluate.paper.attacks)
        for number, attack in enumerate([None, *attacks], first):
            if ("strict", label_of(attack)) not in self.done:
                yield from self._strictly(strict, number, attack)
        yield from self._printed(strict, None, WORST_CASE, self.worst, 0.0)

    def _prepared(self, strict: Strict) -> Iterator[Event]:
        """The network as strict attacks see it, and the number of draws of their gradients."""
        self.judged = alone_of(self.net, self.splits.train, self.size, self.spec.seed, self.frozen)
        self.frozen = constants_of(self.judged)
        if not self.random:
            self.eot = 1
        elif strict.eot != "auto":
            self.eot = strict.eot
        elif not self.eot:
            yield from self._choose_draws()

    def _choose_draws(self) -> Iterator[Event]:
        reseed(self.judged, "strict", "eot", self.spec.seed)
        for draws, cosine in draws_needed(self.judged, *self._few.batch(0, EOT_IMAGES)):  # noqa: B007 (the last counts)
            yield self._progress(1 + len(self.spec.evaluate.paper.attacks), f"gradients over {draws} draws", {})
        self.eot = draws
        if cosine < STABLE:
            yield Noticed(
                text=f"the gradient over {MOST} draws is not stable (cosine {cosine:.2f}); strict attacks use {MOST}"
            )

    def _strictly(self, strict: Strict, number: int, attack: Attack | None) -> Iterator[Event]:
        began = time.monotonic()
        if attack is None and self.clean:  # of a network without noise, known from `paper`
            yield self._strict_score(strict, None, "clean", self.clean, 0.0)
            return
        trial = self._strict_trial(strict, attack)
        yield from self._run(trial, number, "strict", attack)
        if attack is None:
            self._offer(self._made(trial, 0))
            assert self.clean
            yield self._strict_score(strict, None, "clean", self.clean, time.monotonic() - began)
            return
        found = self._made(trial, number)
        if self._in_ball(attack):
            self._offer(found)
        assert self.clean
        alone = self.clean.first(len(found.by)).or_worse(found)
        yield from self._printed(strict, attack, label_of(attack), alone, time.monotonic() - began)

    def _strict_trial(self, strict: Strict, attack: Attack | None) -> Trial:
        some = self._few.prefix(attack.images) if attack else self._few
        draws, selecting = (strict.judging_draws, strict.selection_draws) if self.random else (1, 0)
        seen = Expectation(self.judged, self.eot) if self.random else self.judged
        key = self._key("strict", attack)
        return Trial(self.judged, some, attack, self.size, key, draws, seen, selecting, keep=len(some))

    def _printed(
        self, strict: Strict, attack: Attack | None, label: str, worst: Candidates | None, seconds: float
    ) -> Iterator[Event]:
        """The archive, then the number that rests on it."""
        assert worst
        score = self._strict_score(strict, attack, label, worst, seconds)
        path = self.work / "witnesses" / f"{self.network}-{label}.npz"
        threat = attack.threat if attack else self.spec.threat
        about = About(
            label=label,
            network=self.network,
            dataset=self.spec.dataset.name,
            threat=threat,
            attacks=tuple(self.names),
            accuracy=score.accuracy,
            draws=score.draws,
            frozen=tuple(constants_of(self.judged)),
        )
        witness.write(path, about, self._few.prefix(score.images), worst)
        size = path.stat().st_size
        yield Witnessed(network=self.network, label=label, path=str(path), sha256=sha256(path), bytes=size)
        yield score

    def _strict_score(
        self, strict: Strict, attack: Attack | None, label: str, worst: Candidates, seconds: float
    ) -> Scored:
        told = (worst.right, worst.predicted, worst.distance, worst.queries)
        found = self._scored("strict", attack, told, seconds, draws=strict.judging_draws if self.random else 1)
        more: dict[str, Any] = {
            "label": label,
            "eps": float(self.spec.threat.eps) if label == WORST_CASE else found.eps,
        }
        if self.random:
            always = float(worst.always.double().mean())
            more |= {"selection_draws": strict.selection_draws, "eot": self.eot, "always": always}
        return found.model_copy(update=more)

    # ---- both

    def _run(self, trial: Trial, number: int, protocol: Protocol, attack: Attack | None) -> Iterator[Event]:
        """Run a trial, from where it was left; the other networks that its attack needs are read first."""
        if self.load and trial.attack:
            trial.attack = trial.attack.reading(self.load)
        self.trial, self.of = trial, [protocol, label_of(attack)]
        if self.saved and self.saved["trial"] and self.saved["trial"]["of"] == self.of:
            trial.go_on(self.saved["trial"]["state"])
        for share in trial:
            running = {"accuracy": trial.accuracy} if trial.judged else {}
            yield self._progress(number + share, f"{protocol}: {label_of(attack)}", running)

    def _scored(self, protocol: Protocol, attack: Attack | None, told: Told, seconds: float, draws: int) -> Scored:
        right, predicted, distance, queries = told
        correct = float(right.double().sum())
        low, high = wilson(correct, len(right))
        return Scored(
            network=self.network,
            protocol=protocol,
            label=label_of(attack),
            attack=attack.model_dump(mode="json") if attack else {},
            eps=float(attack.threat.eps) if attack else 0.0,
            steps=attack.length if attack else 0,
            restarts=attack.tries if attack else 0,
            draws=draws,
            images=len(right),
            correct=correct,
            accuracy=correct / len(right),
            low=low,
            high=high,
            seconds=seconds,
            survived="".join("1" if share >= 0.5 else "0" for share in right.tolist()),
            predicted=predicted.tolist(),
            distance=[float(f"{far:.7g}") for far in distance.tolist()],
            queries=queries.tolist(),
        )

    def _progress(self, done: float, text: str, values: dict[str, float]) -> Progress:
        phase: Phase = "evaluate" if self.network == TRAINED else "export"
        return Progress(phase=phase, done=done, total=len(self.names), text=text, values=values)

    def _key(self, protocol: Protocol, attack: Attack | None) -> tuple[str, str, int]:
        return (protocol, label_of(attack), self.spec.seed)

    @cached_property
    def _few(self) -> Split:
        """The images of the strict protocol."""
        return self.images.prefix(self.strict.images if self.strict else None)

    @cached_property
    def names(self) -> list[str]:
        """Names for the numbers of candidates: none, then the attacks of both protocols in their order."""
        paper = [f"paper/{label_of(attack)}" for attack in self.spec.evaluate.paper.attacks]
        strict = [None, *(self.strict.attacks or ())] if self.strict else []
        return ["clean", *paper, *(f"strict/{label_of(attack)}" for attack in strict)]

    @property
    def size(self) -> int:
        """Images a batch."""
        return self.spec.evaluate.batch_size


def label_of(attack: Attack | None) -> str:
    """The key of an attack's results."""
    return (attack.label or attack.default_label) if attack else "clean"
