"""How much work a job is, in forward passes of one image: the dry run's figure, and through the speed so far the ETA.

A step of PGD costs 2 (forward, and backward to the pixels), a training step 3: PGD-10 adversarial training costs 23 passes
an image. An ETA is what is left divided by the speed of this attempt; phases differ in speed, so it is a guess that improves.
"""

import time
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import nn

from core import audit
from core.audit.strength import draws_of
from core.events import PHASES, Event, Phase, Progress
from core.measure import macs
from core.models.base import parameters
from core.noise import stochastic_layers
from core.selection import adversary
from core.spec import JobSpec, Spec, shape_of

SECONDS_BETWEEN = 0.5
"""No two progress events are closer than this."""


def passes(spec: Spec, net: nn.Module | None = None) -> dict[Phase, float]:
    """Forward passes of each phase of a resolved job; `net` is the network (its shape is enough) where the job names none."""
    random = bool(stochastic_layers(_shape(spec, net)))
    judged = _evaluation(spec, random)
    work: dict[Phase, float] = {"evaluate": judged, "audit": audit.passes(spec, random)}
    if isinstance(spec, JobSpec):
        training = spec.train.epochs * spec.dataset.train_images * spec.objective.passes
        work["train"] = training + _selection(spec)
        work["export"] = sum(exporter.lossy for exporter in spec.export) * judged
    return work


def _evaluation(spec: Spec, random: bool) -> float:
    """Where the number of draws of a random network is yet to be found, as if 8 were needed."""
    strict = spec.evaluate.strict
    if not strict or not random:
        return spec.evaluation_passes()
    return spec.evaluation_passes(draws_of(spec), strict.selection_draws + strict.judging_draws)


def _shape(spec: Spec, net: nn.Module | None) -> nn.Module:
    if net is not None:
        return net
    assert isinstance(spec, JobSpec), "the network of an evaluation is in its file, not in its specification"
    return shape_of(spec)


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


def weigh(spec: Spec, net: nn.Module | None = None) -> Weight:
    """Parameters; multiply-accumulates of one image; bytes that the job takes at the least.

    The bytes are the weights with gradient, momentum and one copy, the images of the dataset, and the outputs of all
    layers for a batch. `net`, where the job names no network, and all that is computed are on torch's meta device.
    """
    net = _shape(spec, net).eval()
    x = torch.empty(1, *spec.dataset.shape, device="meta")
    outputs: list[int] = []
    leaves = [module for module in net.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(lambda _m, _x, out: outputs.append(out.numel())) for leaf in leaves]
    with torch.device("meta"):
        work = macs(net, x)
    for hook in hooks:
        hook.remove()
    count = parameters(net)
    images = x.numel() * (spec.dataset.train_size + spec.dataset.test_size)
    batch = spec.train.batch_size if isinstance(spec, JobSpec) else spec.evaluate.batch_size
    return Weight(count, work, 16 * count + images + 4 * sum(outputs) * batch)
