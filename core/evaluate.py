"""Judging a network on the test set: clean, then under each attack, image by image; resumable per attack."""

import time
from collections.abc import Iterator
from typing import Any

from torch import nn

from core.accuracy import Trial, wilson
from core.attacks.base import Attack
from core.datasets.base import Split
from core.events import TRAINED, Event, Phase, Progress, Scored
from core.spec import Judging


def evaluate(spec: Judging, net: nn.Module, test: Split, done: list[Scored], network: str = TRAINED) -> Iterator[Event]:
    """Score `net`, in evaluation mode, without attack and under each attack of the protocol that is not in `done`.

    `network` is its name: the trained one is judged to be known by it, any other as part of its export. Two networks are
    judged with the same images, batches and streams of noise.
    """
    images = test.prefix(spec.evaluate.images)
    every: list[Attack | None] = [None, *spec.evaluate.paper.attacks]
    scored = {one.label for one in done if one.network == network}
    for number, attack in enumerate(every):
        if label_of(attack) not in scored:
            yield from _score(spec, net, network, images, attack, number, len(every))


def label_of(attack: Attack | None) -> str:
    """The key of an attack's results."""
    return (attack.label or attack.default_label) if attack else "clean"


def _score(
    spec: Judging, net: nn.Module, network: str, images: Split, attack: Attack | None, number: int, of: int
) -> Iterator[Event]:
    began, label = time.monotonic(), label_of(attack)
    phase: Phase = "evaluate" if network == TRAINED else "export"
    some = images.prefix(attack.images) if attack else images
    trial = Trial(net, some, attack, spec.evaluate.batch_size, ("paper", label, spec.seed))
    for share in trial:
        running = {"accuracy": trial.accuracy} if trial.judged else {}
        yield Progress(phase=phase, done=number + share, total=of, text=label, values=running)
    right = trial.right[0]
    correct = int(right.sum())
    low, high = wilson(correct, len(some))
    yield Scored(
        network=network,
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
