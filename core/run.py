"""One job from its specification to its files, as a generator of events: prepare, train, compact, evaluate, audit, export.

A training goes through all of them; an evaluation reads a network that a job has left, judges and audits it.

    for event in run(spec, Place(work, data)):
        print(event)

A file that holds another network (a lossy export) is attacked as the trained one was.

What has been done survives in checkpoints: a run resumed from one goes on inside training, behind the last whole batch of the
attack under way, or behind the last check of the audit. `stop()` is asked after each training batch, each step of an attack
and each piece of a check: "cancel" raises `Cancelled`, "save" writes a checkpoint where that is worth one, yields it and ends
the generator.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core import checkpoint, stored
from core.anatomy import dissect
from core.audit import Audit
from core.blueprint import Blueprint
from core.channels import layers
from core.datasets.base import Splits
from core.device import numerics
from core.errors import Cancelled, InvalidSpec, OutOfMemory, Problem, UnreadableModel
from core.evaluate import FORM, Evaluation
from core.events import (
    TRAINED,
    Checked,
    CheckpointSaved,
    Compacted,
    Dissected,
    Event,
    Exported,
    Finished,
    Phase,
    PhaseEnded,
    PhaseStarted,
    Progress,
    Scored,
    Witnessed,
)
from core.exporters.base import Exporter
from core.exporters.compact import Compact
from core.exporters.safetensors import packed
from core.files import sha256, write_whole
from core.measure import all_weight_sparsity, channel_sparsity, latency, macs, size, weight_sparsity
from core.models.base import parameters
from core.plan import Clock, passes
from core.redo import forgetting
from core.spec import AnySpec, EvaluateSpec, JobSpec, Spec
from core.train import Left, Stop, Trainee, train

SECONDS_BETWEEN_SAVES = 60.0
"""While an attack runs: the most that a crash can cost, besides the batch under way."""
COMPARED = 256
"""Test images on which compaction and exports are checked."""


@dataclass(frozen=True)
class Place:
    """Where a run works: a folder of its own, the folder of the datasets, a device; where a stored network is, by its SHA-256."""

    work: Path
    data: Path
    device: str = "cpu"
    models: Callable[[str], Path] | None = None


@dataclass(frozen=True)
class Resume:
    """A checkpoint to go on from, and what its bytes must hash to; of phases from `again` on it is to know nothing."""

    path: Path
    sha256: str
    again: Phase | None = None


def run(spec: AnySpec, place: Place, resume: Resume | None = None, stop: Stop = lambda: None) -> Iterator[Event]:
    """Do the whole job. Raises the errors of `core.errors`; of an error outside that list, the traceback is the message."""
    saved = checkpoint.load(resume.path, resume.sha256) if resume else None
    if saved and saved["spec"] != spec.digest:
        raise ValueError(f"the checkpoint {resume and resume.path} belongs to another specification")
    if saved and resume and resume.again and saved["phase"] != "train":
        saved = forgetting(saved, resume.again)
    job = Training(spec, place, stop) if isinstance(spec, JobSpec) else Judging(spec, place, stop)
    with numerics(spec.deterministic):
        try:
            yield from job.clock.timed(job.phases(saved))
        except Left:
            return
        except (RuntimeError, MemoryError) as error:
            # torch.OutOfMemoryError is a RuntimeError; where the CPU's memory is full, torch raises a bare one
            if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
                raise OutOfMemory(place.device, job.phase, str(error)[:200]) from error
            raise


class Run:
    """A run under way: the network, what is known of it, and the phases that judge it."""

    net: nn.Module
    splits: Splits
    epochs = 0
    """Epochs that a checkpoint comes after."""

    def __init__(self, spec: Spec, place: Place, stop: Stop) -> None:
        self.spec, self.place, self.stop = spec, place, stop
        self.clock = Clock({})
        self.phase: Phase = "prepare"
        self.scored: list[Scored] = []
        self.trained: dict[str, Tensor] = {}
        self.evaluation: Evaluation | None = None
        self.under_way: dict[str, Any] | None = None
        self.audit: Audit | None = None
        self.audited: dict[str, Any] | None = None

    def _go_on(self, saved: dict[str, Any]) -> None:
        """Take up what a checkpoint behind training knows; an evaluation that an older Sparring has left begins anew."""
        if saved["under_way"] and saved["under_way"].get("form") != FORM:
            saved = forgetting(saved, "evaluate")
        self.trained = saved["net"]
        self.scored = [Scored.model_validate(scored) for scored in saved["scored"]]
        self.under_way, self.audited = saved["under_way"], saved.get("audit")

    def _phase(self, phase: Phase, events: Iterator[Event], resumed_at: int | None = None) -> Iterator[Event]:
        self.phase, began = phase, time.monotonic()
        epochs = self.epochs if phase == "train" else None
        yield PhaseStarted(phase=phase, epochs=epochs, resumed_at=resumed_at)
        yield from events
        yield PhaseEnded(phase=phase, seconds=time.monotonic() - began)

    def _obeying(self, events: Iterator[Event]) -> Iterator[Event]:
        """The same events, asking `stop` after each; who is to stop leaves a checkpoint of what is whole: batches, checks."""
        for event in events:
            yield event
            if isinstance(event, Witnessed):
                continue  # the number that rests on it comes next, and then a checkpoint that knows both
            wish = self.stop()
            if wish == "cancel":
                raise Cancelled
            if wish == "save":
                yield self._save(self.phase)
                raise Left

    def _judge(self) -> Iterator[Event]:
        """Evaluate and audit the network."""
        yield from self._phase("evaluate", self._evaluate(self.net))
        if self.spec.evaluate.audit != "off":
            yield from self._phase("audit", self._audit())

    def _audit(self) -> Iterator[Event]:
        """The checks that are not made yet, each with its checkpoint."""
        scored = [one for one in self.scored if one.network == TRAINED]
        told = self._evaluated or {}
        frozen = told.get("frozen") if told.get("network") == TRAINED else None
        self.audit = Audit(self.spec, self.net, self.splits, scored, frozen, self.audited)
        for event in self._obeying(self.audit.run()):
            if isinstance(event, Checked):
                yield event.model_copy(update={"checkpoint": self._save(self.phase)})
            else:
                yield event

    @property
    def _evaluated(self) -> dict[str, Any] | None:
        """The state of the evaluation under way, or of the last one."""
        return self.evaluation.state if self.evaluation else self.under_way

    def _evaluate(self, net: nn.Module, network: str = TRAINED) -> Iterator[Event]:
        """The attacks under which the network is not yet scored, each score with its checkpoint, and one every minute."""
        work, scored = self.place.work, self.scored
        saved, load = self.under_way, self._stored
        evaluation = Evaluation(self.spec, net, self.splits, work, scored, network, saved, load)
        if evaluation.finished:
            return  # and what is known of another network stays known
        self.evaluation = evaluation
        began = time.monotonic()
        for event in self._obeying(self.evaluation.run()):
            if isinstance(event, Scored):
                self.scored.append(event)
                yield event.model_copy(update={"checkpoint": self._save(self.phase)})
            else:
                yield event
            if time.monotonic() - began >= SECONDS_BETWEEN_SAVES and not isinstance(event, Witnessed):
                yield self._save(self.phase)
                began = time.monotonic()

    def _stored(self, sha256: str) -> nn.Module:
        """The network in a stored file, on the device: what a transfer attack is made against."""
        if not self.place.models:
            raise UnreadableModel(sha256, "there are no stored networks here; a service has them")
        path, data = self.place.models(sha256), self.spec.dataset
        stored.check_images(stored.shape_in(path), data.shape, data.num_classes, data.name)
        return stored.read(path, sha256).to(self.place.device)

    def _save(self, phase: Phase) -> CheckpointSaved:
        """A checkpoint of what is known after training: the selected network, scores, the evaluation under way, checks."""
        scored = [one.model_dump(mode="json") for one in self.scored]
        state = {
            "phase": phase,
            "spec": self.spec.digest,
            "net": self.trained,
            "scored": scored,
            "under_way": self._evaluated,
            "audit": self.audit.state if self.audit else self.audited,
        }
        saved = checkpoint.save(self.place.work / "checkpoints", f"{phase}-{len(scored):02d}", state)
        return CheckpointSaved(phase=phase, epoch=self.epochs, batch=0, path=str(saved.path), sha256=saved.sha256)


class Judging(Run):
    """The run of an evaluation."""

    def __init__(self, spec: EvaluateSpec, place: Place, stop: Stop) -> None:
        super().__init__(spec, place, stop)
        self.network = spec.network

    def phases(self, saved: dict[str, Any] | None) -> Iterator[Event]:
        """The three phases, or what the checkpoint leaves of them."""
        if saved:
            self._go_on(saved)
        yield from self._phase("prepare", self._prepare())
        yield from self._judge()
        yield Finished()

    def _prepare(self) -> Iterator[Event]:
        """Data on the device, and the stored network."""
        if not self.network.sha256:
            problem = Problem(
                "/network/job", "names a job, which only a service knows", str(self.network.job), "network.sha256"
            )
            raise InvalidSpec((problem,))
        self.net = self._stored(self.network.sha256)
        self.splits = self.spec.dataset.load(self.place.data).to(self.place.device)
        self.clock.work = passes(self.spec, self.net)
        yield from ()


class Training(Run):
    """The run of a training."""

    def __init__(self, spec: JobSpec, place: Place, stop: Stop) -> None:
        super().__init__(spec, place, stop)
        self.job, self.epochs = spec, spec.train.epochs
        self.clock.work = passes(spec)

    def phases(self, saved: dict[str, Any] | None) -> Iterator[Event]:
        """All phases, or those that the checkpoint leaves."""
        yield from self._phase("prepare", self._prepare())
        if not saved or saved["phase"] == "train":
            yield from self._phase("train", self._train(saved), saved["epoch"] if saved else None)
            self.trained = {name: value.cpu().clone() for name, value in self.net.state_dict().items()}
            yield self._save("compact")
        else:
            self._go_on(saved)
            self.net.load_state_dict(self.trained)
        self.net.eval()
        yield from self._dissect()
        if self.job.compact:
            yield from self._phase("compact", self._compact(self.job.compact))
        yield from self._judge()
        if self.job.export:
            yield from self._phase("export", self._export())
        yield Finished()

    def _prepare(self) -> Iterator[Event]:
        """Data on the device, and the untrained network."""
        self.splits = self.spec.dataset.load(self.place.data).to(self.place.device)
        channels = self.spec.dataset.shape[0]
        self.blueprint = Blueprint(model=self.job.model, num_classes=self.spec.dataset.num_classes, channels=channels)
        self.net = self.job.sparsifier.prepare(self.blueprint.build(self.spec.seed)).to(self.place.device)
        yield from ()

    def _train(self, saved: dict[str, Any] | None) -> Iterator[Event]:
        trainee = Trainee(self.net)
        yield from train(self.job, trainee, self.splits, self.place.work / "checkpoints", self.stop, saved)
        self.net = trainee.net

    def _dissect(self) -> Iterator[Event]:
        """A file on the weights of the selected network, while its dead channels are still there."""
        if not layers(self.net):
            return
        found, path = dissect(self.net), self.place.work / "anatomy.json"
        write_whole(path, found.model_dump_json().encode())
        whole, shown = found.weights, found.layer(found.picture.layer)
        yield Dissected(
            weights=whole.n,
            zeros=whole.zeros,
            small=whole.small,
            channels=len(found.norms),
            dead=found.norms.count(0),
            layer=shown.name,
            layer_weights=shown.weights.n,
            layer_zeros=shown.weights.zeros,
            path=str(path),
            sha256=sha256(path),
            bytes=path.stat().st_size,
        )

    def _compact(self, compact: Compact) -> Iterator[Event]:
        """Cut out what is dead, with the weight of the network before and after."""
        x = self._compared()
        before, full = self._weighed(x), self.net
        self.net, self.blueprint, found = compact.shrink(full, self.blueprint, x)
        after = self._weighed(x)
        yield Compacted(
            **{f"{name}_before": value for name, value in before.items()},
            **{f"{name}_after": value for name, value in after.items()},
            logits_difference=found.logits,
            logits_difference_noisy=found.noisy,
            predictions_changed=found.predictions,
            weight_sparsity=weight_sparsity(full),
            all_weight_sparsity=all_weight_sparsity(full),
            channel_sparsity=channel_sparsity(full),
        )

    def _weighed(self, x: Tensor) -> dict[str, Any]:
        channels = sum(layer.total for layer in layers(self.net))
        weights, work, room = parameters(self.net), macs(self.net, x), size(self.net)
        return {
            "channels": channels,
            "parameters": weights,
            "macs": work,
            "bytes": room,
            "latency": latency(self.net, x[:1]),
        }

    def _compared(self) -> Tensor:
        return self.splits.test.batch(0, COMPARED)[0]

    def _export(self) -> Iterator[Event]:
        """The files; what one holds that is another network is judged as the trained one was."""
        turn, turns = 0, sum(exporter.lossy for exporter in self.job.export)
        for number, exporter in enumerate(self.job.export):
            path = self.place.work / "exports" / f"{number}-{exporter.name}"
            path, worst = exporter.export(self.net, self.blueprint, self._compared(), path)
            other = exporter.read(path).to(self.place.device) if exporter.lossy else None
            yield self._exported(exporter, path, worst)  # who is told may take the file away
            if other:
                for event in self._evaluate(other, path.name):
                    yield _in_turn(event, turn, turns)
                turn += 1

    def _exported(self, exporter: Exporter, path: Path, worst: float) -> Exported:
        return Exported(
            exporter=exporter.name,
            path=str(path),
            sha256=sha256(path),
            bytes=path.stat().st_size,
            bytes_fp32=len(packed(self.net.state_dict(), self.blueprint)),
            logits_difference=worst,
        )


def _in_turn(event: Event, turn: int, turns: int) -> Event:
    """The event; if it is progress, that of the whole phase, in which several networks are judged one after another."""
    if not isinstance(event, Progress):
        return event
    return event.model_copy(update={"done": turn * event.total + event.done, "total": turns * event.total})
