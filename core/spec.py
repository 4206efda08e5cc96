"""The job specification, version 1: what to compute, whole and checked. The one place where the families meet.

`parse` turns a document into a `JobSpec`, or by its `kind` an `EvaluateSpec`, or says everything that is wrong with it;
`resolved` writes every default and every inherited setting out, so that the stored specification needs no code to be
understood.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal, Self, TypeVar
from uuid import UUID

import torch
from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator
from torch import nn

from core.attacks.base import Attack
from core.attacks.transfer import TWIN
from core.datasets.base import Dataset
from core.device import kept_rng
from core.errors import InvalidSpec, Problem
from core.events import WORST_CASE
from core.exporters.base import Exporter
from core.exporters.compact import Compact
from core.exporters.safetensors import Safetensors
from core.family import OneOf, Settings
from core.models.base import Model
from core.noise import stochastic_layers
from core.objectives.base import Objective
from core.objectives.natural import Natural
from core.problems import problems_of
from core.protocols import Evaluate
from core.recipe import Train
from core.resources import Resources
from core.sparsifiers.base import Sparsifier
from core.sparsifiers.dense import Dense
from core.threat import Threat

AnyDataset = Annotated[Dataset, OneOf("core.datasets")]
AnyExporter = Annotated[Exporter, OneOf("core.exporters")]
AnyModel = Annotated[Model, OneOf("core.models")]
AnyObjective = Annotated[Objective, OneOf("core.objectives")]
AnySparsifier = Annotated[Sparsifier, OneOf("core.sparsifiers")]

Form = TypeVar("Form", bound=BaseModel)
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


def _printable(text: str) -> str:
    if not text.isprintable() or "\ufffd" in text:
        raise ValueError("must not contain control characters, lone surrogates or U+FFFD")
    return text


def _different(ids: tuple[UUID, ...]) -> tuple[UUID, ...]:
    if len(set(ids)) < len(ids):
        raise ValueError("must not name a job twice")
    return ids


Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]


class Spec(Settings):
    """What every job says: its name, on which images and against whom a network is judged, and how."""

    version: Literal[1] = 1
    """Version of this form."""
    kind: Literal["train", "evaluate"]
    """What is done."""
    name: Text = "unnamed"
    """What people call it."""
    project: Name = "default"
    """The project it belongs to."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1
    """Initialisation, order, augmentation and noise; the split has its own."""
    after: Annotated[tuple[UUID, ...], Field(max_length=100), AfterValidator(_different)] = ()
    """Ids of jobs that must have succeeded before this one starts."""
    dataset: AnyDataset
    """The images."""
    threat: Threat = Threat()
    """What the adversary may do; objective and attacks inherit it unless they say otherwise."""
    evaluate: Evaluate = Evaluate()
    """How it is judged."""
    resources: Resources = Resources()
    """What it needs."""

    def resolved(self) -> Self:
        """The same job with everything inherited written out."""
        return self.model_copy(update={"evaluate": self.evaluate.within(self.threat, self.dataset.test_size)})

    def seeds(self) -> Iterator[Self]:
        """One job for each seed."""
        yield self

    def attacks(self, at: str = "") -> Iterator[tuple[str, Attack]]:
        """The attacks of both protocols, each with its pointer below `at`."""
        paper, strict = self.evaluate.paper.attacks, self.evaluate.strict
        for name, attacks in (("paper", paper), ("strict", strict.attacks or () if strict else ())):
            yield from ((f"{at}/evaluate/{name}/attacks/{number}", attack) for number, attack in enumerate(attacks))

    def check_noise(self, random: bool, at: str = "") -> None:
        """Raise `InvalidSpec` where an attack needs noise and the network has none."""
        found = [here for here, attack in self.attacks(at) if attack.needs_noise]
        if found and not random:
            raise InvalidSpec(tuple(no_noise(here, "the network has no noise") for here in found))

    def evaluation_passes(self, draws: float = 1, judging: float = 1) -> float:
        """Forward passes of judging a network once, clean and under each attack of both protocols.

        Under `strict` a look of an attack takes `draws`, and an image `judging` passes.
        """
        images, strict = self.evaluate.images or self.dataset.test_size, self.evaluate.strict
        work = images + sum(min(images, a.images or images) * (a.passes + 1) for a in self.evaluate.paper.attacks)
        few = strict.images or images if strict else 0
        attacks = strict.attacks or () if strict else ()
        return work + sum(min(few, a.images or few) * (a.passes * draws + judging) for a in attacks)

    @property
    def deterministic(self) -> bool:
        """Whether only kernels are used that give the same bits every time."""
        return False

    def json_dict(self) -> dict[str, Any]:
        """The specification as JSON values."""
        return self.model_dump(mode="json")

    @property
    def digest(self) -> str:
        """SHA-256 of what is computed: the resolved specification without names, project, order and resources."""
        names: Any = {"name": True, "project": True, "after": True, "resources": True, "network": {"job"}}
        what = self.resolved().model_dump(mode="json", exclude=names)
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


class JobSpec(Spec):
    """A job: train a network, make it sparse and robust, judge it, export it."""

    kind: Literal["train"] = "train"
    """What is done."""
    replicates: Annotated[int, Field(ge=1, le=100)] = 1
    """As many jobs, with the seeds seed, seed + 1, ..."""
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
    export: tuple[AnyExporter, ...] = Field((Safetensors(),), max_length=10)
    """The files that are made of it."""

    def resolved(self) -> Self:
        """The same job with everything inherited written out."""
        return super().resolved().model_copy(update={"objective": self.objective.within(self.threat)})

    def seeds(self) -> Iterator[Self]:
        """One job for each replicate."""
        for seed in range(self.seed, self.seed + self.replicates):
            yield self.model_copy(update={"seed": seed, "replicates": 1})

    @property
    def deterministic(self) -> bool:
        """Whether only kernels are used that give the same bits every time."""
        return self.train.deterministic


class Network(Settings):
    """A network that a job has left: that of the job, or the one in a file."""

    job: UUID | None = None
    """The job that made it; its trained network is meant, unless `sha256` names another of its files."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """SHA-256 of the file that holds it; written out once the job is known."""

    @model_validator(mode="after")
    def _is_named(self) -> Self:
        if self.job is None and self.sha256 is None:
            raise ValueError("names no network: give the job that made it, or the sha256 of its file")
        return self


class Examination(Spec):
    """How a network that is already there is judged; nothing is trained."""

    kind: Literal["evaluate"] = "evaluate"
    """What is done."""


class EvaluateSpec(Examination):
    """A job: judge a network that another job has left; nothing is trained."""

    network: Network
    """The network."""


AnySpec = JobSpec | EvaluateSpec
KINDS: dict[str, type[JobSpec] | type[EvaluateSpec]] = {"train": JobSpec, "evaluate": EvaluateSpec}


def parse(document: Any, prefix: str = "") -> AnySpec:
    """The resolved job of a document of JSON values; `InvalidSpec` lists every problem, with pointers below `prefix`."""
    spec = _validated(_kind(document), document, prefix)
    if found := tuple(_contradictions(spec, prefix)):
        raise InvalidSpec(found)
    return spec.resolved()


def parse_examination(document: Any, prefix: str = "") -> Examination:
    """The resolved examination of a document of JSON values; raises as `parse` does."""
    spec = _validated(Examination, document, prefix)
    if found := tuple(_contradictions(spec, prefix)):
        raise InvalidSpec(found)
    return spec.resolved()


def parse_network(document: Any, prefix: str = "") -> Network:
    """The network that an evaluation's document names, before its dataset need be known."""
    return _validated(Network, document, prefix)


def stored(document: dict[str, Any]) -> AnySpec:
    """A resolved specification, from the JSON values that `json_dict` gave."""
    return KINDS[document["kind"]].model_validate(document).resolved()


def _kind(document: Any) -> type[JobSpec] | type[EvaluateSpec]:
    """The form that a document fills in; a training where it does not say another that there is."""
    kind = document.get("kind") if isinstance(document, dict) else None
    return KINDS.get(kind, JobSpec) if isinstance(kind, str) else JobSpec


def _validated(form: type[Form], document: Any, prefix: str) -> Form:
    try:
        return form.model_validate_json(_as_json(document), strict=True)
    except ValidationError as error:
        problems = problems_of(error, document, form, prefix)
        raise InvalidSpec(tuple(_with_kinds(problem, prefix) for problem in problems)) from None
    except ValueError as error:  # an integer of more digits than Python writes
        raise InvalidSpec(
            (Problem(prefix, f"cannot be written as JSON: {error}", "a huge number", "usual numbers"),)
        ) from None


def _with_kinds(problem: Problem, prefix: str) -> Problem:
    """The problem; if it is the kind, with all that there are."""
    return replace(problem, expected=f"one of {', '.join(KINDS)}") if problem.pointer == f"{prefix}/kind" else problem


def _as_json(document: Any) -> bytes:
    """JSON mode is what lets pydantic be strict and still read lists as tuples; lone surrogates become U+FFFD."""
    text = json.dumps(document, default=str, ensure_ascii=False)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _contradictions(spec: Spec, at: str) -> Iterator[Problem]:
    """What no field alone can know."""
    if isinstance(spec, JobSpec):
        yield from _of_training(spec, at)
    data, evaluate = spec.dataset, spec.evaluate
    if evaluate.images and evaluate.images > data.test_size:
        yield Problem(
            f"{at}/evaluate/images", "is more than the test set has", evaluate.images, f"at most {data.test_size}"
        )
    wanted = evaluate.images or data.test_size
    if evaluate.strict and evaluate.strict.images and evaluate.strict.images > wanted:
        yield Problem(
            f"{at}/evaluate/strict/images",
            "is more than are evaluated",
            evaluate.strict.images,
            f"at most {wanted}, the images of evaluate",
        )
    yield from _unfit_attacks(spec, at)


def _of_training(spec: JobSpec, at: str) -> Iterator[Problem]:
    data, train = spec.dataset, spec.train
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
    if spec.seed + spec.replicates > 2**31:
        yield Problem(
            f"{at}/replicates", "leads past the largest seed", spec.replicates, f"at most {2**31 - spec.seed}"
        )
    yield from _wrong_shape(spec, at)
    yield from _unfit(spec, at)


def _unfit_attacks(spec: Spec, at: str) -> Iterator[Problem]:
    evaluate = spec.resolved().evaluate
    yield from _unfit_list(spec, f"{at}/evaluate/paper/attacks", evaluate.paper.attacks)
    if evaluate.strict:
        strict = evaluate.strict.attacks or ()
        yield from _unfit_list(spec, f"{at}/evaluate/strict/attacks", strict)
        if not any(_searches_all(attack, spec.threat, evaluate.strict.images) for attack in strict):
            ball = f"{spec.threat.norm} ball of {spec.threat.eps} on all images"
            yield Problem(
                f"{at}/evaluate/strict/attacks",
                "would call images robust that nothing attacked: none searches the job's ball on all images",
                [attack.label for attack in strict],
                f"an attack in the {ball}",
            )


def _searches_all(attack: Attack, threat: Threat, images: int | None) -> bool:
    """Whether an attack looks in the whole ball, at every image of the strict protocol."""
    ball = (attack.norm, attack.eps) == (threat.norm, threat.eps)
    return ball and (attack.images is None or attack.images >= (images or 0))


def _unfit_list(spec: Spec, at: str, attacks: tuple[Attack, ...]) -> Iterator[Problem]:
    seen = {"clean", WORST_CASE}
    for number, attack in enumerate(attacks):
        here = f"{at}/{number}"
        if attack.label in seen:
            yield Problem(f"{here}/label", "is taken", attack.label, "a label of its own in this list")
        seen.add(attack.label or "")
        if attack.norm not in attack.searches:
            yield Problem(
                f"{here}/norm", f"{attack.name} does not search there", attack.norm, " or ".join(attack.searches)
            )
        elif attack.norm == "linf" and attack.eps is not None and attack.eps > 1:
            yield Problem(f"{here}/eps", "is more than the whole box", str(attack.eps), "at most 1 in the norm linf")
        if spec.dataset.num_classes < attack.least_classes:
            classes = f"{spec.dataset.num_classes} classes of {spec.dataset.name}"
            yield Problem(here, "has a loss for more classes", classes, f"{attack.least_classes} classes or more")
        if isinstance(spec, JobSpec) and attack.needs_noise and not stochastic_layers(shape_of(spec)):
            yield no_noise(here, f"{spec.model.name} has no noise with these settings")


def no_noise(at: str, why: str) -> Problem:
    """What is wrong with an attack that needs a random network, on another."""
    expected = "the SHA-256 of a stored model's file, or a network with noise"
    return Problem(f"{at}/from", f"is a twin without noise, but {why}", TWIN, expected)


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
        spec.sparsifier.fits(partial(shape_of, spec), spec.model.ties())
    except InvalidSpec as error:
        yield from (replace(problem, pointer=at + problem.pointer) for problem in error.problems)


def shape_of(spec: JobSpec) -> nn.Module:
    """The network without storage, on torch's meta device."""
    with kept_rng(), torch.device("meta"):
        return spec.model.build(spec.dataset.num_classes, spec.dataset.shape[0])
