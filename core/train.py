"""Training: the loop, as a generator of events, and what it needs to go on after a crash.

Every draw is keyed by (seed, purpose, epoch, batch), so a resumed training repeats the uninterrupted one bit for bit (with
deterministic kernels on the same kind of machine). The method of sparsity is in the optimiser alone. What is chosen is the
sparse network of the best epoch of the last stage, by a validation metric.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from core import checkpoint
from core.channels import layers
from core.datasets.base import Images, Splits
from core.device import Autocast, generator, seed_of
from core.errors import Cancelled, Diverged
from core.events import CheckpointSaved, EpochEnded, Event, Progress, Selected
from core.measure import channel_sparsity, weight_sparsity
from core.noise import reseed
from core.selection import sparse_enough, sparse_version, trials
from core.sparsifiers.base import SparseOptimizer, Stage
from core.spec import JobSpec

Stop = Callable[[], Literal["cancel", "save"] | None]
CHECK_EVERY = 50
"""Batches between two looks at the loss; each look waits for the device."""


class Left(Exception):
    """The run was asked to save and has left; not an error."""


@dataclass
class Meter:
    """Losses and counts of an epoch, batch by batch, on the device until the epoch ends."""

    steps: int
    rows: dict[str, Tensor] = field(default_factory=dict)

    def add(self, batch: int, values: dict[str, Tensor]) -> None:
        """Note the figures of a batch."""
        for name, value in values.items():
            row = self.rows.setdefault(name, torch.zeros(self.steps, device=value.device))
            row[batch] = value.detach()


@dataclass
class Trainee:
    """The network in training, where it is, and the best sparse version of it so far."""

    net: nn.Module
    epoch: int = 0
    batch: int = 0
    best_epoch: int = 0
    best: float = -1.0
    last: float = -1.0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def state(self, optimizer: SparseOptimizer, meter: Meter) -> dict[str, Any]:
        """What a checkpoint holds."""
        own = {key: value for key, value in vars(self).items() if key != "net"}
        return own | {"net": self.net.state_dict(), "optimizer": optimizer.state_dict(), "meter": meter.rows}

    def restore(self, state: dict[str, Any], optimizer: SparseOptimizer) -> None:
        """Take back what `state` gave."""
        for key in vars(self).keys() - {"net"}:
            setattr(self, key, state[key])
        self.net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])


def train(
    spec: JobSpec, trainee: Trainee, splits: Splits, folder: Path, stop: Stop, resume: dict[str, Any] | None
) -> Iterator[Event]:
    """Train `trainee.net`, which ends as the selected sparse network; checkpoints go to `folder`.

    `resume` is the content of a checkpoint of this job. Raises `Diverged`, `Cancelled`, or `Left` when asked to save.
    """
    steps, end = len(splits.train) // spec.train.batch_size, 0
    for stage in spec.sparsifier.stages(spec.train.epochs, spec.train.lr):
        start, end = end, end + stage.epochs
        trainee.net = spec.sparsifier.advance(trainee.net, stage, spec.model.ties(), partial(_fresh, spec))
        if resume and (resume["epoch"], resume["batch"]) > (end, 0):
            continue  # a checkpoint at a stage's very end belongs to that stage, which has yet to be finalised
        optimizer = spec.sparsifier.optimizer(trainee.net, spec.train, steps, stage)
        meter = Meter(steps)
        trainee.best, trainee.best_epoch, trainee.weights = -1.0, 0, {}  # what an earlier stage made is no candidate
        if resume:
            trainee.restore(resume, optimizer)
            meter.rows = {name: row.to(splits.train.y.device) for name, row in resume["meter"].items()}
            resume = None
        while trainee.epoch < end:
            yield from _epoch(spec, trainee, splits, folder, stop, optimizer, stage, start, meter)
            meter = Meter(steps)
        optimizer.finalize()
    if trainee.weights:
        trainee.net.load_state_dict(trainee.weights)
    metric = spec.train.select.metric if spec.train.select else "last"
    yield Selected(epoch=trainee.best_epoch or trainee.epoch, metric=metric, best=trainee.best, last=trainee.last)


def _fresh(spec: JobSpec) -> nn.Module:
    """The untrained network once more, with weights of another seed."""
    net = spec.model.create(spec.dataset.num_classes, spec.dataset.shape[0], seed_of(spec.seed, "fresh"))
    return spec.sparsifier.prepare(net)


def _epoch(
    spec: JobSpec,
    trainee: Trainee,
    splits: Splits,
    folder: Path,
    stop: Stop,
    optimizer: SparseOptimizer,
    stage: Stage,
    start: int,
    meter: Meter,
) -> Iterator[Event]:
    """One epoch, or what is left of it; ends with the epoch's row and its checkpoint."""
    size, device, epoch, first, began = (
        spec.train.batch_size,
        splits.train.y.device,
        trainee.epoch,
        trainee.batch,
        time.monotonic(),
    )
    order = torch.randperm(len(splits.train), generator=generator("cpu", spec.seed, "order", epoch)).to(device)
    if spec.train.momentum_reset == "epoch" and not first:
        optimizer.base.state.clear()
    trainee.net.train()
    while trainee.batch < meter.steps:
        _set_rate(spec, optimizer, stage, epoch - start + trainee.batch / meter.steps)
        chosen = order[trainee.batch * size : (trainee.batch + 1) * size]
        stream = generator(device, spec.seed, "augment", epoch, trainee.batch)
        images = splits.train.chosen(chosen, spec.dataset.augment, stream)
        optimizer.step(_closure(spec, trainee, optimizer, images, meter))
        trainee.batch += 1
        _stop_if_diverged(meter, trainee)
        yield _progress(spec, trainee, meter, "training")
        yield from _obey(stop(), spec, trainee, optimizer, meter, folder)
    rate = optimizer.param_groups[0]["lr"]
    speed = (meter.steps - first) * size / (time.monotonic() - began)
    yield from _end_epoch(
        spec, trainee, splits, folder, optimizer, stage, meter, {"lr": rate, "images_per_second": speed}
    )


def _closure(
    spec: JobSpec, trainee: Trainee, optimizer: SparseOptimizer, images: Images, meter: Meter
) -> Callable[[], Tensor]:
    """The loss and the gradients of one batch, the same ones however often it is called."""
    net, key = trainee.net, (spec.seed, trainee.epoch, trainee.batch)
    computed = Autocast(net, spec.train.precision).train()

    def closure() -> Tensor:
        optimizer.zero_grad()
        torch.manual_seed(seed_of("global", *key))
        reseed(net, "train", *key)
        loss, stats = spec.objective.loss(computed, *images, generator(images[0].device, "craft", *key))
        whole = loss + spec.sparsifier.penalty(net)
        whole.backward()  # type: ignore[no-untyped-call]
        meter.add(trainee.batch, {"loss": loss, **stats})
        return loss

    return closure


def _set_rate(spec: JobSpec, optimizer: SparseOptimizer, stage: Stage, done: float) -> None:
    """Put the schedule's rate in force, `done` epochs into the stage; a stage runs through the whole schedule."""
    rate = stage.lr * spec.train.schedule.factor(done * spec.train.epochs / stage.epochs, spec.train.epochs)
    for group in optimizer.param_groups:
        group["lr"] = rate


def _stop_if_diverged(meter: Meter, trainee: Trainee) -> None:
    if trainee.batch % CHECK_EVERY == 0 or trainee.batch == meter.steps:
        loss = float(meter.rows["loss"][: trainee.batch].sum())
        if not math.isfinite(loss):
            raise Diverged(trainee.epoch + 1, trainee.batch, str(loss))


def _stop_if_broken(trainee: Trainee, meter: Meter, values: dict[str, float]) -> None:
    """The last step of an epoch may have broken the weights after the loss was still fine."""
    weights = all(bool(p.isfinite().all()) for p in trainee.net.parameters())
    if not weights or not all(map(math.isfinite, values.values())):
        raise Diverged(trainee.epoch + 1, meter.steps, "finite, but not the weights after it")


def _obey(
    wish: Literal["cancel", "save"] | None,
    spec: JobSpec,
    trainee: Trainee,
    optimizer: SparseOptimizer,
    meter: Meter,
    folder: Path,
) -> Iterator[Event]:
    if wish == "cancel":
        raise Cancelled
    if wish == "save":
        yield _save(spec, trainee, optimizer, meter, folder)
        raise Left


def _end_epoch(
    spec: JobSpec,
    trainee: Trainee,
    splits: Splits,
    folder: Path,
    optimizer: SparseOptimizer,
    stage: Stage,
    meter: Meter,
    values: dict[str, float],
) -> Iterator[Event]:
    """Judge the sparse network of the moment if its turn has come, then write the checkpoint and the epoch's row."""
    series = {name: row.tolist() for name, row in meter.rows.items()}
    counted = {name: sum(row) / (meter.steps * spec.train.batch_size) for name, row in series.items() if name != "loss"}
    values |= {"train_loss": sum(series["loss"]) / meter.steps} | {f"train_{name}": v for name, v in counted.items()}
    values |= optimizer.figures
    _stop_if_broken(trainee, meter, values)
    with sparse_version(trainee.net, optimizer):
        yield from _judge(spec, trainee, splits, meter, values)
        values |= {"weight_sparsity": weight_sparsity(trainee.net), "channel_sparsity": channel_sparsity(trainee.net)}
        alive = layers(trainee.net)
    trainee.epoch, trainee.batch = trainee.epoch + 1, 0
    yield EpochEnded(
        epoch=trainee.epoch,
        epochs=spec.train.epochs,
        stage=stage.name,
        values=values,
        layers=alive,
        series={f"train_{name}": row for name, row in series.items()},
        best=trainee.best_epoch == trainee.epoch,
        checkpoint=_save(spec, trainee, optimizer, Meter(meter.steps), folder),
    )


def _judge(spec: JobSpec, trainee: Trainee, splits: Splits, meter: Meter, values: dict[str, float]) -> Iterator[Event]:
    """If this epoch is a candidate, add its validation figures to `values`, and keep its weights if it is the best."""
    select, epoch = spec.train.select, trainee.epoch + 1
    if not select or (epoch % select.every and epoch != spec.train.epochs):
        return
    computed = Autocast(trainee.net, spec.train.precision).eval()
    judged = trials(computed, splits.validation, select, spec.threat, spec.evaluate.batch_size, (spec.seed, epoch))
    for name, trial in judged.items():
        for _ in trial:
            yield _progress(spec, trainee, meter, f"validation, {name}")
        values[f"validation_{name}"] = trial.accuracy
    trainee.last = values[f"validation_{select.metric}"]
    eligible = epoch >= select.from_epoch and sparse_enough(trainee.net, select.sparsity_at_least)
    if eligible and trainee.last > trainee.best:
        trainee.best, trainee.best_epoch = trainee.last, epoch
        trainee.weights = {name: value.detach().cpu().clone() for name, value in trainee.net.state_dict().items()}


def _progress(spec: JobSpec, trainee: Trainee, meter: Meter, what: str) -> Progress:
    done = trainee.epoch + trainee.batch / meter.steps
    text = f"epoch {trainee.epoch + 1}/{spec.train.epochs}, {what}"
    return Progress(phase="train", done=done, total=spec.train.epochs, text=text)


def _save(spec: JobSpec, trainee: Trainee, optimizer: SparseOptimizer, meter: Meter, folder: Path) -> CheckpointSaved:
    state = trainee.state(optimizer, meter) | {"phase": "train", "spec": spec.digest}
    saved = checkpoint.save(folder, f"train-{trainee.epoch:05d}-{trainee.batch:05d}", state)
    return CheckpointSaved(
        phase="train", epoch=trainee.epoch, batch=trainee.batch, path=str(saved.path), sha256=saved.sha256
    )
