"""Which jobs may be compared: judged on the same images by the same rules; those of a method differ in the seed alone.

What is compared of each image is its outcome, right or wrong. On a random network, under the strict protocol, it is the share
of judging draws in which the image is right, where archives hold it.
"""

import itertools
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from api.comparison_schemas import Outcome
from api.errors import Refused
from api.networks import exporter_of
from api.sparsity import differing
from core import witness
from core.datasets.base import Dataset
from core.errors import Problem
from core.events import TRAINED, WORST_CASE
from store import jobs, records, sight
from store.sight import Eyes
from store.tables import Job

Body = dict[str, Any]
TRAINS = ("dataset", "threat", "model", "objective", "sparsifier", "train")
"""The parts of a specification that make a network, besides the seed."""
RULES = ("noise_context", "eot", "selection_draws", "judging_draws", "precision")
"""How the strict protocol judges, besides its attacks and images."""


@dataclass(frozen=True)
class Entry:
    """A job that is compared: where it was asked for, its score, and what made its network, with which seed."""

    at: str
    job: Job
    score: Body
    recipe: Body
    seed: int

    @property
    def random(self) -> bool:
        """Whether its score is a mean of shares of draws."""
        return self.score.get("always") is not None


def entry(session: Session, eyes: Eyes, job: Job, key: str, at: str) -> Entry:
    """A job and its score; refused where the job has not succeeded, has no such score, or has lost its network's training."""
    if job.state != "succeeded":
        raise refused(at, f"job {job.number} has not succeeded", job.state, "a job that has succeeded")
    scores = {f"{one['protocol']}/{one['label']}": one for one in records.results(session, job.id)}
    if key not in scores:
        raise refused("/score", f"job {job.number} has no such score", key, f"one of {', '.join(scores)}")
    made_by, file = _network(session, eyes, job, at)
    recipe = {part: made_by.spec[part] for part in TRAINS} | {"file": file}
    return Entry(at, job, scores[key], recipe, made_by.seed)


def _network(session: Session, eyes: Eyes, job: Job, at: str) -> tuple[Job, str]:
    """The training that made a job's network, and which of its networks that is: another one where a lossy file holds it.

    Refused where these eyes do not see that training, or where it was deleted or run again and has left that file no longer.
    """
    if "network" not in job.spec:
        return job, TRAINED
    network = job.spec["network"]
    made_by = jobs.find(session, uuid.UUID(network["job"]))
    if made_by and sight.sees(session, eyes, made_by.project_id):
        for file in records.files(session, made_by.id):
            if file.sha256 == network["sha256"]:
                return made_by, file.about["exporter"] if exporter_of(file).lossy else TRAINED
    message = f"cannot be compared: the training that made the network of job {job.number} is gone"
    raise refused(at, message, network["job"], "a job whose network's training is there, with that network's file")


def check(methods: Sequence[Sequence[Entry]], key: str) -> None:
    """Refuse what would compare two different things. Each method has an entry."""
    entries = [one for method in methods for one in method]
    _check_numbers(methods)
    _check_twice(entries)
    _agree(entries, lambda one: _judging(one, key), "")
    if key == f"strict/{WORST_CASE}":
        _agree([one for one in entries if not one.random], _offered, "")
    for method in methods:
        _agree(method, lambda one: one.recipe, " of the same method, whose jobs should differ in the seed alone,")
        _check_seeds(method)


def _check_numbers(methods: Sequence[Sequence[Entry]]) -> None:
    if all(len(method) == 1 for method in methods):
        return
    for number, method in enumerate(methods):
        if len(method) < 3:
            raise refused(
                f"/methods/{number}/jobs",
                "cannot be compared as a method, and not every method is one network",
                f"{len(method)} job{'s' if len(method) > 1 else ''}",
                "at least three jobs of each method (a bootstrap over seeds and images), or one job of each (McNemar)",
            )


def _check_twice(entries: Sequence[Entry]) -> None:
    seen: set[uuid.UUID] = set()
    for one in entries:
        if one.job.id in seen:
            raise refused(one.at, f"job {one.job.number} is given twice", one.job.number, "each job once")
        seen.add(one.job.id)


def _check_seeds(method: Sequence[Entry]) -> None:
    for one, other in itertools.combinations(method, 2):
        if one.seed == other.seed:
            message = f"the network of job {other.job.number} has the seed of job {one.job.number}'s"
            raise refused(other.at, message, f"seed {other.seed}", "a seed of its own for each job of a method")


def _judging(one: Entry, key: str) -> Body:
    """Everything that has to be equal for two scores to be of the same question."""
    spec, evaluate = one.job.spec, one.job.spec["evaluate"]
    data = {
        name: value for name, value in spec["dataset"].items() if name not in Dataset.model_fields or name == "name"
    }
    attack = {
        name: value for name, value in one.score["attack"].items() if name != "images"
    }  # the score knows how many
    found = {"dataset": data, "images": one.score["images"], "threat": spec["threat"], "attack": attack}
    if one.score["protocol"] == "paper":
        return found | {"batch_size": evaluate["batch_size"]}
    found["strict"] = {name: evaluate["strict"].get(name) for name in RULES}
    worst = key == f"strict/{WORST_CASE}"
    return found | ({"strict attacks": _by_label(evaluate["strict"]["attacks"])} if worst else {})


def _offered(one: Entry) -> Body:
    """The paper's attacks, which on a network without noise count for the worst case too."""
    return {"paper attacks": _by_label(one.job.spec["evaluate"]["paper"]["attacks"])}


def _by_label(attacks: Sequence[Body]) -> dict[str, Body]:
    return {one["label"]: one for one in attacks}


def _agree(entries: Sequence[Entry], facts: Callable[[Entry], Body], about: str) -> None:
    """Refuse the first entry that differs from the first of all."""
    for one in entries[1:]:
        wanted, given = facts(entries[0]), facts(one)
        if where := differing(wanted, given):
            message = f"job {one.job.number} differs from job {entries[0].job.number}{about} in {where[1:]}"
            raise refused(one.at, message, _shown(given, where), _shown(wanted, where))


def _shown(document: Any, pointer: str) -> str:
    """A value of a document in short: of an object its keys."""
    for part in pointer.split("/")[1:]:
        document = document[part]
    return ", ".join(document) if isinstance(document, dict) else json.dumps(document)[:200]


def outcomes(session: Session, methods: Sequence[Sequence[Entry]]) -> tuple[Outcome, list[list[list[float]]]]:
    """What of each image is compared, and that: [method][seed][image], 0 or 1 or a share of draws."""
    known = [[_right(session, one) for one in method] for method in methods]
    if not any(one.random for method in methods for one in method):
        return "right_or_wrong", known
    if len(methods[0]) == 1:  # McNemar's test knows right and wrong alone
        return "right_in_half", known
    shares = [list(_shares(session, method)) for method in methods]
    if any(one is None for method in shares for one in method):
        return "right_in_half", known
    return "shares", [[one for one in method if one] for method in shares]


def _right(session: Session, one: Entry) -> list[float]:
    known = {(told["protocol"], told["label"]): told["survived"] for told in records.outcomes(session, one.job.id)}
    return [float(image == "1") for image in known[one.score["protocol"], one.score["label"]]]


def _shares(session: Session, method: Sequence[Entry]) -> Iterator[list[float] | None]:
    """Of each entry the shares of draws, image by image; None where its archive is not there."""
    for one in method:
        file = records.file(session, one.job.id, f"{TRAINED}-{one.score['label']}.npz") if one.random else None
        if one.random:
            yield witness.shares(file[0]) if file and file[0].is_file() else None
        else:
            yield _right(session, one)


def refused(at: str, message: str, got: Any, expected: str) -> Refused:
    """A comparison that is refused, with the one thing that is wrong with it."""
    problem = Problem(at, message, got, expected)
    return Refused(422, "not_comparable", f"These results are not compared. {problem}", (problem,))
