"""The jobs page: a line for each job, the seeds of a submission gathered under their mean. Pure functions of rows."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from api.dashboard import figures, headline, titles
from api.dashboard.figures import Mean
from api.dashboard.headline import Accuracy
from store.tables import ENDED, STATES, Job

Row = tuple[Job, str, str]
"""A job, the name of its project, the name of its owner."""
Results = dict[uuid.UUID, list[dict[str, Any]]]
BUSIEST = ("running", "queued", "paused", "failed", "cancelled", "succeeded")
"""Whose state a group shows first."""


@dataclass(frozen=True)
class Line:
    """What a row shows of a job."""

    job: Job
    project: str
    owner: str
    sparsity: float | None
    clean: Accuracy | None
    robust: Accuracy | None
    """Of the paper's protocol, or provisional."""
    strict: Accuracy | None
    """The worst case of the strict protocol: never in one column with the other."""

    @property
    def state(self) -> str:
        """Its state."""
        return self.job.state

    @property
    def live(self) -> bool:
        """Whether the row may still change."""
        return self.job.state not in ENDED

    @property
    def doing(self) -> str:
        """The words under the state: where it is, how long it took, or why it is not running."""
        return doing(self.job)

    @property
    def share(self) -> float | None:
        """How much of its phase is done."""
        return share(self.job)

    @property
    def about(self) -> str:
        """Method and network; of an evaluation, the stored network."""
        if self.job.kind == "evaluate":
            return f"evaluation of {titles.stored(self.job.spec['network'])}"
        return f"{titles.method(self.job.spec['sparsifier'])} · {titles.network(self.job.spec['model'])}"

    @property
    def method(self) -> str:
        """The sparsifier's name; empty for an evaluation."""
        return str(self.job.spec.get("sparsifier", {}).get("name", ""))


@dataclass(frozen=True)
class Group:
    """The jobs of one submission that a page shows, by seed; mostly one."""

    lines: tuple[Line, ...]

    @property
    def id(self) -> uuid.UUID:
        """What they share."""
        return self.first.job.group_id

    @property
    def first(self) -> Line:
        """The one whose name and settings stand for all."""
        return self.lines[0]

    @property
    def several(self) -> bool:
        """Whether there is a mean to show."""
        return len(self.lines) > 1

    @property
    def numbers(self) -> str:
        """#4 or #4–6."""
        numbers = [line.job.number for line in self.lines]
        return f"#{min(numbers)}" + (f"–{max(numbers)}" if len(numbers) > 1 else "")

    @property
    def state(self) -> str:
        """The busiest state among them."""
        return min((line.state for line in self.lines), key=BUSIEST.index)

    @property
    def doing(self) -> str:
        """The states of all where they differ; else what the only one, or the first, is doing."""
        states = [line.state for line in self.lines]
        if len(set(states)) > 1:
            return " · ".join(f"{states.count(state)} {state}" for state in BUSIEST if state in states)
        return self.first.doing if self.state != "succeeded" else f"{len(states)} seeds"

    @property
    def share(self) -> float | None:
        """How far the seeds are on the whole: those that have ended count as done."""
        if self.state != "running":
            return None
        return sum(1.0 if line.state in ENDED else line.share or 0.0 for line in self.lines) / len(self.lines)

    @property
    def trust(self) -> str:
        """The worst verdict; passed only if all have passed."""
        found = {line.job.trust for line in self.lines}
        return next(word for word in ("failed", "warnings", "unaudited", "passed") if word in found)

    @property
    def sparsity(self) -> Mean | None:
        """Over the seeds."""
        return figures.mean(line.sparsity for line in self.lines)

    @property
    def clean(self) -> Mean | None:
        """Over the seeds: of the test set, as soon as one seed has it."""
        return figures.mean(one.share for one in comparable(line.clean for line in self.lines))

    @property
    def robust(self) -> Mean | None:
        """Over the seeds: of the test set, as soon as one seed has it."""
        return figures.mean(one.share for one in comparable(line.robust for line in self.lines))

    @property
    def strict(self) -> Mean | None:
        """Over the seeds."""
        return figures.mean(line.strict.share for line in self.lines if line.strict)

    @property
    def provisional(self) -> bool:
        """Whether the robust figure is one of the validation split."""
        return all(line.robust is None or line.robust.provisional for line in self.lines)


def comparable(found: Iterable[Accuracy | None]) -> list[Accuracy]:
    """Those of one protocol: figures of the test set where there are any, else those of the validation split."""
    known = [one for one in found if one]
    return [one for one in known if not one.provisional] or known


def line(row: Row, results: Results) -> Line:
    """The line of a job."""
    job, project, owner = row
    scored = results.get(job.id, [])
    return Line(
        job,
        project,
        owner,
        job.last.get("channel_sparsity"),
        headline.clean(scored, job.last, job.spec),
        headline.robust(scored, job.last, job.spec),
        headline.strict(scored),
    )


def groups(rows: Iterable[Row], results: Results) -> list[Group]:
    """The lines of a page, newest submission first, the seeds of each in order."""
    gathered = groupby(rows, key=lambda row: row[0].group_id)
    lines = [sorted((line(row, results) for row in some), key=lambda one: one.job.seed) for _, some in gathered]
    return [Group(tuple(some)) for some in lines]


def whole_groups(rows: Sequence[Row], least: int) -> tuple[Sequence[Row], bool]:
    """The first `least` rows and those after them of the same submission; and whether more follow."""
    end = least
    while 0 < end < len(rows) and rows[end][0].group_id == rows[end - 1][0].group_id:
        end += 1
    return rows[:end], end < len(rows)


def doing(job: Job) -> str:
    """The words under a job's state."""
    if job.state == "running":
        if job.wish == "cancel":
            return "is being cancelled"
        return f"{job.progress['phase']} · {job.progress['text']}" if job.progress else "starting"
    if job.state == "succeeded":
        return figures.span(seconds(job, job.ended_at))
    epoch = f"epoch {job.last['epoch']}/{job.last['epochs']}" if "epoch" in job.last else ""
    return " · ".join(filter(None, (job.reason, epoch)))


def share(job: Job) -> float | None:
    """How much of its phase a running job has done."""
    if job.state != "running" or not job.progress:
        return None
    return float(job.progress["done"] / job.progress["total"]) if job.progress["total"] else 0.0


def seconds(job: Job, until: datetime | None) -> float | None:
    """How long a job has been running."""
    return (until - job.started_at).total_seconds() if job.started_at and until else None


def facets(counts: dict[str, int], chosen: Iterable[str]) -> list[tuple[str, int, bool]]:
    """Each state, how many jobs match in it, and whether it is ticked."""
    ticked = set(chosen)
    return [(state, counts.get(state, 0), state in ticked) for state in STATES]
