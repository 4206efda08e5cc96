"""Channel sparsity against lambda1, a line per network, mean and standard deviation over seeds: the thesis's Figures 4.3 and 4.4.

Only what may be compared is drawn together: the jobs differ in network, lambda1 and seed, and in nothing else that trains.
"""

import itertools
from collections.abc import Sequence
from typing import Any

from api.dashboard import titles
from api.dashboard.figures import mean
from api.errors import Refused
from api.figures import Caption, Figure, table
from store.tables import Job

RECIPE = ("dataset", "threat", "objective", "sparsifier", "train")
"""The parts of a specification in which the jobs agree, but for lambda1."""


def sparsity(asked: Sequence[Job]) -> Figure:
    """The figure of some jobs. Raises `Refused` (422) where one has no lambda1 or no network yet, or they differ elsewhere."""
    jobs = list({job.id: job for job in asked}.values())
    for job in jobs:
        _check(job, jobs[0])
    points: dict[tuple[str, float], list[Job]] = {}
    for job in sorted(jobs, key=_place):
        points.setdefault(_place(job)[:2], []).append(job)
    rows = [(*place, *_mean(found)) for place, found in points.items()]
    seeds = sorted({len(found) for found in points.values()})
    method = titles.method(jobs[0].spec["sparsifier"])
    words = f"{method} · mean ± std over n seeds, n {'–'.join(map(str, {seeds[0]: 0, seeds[-1]: 0}))}"
    caption = Caption("sparsity", "Channel sparsity against lambda1", words)
    facts = {"jobs": [str(job.id) for job in jobs], "sparsifier": jobs[0].spec["sparsifier"]["name"]}
    return Figure(caption, facts, table(("network", "lambda1", "mean", "std", "n"), rows))


def _place(job: Job) -> tuple[str, float, int]:
    return titles.network(job.spec["model"]), job.spec["sparsifier"]["lambda1"], job.seed


def _mean(jobs: Sequence[Job]) -> tuple[float, float | None, int]:
    """In per cent."""
    for one, other in itertools.pairwise(jobs):
        if where := differing(one.spec["model"], other.spec["model"]):
            raise _refused(other, f"has a model of the same name as job {one.number}, with another {where}")
        if one.seed == other.seed:
            raise _refused(other, f"repeats seed {one.seed} of job {one.number}: give one of the two")
    found = mean([100 * _share(job) for job in jobs])
    assert found, "a point has a job"
    return found.value, found.std, found.n


def _share(job: Job) -> float:
    """Dead among all input channels of the selected network."""
    dissected = job.last["dissected"]
    return float(dissected["dead"] / dissected["channels"])


def _check(job: Job, first: Job) -> None:
    """Whether a job can stand in one figure with the first."""
    if "sparsifier" not in job.spec:
        raise _refused(job, "is an evaluation, which trains nothing")
    if "lambda1" not in job.spec["sparsifier"]:
        raise _refused(job, f"has the sparsifier {job.spec['sparsifier']['name']}, which has no lambda1")
    if "dissected" not in job.last:
        raise _refused(job, "has no selected network whose channels were counted")
    where = differing(_recipe(first), _recipe(job))
    if where:
        raise _refused(
            job, f"differs from job {first.number} in {where}: give jobs that differ in model, lambda1 and seed"
        )


def _recipe(job: Job) -> dict[str, Any]:
    found = {part: job.spec[part] for part in RECIPE}
    return found | {"sparsifier": {**found["sparsifier"], "lambda1": None}}


def differing(one: Any, other: Any, path: str = "") -> str:
    """Where two documents first differ, as a pointer; empty where they are equal."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return next((where for key in one if (where := differing(one[key], other[key], f"{path}/{key}"))), "")
    return "" if one == other else path or "/"


def _refused(job: Job, why: str) -> Refused:
    return Refused(422, "not_comparable", f"Job {job.number} {why}.")
