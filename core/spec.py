"""The job specification, version 1: what to compute, whole and checked. The one place where the families meet.

`parse` turns a document into a `JobSpec` or says everything that is wrong with it; `JobSpec.resolved` writes every default
and every inherited setting out, so that the stored specification needs no code to be understood.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import AfterValidator, Field, ValidationError
from torch import nn

from core.attacks.base import Attack
from core.datasets.base import Dataset
from core.device import kept_rng
from core.errors import InvalidSpec, Problem
from core.exporters.base import Exporter
from core.exporters.compact import Compact
from core.exporters.safetensors import Safetensors
from core.family import OneOf, Settings
from core.models.base import Model
from core.objectives.base import Objective
from core.objectives.natural import Natural
from core.optimizers import Optimizer
from core.problems import problems_of
from core.schedules import Multistep, Schedule
from core.sparsifiers.base import Sparsifier
from core.sparsifiers.dense import Dense
from core.threat import Threat

AnyAttack = Annotated[Attack, OneOf("core.attacks")]
AnyDataset = Annotated[Dataset, OneOf("core.datasets")]
AnyExporter = Annotated[Exporter, OneOf("core.exporters")]
AnyModel = Annotated[Model, OneOf("core.models")]
AnyObjective = Annotated[Objective, OneOf("core.objectives")]
AnySparsifier = Annotated[Sparsifier, OneOf("core.sparsifiers")]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


def _printable(text: str) -> str:
    if not text.isprintable() or "\ufffd" in text:
        raise ValueError("must not contain control characters, lone surrogates or U+FFFD")
    return text


Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]
Batch = Annotated[int, Field(ge=1, le=65_536)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class Select(Settings):
    """Which epoch's sparse network is evaluated: the best on the validation split."""

    split: Literal["validation"] = "validation"
    """Never the test set."""
    metric: Annotated[str, Field(pattern=r"^(clean|pgd[1-9][0-9]{0,3})$")] = "pgd20"
    """Accuracy on clean images, or under PGD of so many steps from a random start."""
    every: Epochs = 1
    """Epochs between two candidates; the last epoch is always one."""
    from_epoch: Epochs = 1
    """The first epoch that may be chosen."""
    draws: Annotated[int, Field(ge=1, le=1000)] = 1
    """Noise draws averaged by the judge, for random networks."""
    images: Count | None = None
    """A prefix of the validation split; all of it if left out."""
    sparsity_at_least: Annotated[float, Field(ge=0, le=1)] | None = None
    """Only networks with this share of dead input channels (or zero weights, where no channel dies) are chosen."""


class Train(Optimizer):
    """How the network is trained."""

    epochs: Epochs = 200
    """Passes over the training images."""
    batch_size: Batch = 128
    """Images a step; the incomplete last batch of an epoch is left out."""
    schedule: Schedule = Multistep()
    """The learning rate's course."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 computes the network in bfloat16 in training and selection; perturbations, losses and weights stay fp32."""
    deterministic: bool = False
    """Only kernels that give the same bits every time (same machine, same thread count)."""
    select: Select | None = Select()
    """How the epoch to evaluate is chosen; null takes the last."""


class Paper(Settings):
    """The protocol that produced the published numbers: one noise draw, joint fixed batches, the last iterate counts."""

    attacks: tuple[AnyAttack, ...] = Field((), max_length=50)
    """The attacks, besides none at all."""


class Evaluate(Settings):
    """How the network is judged, on the test set."""

    batch_size: Batch = 128
    """Images a batch; under batch-wide noise a batch's images influence one another."""
    images: Count | None = None
    """A fixed prefix of the test set; all of it if left out."""
    paper: Paper = Paper()
    """The papers' protocol."""
    audit: Literal["off", "quick", "full"] = "quick"
    """Whether the evaluation itself is checked for masked gradients: some checks, for less than a tenth of its passes, or all."""


class Resources(Settings):
    """What the job needs of the machines, and how urgent it is."""

    gpus: Annotated[int, Field(ge=0, le=1)] | None = None
    """GPUs; 0 trains on the CPU. If left out: 1 where the team has one, else 0."""
    max_duration: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}[smhd]$")] = "24h"
    """Wall time of an attempt: 90s, 30m, 24h, 7d."""
    priority: Literal["low", "normal", "high"] = "normal"
    """Before jobs of lower priority of the same user."""

    @property
    def seconds(self) -> int:
        """max_duration in seconds."""
        return int(self.max_duration[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[self.max_duration[-1]]


class JobSpec(Settings):
    """A job: train a network, make it sparse and robust, judge it, export it."""

    version: Literal[1] = 1
    """Version of this form."""
    kind: Literal["train"] = "train"
    """What is done."""
    name: Text = "unnamed"
    """What people call it."""
    project: Name = "default"
    """The project it belongs to."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1
    """Initialisation, order, augmentation and noise; the split has its own."""
    replicates: Annotated[int, Field(ge=1, le=100)] = 1
    """As many jobs, with the seeds seed, seed + 1, ..."""
    dataset: AnyDataset
    """The images."""
    threat: Threat = Threat()
    """What the adversary may do; objective and attacks inherit it unless they say otherwise."""
    model: AnyModel
    """The network."""
    objective: AnyObjective = Natural()
    """What a training step minimises."""
    sparsifier: AnySparsifier = Dense()
    """How the network becomes sparse."""
    train: Train = Train()
    """How it is trained."""
    compact: Compact | None = Compact()
    """How dead channels are removed for real; null leaves them in place."""
    evaluate: Evaluate = Evaluate()
    """How it is judged."""
    export: tuple[AnyExporter, ...] = Field((Safetensors(),), max_length=10)
    """The files that are made of it."""
    resources: Resources = Resources()
    """What it needs."""

    def resolved(self) -> Self:
        """The same job with everything inherited written out."""
        paper = Paper(attacks=tuple(attack.within(self.threat, "last") for attack in self.evaluate.paper.attacks))
        images = self.evaluate.images or self.dataset.test_size
        evaluate = self.evaluate.model_copy(update={"paper": paper, "images": images})
        return self.model_copy(update={"objective": self.objective.within(self.threat), "evaluate": evaluate})

    def seeds(self) -> Iterator[Self]:
        """One job for each replicate."""
        for seed in range(self.seed, self.seed + self.replicates):
            yield self.model_copy(update={"seed": seed, "replicates": 1})

    @property
    def evaluation_passes(self) -> float:
        """Forward passes of judging a network once: on clean images, and under each attack."""
        images = self.evaluate.images or self.dataset.test_size
        return images + sum(min(images, a.images or images) * (a.passes + 1) for a in self.evaluate.paper.attacks)

    def json_dict(self) -> dict[str, Any]:
        """The specification as JSON values."""
        return self.model_dump(mode="json")

    @property
    def digest(self) -> str:
        """SHA-256 of what is computed: the resolved specification without name, project and resources."""
        what = self.resolved().model_dump(mode="json", exclude={"name", "project", "resources"})
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def parse(document: Any, prefix: str = "") -> JobSpec:
    """The resolved job of a document of JSON values; `InvalidSpec` lists every problem, with pointers below `prefix`."""
    try:
        text = _as_json(document)
    except ValueError as error:  # an integer of more digits than Python writes
        raise InvalidSpec(
            (Problem(prefix, f"cannot be written as JSON: {error}", "a huge number", "usual numbers"),)
        ) from None
    try:
        spec = JobSpec.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise InvalidSpec(tuple(problems_of(error, document, JobSpec, prefix))) from None
    if found := tuple(_contradictions(spec, prefix)):
        raise InvalidSpec(found)
    return spec.resolved()


def _as_json(document: Any) -> bytes:
    """JSON mode is what lets pydantic be strict and still read lists as tuples; lone surrogates become U+FFFD."""
    text = json.dumps(document, default=str, ensure_ascii=False)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _contradictions(spec: JobSpec, at: str) -> Iterator[Problem]:
    """What no field alone can know."""
    data, train, evaluate = spec.dataset, spec.train, spec.evaluate
    if data.validation >= data.train_size:
        yield Problem(
            f"{at}/dataset/validation",
            "leaves no image to train on",
            data.validation,
            f"below {data.train_size}, the training images of {data.name}",
        )
    elif train.batch_size > data.train_images:
        yield Problem(
            f"{at}/train/batch_size",
            "is larger than the training split, so that an epoch would have no step",
            train.batch_size,
            f"at most {data.train_images}",
        )
    if train.select and not data.validation:
        yield Problem(
            f"{at}/train/select",
            "needs validation images, of which the dataset has none",
            "dataset.validation: 0",
            "a dataset.validation above 0, or select: null",
        )
    if train.select and train.select.from_epoch > train.epochs:
        yield Problem(
            f"{at}/train/select/from_epoch",
            "comes after the last epoch",
            train.select.from_epoch,
            f"at most {train.epochs}, train.epochs",
        )
    if evaluate.images and evaluate.images > data.test_size:
        yield Problem(
            f"{at}/evaluate/images", "is more than the test set has", evaluate.images, f"at most {data.test_size}"
        )
    if spec.seed + spec.replicates > 2**31:
        yield Problem(
            f"{at}/replicates", "leads past the largest seed", spec.replicates, f"at most {2**31 - spec.seed}"
        )
    yield from _unfit_attacks(spec, at)
    yield from _wrong_shape(spec, at)
    yield from _unfit(spec, at)


def _unfit_attacks(spec: JobSpec, at: str) -> Iterator[Problem]:
    seen = {"clean"}
    for number, attack in enumerate(spec.resolved().evaluate.paper.attacks):
        here = f"{at}/evaluate/paper/attacks/{number}"
        if attack.label in seen:
            yield Problem(f"{here}/label", "is taken", attack.label, "a label of its own in this list")
        seen.add(attack.label or "")
        if attack.norm not in attack.norms:
            yield Problem(
                f"{here}/norm", f"{attack.name} does not search there", attack.norm, " or ".join(attack.norms)
            )
        elif attack.norm == "linf" and attack.eps is not None and attack.eps > 1:
            yield Problem(f"{here}/eps", "is more than the whole box", str(attack.eps), "at most 1 in the norm linf")
        if spec.dataset.num_classes < attack.least_classes:
            classes = f"{spec.dataset.num_classes} classes of {spec.dataset.name}"
            yield Problem(here, "has a loss for more classes", classes, f"{attack.least_classes} classes or more")


def _wrong_shape(spec: JobSpec, at: str) -> Iterator[Problem]:
    wanted = spec.model.images
    if wanted and spec.dataset.shape not in wanted:
        yield Problem(
            f"{at}/model",
            f"{spec.model.name} does not take the images of {spec.dataset.name}",
            spec.model.name,
            "images of " + " or ".join("x".join(map(str, shape)) for shape in wanted),
        )


def _unfit(spec: JobSpec, at: str) -> Iterator[Problem]:
    """What the sparsifier has against the network."""
    try:
        spec.sparsifier.fits(partial(_shape, spec), spec.model.ties())
    except InvalidSpec as error:
        yield from (replace(problem, pointer=at + problem.pointer) for problem in error.problems)


def _shape(spec: JobSpec) -> nn.Module:
    with kept_rng(), torch.device("meta"):
        return spec.model.build(spec.dataset.num_classes, spec.dataset.shape[0])
