"""Judging the trained network on the test set: clean, then under each attack, image by image; resumable per attack."""

import time
from collections.abc import Iterator
from typing import Any

from torch import nn

from core.accuracy import Trial, wilson
from core.attacks.base import Attack
from core.datasets.base import Split
from core.events import Event, Progress, Scored
from core.spec import JobSpec


def evaluate(spec: JobSpec, net: nn.Module, test: Split, done: list[Scored]) -> Iterator[Event]:
    """Score `net`, in evaluation mode, without attack and under each attack of the protocol that is not in `done`."""
    images = test.prefix(spec.evaluate.images)
    every: list[Attack | None] = [None, *spec.evaluate.paper.attacks]
    for number, attack in enumerate(every):
        if label_of(attack) not in {scored.label for scored in done}:
            yield from _score(spec, net, images, attack, number, len(every))


def label_of(attack: Attack | None) -> str:
    """The key of an attack's results."""
    return (attack.label or attack.default_label) if attack else "clean"


def _score(
    spec: JobSpec, net: nn.Module, images: Split, attack: Attack | None, number: int, of: int
) -> Iterator[Event]:
    began, label = time.monotonic(), label_of(attack)
    some = images.prefix(attack.images) if attack else images
    trial = Trial(net, some, attack, spec.evaluate.batch_size, ("paper", label, spec.seed))
    for share in trial:
        running = {"accuracy": trial.accuracy} if trial.judged else {}
        yield Progress(phase="evaluate", done=number + share, total=of, text=label, values=running)
    right = trial.right[0]
    correct = int(right.sum())
    low, high = wilson(correct, len(some))
    yield Scored(
        protocol="paper",
        label=label,
        attack=_settings(attack),
        eps=float(attack.threat.eps) if attack else 0.0,
        steps=attack.length if attack else 0,
        restarts=attack.tries if attack else 0,
        draws=1,
        images=len(some),
        correct=correct,
        accuracy=correct / len(some),
        low=low,
        high=high,
        seconds=time.monotonic() - began,
        survived="".join("1" if ok else "0" for ok in right.tolist()),
    )


def _settings(attack: Attack | None) -> dict[str, Any]:
    return attack.model_dump(mode="json") if attack else {}
