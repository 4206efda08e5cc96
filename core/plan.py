"""How much work a job is, in forward passes of one image: the dry run's figure, and through the speed so far the ETA.

A step of PGD costs 2 (forward, and backward to the pixels), a training step 3: PGD-10 adversarial training costs 23 passes
an image. An ETA is what is left divided by the speed of this attempt; phases differ in speed, so it is a guess that improves.
"""

import time
from collections.abc import Iterator
from typing import NamedTuple

import torch

from core import audit
from core.events import PHASES, Event, Phase, Progress
from core.measure import macs
from core.models.base import parameters
from core.selection import adversary
from core.spec import JobSpec

SECONDS_BETWEEN = 0.5
"""No two progress events are closer than this."""


def passes(spec: JobSpec) -> dict[Phase, float]:
    """Forward passes of each phase of a resolved job."""
    judged_again = sum(exporter.lossy for exporter in spec.export)
    training = spec.train.epochs * spec.dataset.train_images * spec.objective.passes
    return {
        "train": training + _selection(spec),
        "evaluate": spec.evaluation_passes,
        "audit": audit.passes(spec),
        "export": judged_again * spec.evaluation_passes,
    }


def _selection(spec: JobSpec) -> float:
    select = spec.train.select
    if not select:
        return 0.0
    attack = adversary(select.metric, spec.threat)
    images = min(spec.dataset.validation, select.images or spec.dataset.validation)
    each = images * (select.draws + (attack.passes + select.draws if attack else 0))
    return each * -(-spec.train.epochs // select.every)


class Clock:
    """Thins out progress events and gives each an ETA."""

    def __init__(self, work: dict[Phase, float]) -> None:
        self.work = work
        self.started: tuple[float, float] | None = None
        self.shown = 0.0

    def timed(self, events: Iterator[Event]) -> Iterator[Event]:
        """The same events; of progress, no more than two a second, with the ETA filled in."""
        for event in events:
            if not isinstance(event, Progress):
                yield event
            elif (now := time.monotonic()) - self.shown >= SECONDS_BETWEEN:
                self.shown = now
                yield event.model_copy(update={"eta": self._eta(event, now)})

    def _eta(self, event: Progress, now: float) -> float | None:
        done = self._done(event)
        self.started = self.started or (now, done)
        since, before = self.started
        if done <= before:
            return None
        return (sum(self.work.values()) - done) * (now - since) / (done - before)

    def _done(self, event: Progress) -> float:
        """Passes done by the whole run at this event."""
        earlier = PHASES[: PHASES.index(event.phase)]
        return (
            sum(self.work.get(phase, 0.0) for phase in earlier)
            + self.work.get(event.phase, 0.0) * event.done / event.total
        )


class Weight(NamedTuple):
    """What a network costs, known without computing anything."""

    parameters: int
    macs: int
    memory: int


def weigh(spec: JobSpec) -> Weight:
    """Parameters; multiply-accumulates of one image; bytes that training takes at the least.

    The bytes are the weights with gradient, momentum and one copy, the images of the dataset, and the outputs of all
    layers for a batch. The network is built without storage, on torch's meta device.
    """
    with torch.device("meta"):
        net = spec.model.build(spec.dataset.num_classes, spec.dataset.shape[0]).eval()
        x = torch.empty(1, *spec.dataset.shape)
    outputs: list[int] = []
    leaves = [module for module in net.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(lambda _m, _x, out: outputs.append(out.numel())) for leaf in leaves]
    work = macs(net, x)
    for hook in hooks:
        hook.remove()
    count = parameters(net)
    images = x.numel() * (spec.dataset.train_size + spec.dataset.test_size)
    return Weight(count, work, 16 * count + images + 4 * sum(outputs) * spec.train.batch_size)
