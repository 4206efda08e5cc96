"""Published tables as specifications: the rows of a table, what was reported of each, and the jobs that would repeat it.

A preset is a document of JSON values. Its `spec` is what all rows share; a row changes some of it, and a row's configurations
change it further: `published` is what the source says it did, others are ours. A job counts for a row because it computes
exactly what the row asks for (the digest of its specification), whoever submitted it and under whatever name.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from core.errors import InvalidSpec, Problem
from core.family import Exact, Settings
from core.spec import JobSpec, Name, parse

MOST_SEEDS = 20
"""A row's jobs have the seeds 1, 2, ... up to here."""

Comparable = Literal["yes", "no", "settings ours"]
Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Percent = Annotated[float, Field(ge=0, le=100)]


class Column(Settings):
    """A column of a table: which of our figures stands beside it, and whether the two can be compared."""

    title: str
    """The source's name of it."""
    metric: Key
    """Ours: `clean`, the label of an attack, `channel_sparsity`, `weight_sparsity` or `all_weight_sparsity`."""
    eps: Exact | None = None
    """Radius of the attack whose accuracy was reported, in pixel units of [0, 1]."""
    comparable: Comparable = "yes"
    """Whether the two numbers mean the same; `settings ours` where the source does not say how it attacked."""
    selected_on: Literal["test", "validation"] | None = None
    """Where the source chose the epoch that it reports; none where it says nothing, or where the table is ours."""
    decimals: Annotated[int, Field(ge=0, le=6)] = 2
    """Digits after the point that the source prints."""
    why: str | None = None
    """Why they cannot be compared."""

    @property
    def is_sparsity(self) -> bool:
        """Whether it is no accuracy."""
        return self.metric.endswith("_sparsity")


class Row(Settings):
    """A row of a table."""

    id: Key
    """What `--rows` calls it."""
    setting: str
    """What it is, in the source's words."""
    reported: dict[Key, Percent] = Field(default_factory=dict)
    """The published numbers, in per cent, by column."""
    ranked: bool = True
    """False for a baseline known to be faulty: shown, never ranked."""
    note: str | None = None
    """What the reader should know of these numbers."""
    spec: dict[str, Any] = Field(default_factory=dict)
    """What the row changes of the table's specification."""
    configurations: dict[Key, dict[str, Any]] = {"published": {}}  # noqa: RUF012 (pydantic copies it)
    """Ways to run it, by name: what each changes of the row's specification."""


class Planned(NamedTuple):
    """A job that a row asks for."""

    row: str
    configuration: str
    seed: int
    spec: JobSpec


class Preset(Settings):
    """A published table, or a set of experiments of ours."""

    title: str
    """What it shows."""
    source: str
    """Where it is from: author, year, table."""
    about: str = ""
    """What stands in no cell: inconsistencies of the source, what cannot be compared and why."""
    columns: dict[Key, Column]
    """The columns, by their key in `reported`."""
    spec: dict[str, Any]
    """What all rows share."""
    rows: Annotated[tuple[Row, ...], Field(min_length=1, max_length=100)]
    """The rows, in the source's order."""

    @cached_property
    def jobs(self) -> dict[tuple[str, str], JobSpec]:
        """The job of each row and configuration, at seed 1; raises `InvalidSpec`, its pointers below row and configuration."""
        found = {}
        for row in self.rows:
            for name, changes in row.configurations.items():
                document = merged(merged(self.spec, row.spec), changes)
                found[row.id, name] = _training(document, f"/rows/{row.id}/{name}")
        return found

    def planned(self, seeds: int, rows: frozenset[str] | None = None) -> Iterator[Planned]:
        """The jobs of some rows (all if None) at the seeds 1 to `seeds`, seed by seed: one of each comes first."""
        for seed in range(1, seeds + 1):
            for (row, configuration), job in self.jobs.items():
                if rows is None or row in rows:
                    yield Planned(row, configuration, seed, job.model_copy(update={"seed": seed, "replicates": 1}))

    @cached_property
    def digests(self) -> dict[str, Planned]:
        """Which row, configuration and seed a job belongs to, by the digest of what it computes."""
        return {planned.spec.digest: planned for planned in self.planned(MOST_SEEDS)}


def _training(document: dict[str, Any], at: str) -> JobSpec:
    job = parse(document, at)
    if not isinstance(job, JobSpec):
        raise InvalidSpec((Problem(f"{at}/kind", "trains nothing, so that it is no row", job.kind, "train"),))
    return job


def named(preset: str, planned: Planned) -> JobSpec:
    """The job under a name that people recognise."""
    name: Name = f"{preset}-{planned.row}" + (
        "" if planned.configuration == "published" else f"-{planned.configuration}"
    )
    return planned.spec.model_copy(update={"name": name, "project": preset})


def merged(base: Any, changes: Any) -> Any:
    """`base` with `changes`: objects key by key, but a member of another name replaces the old one whole."""
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    if changes.get("name", base.get("name")) != base.get("name"):
        return changes
    return base | {key: merged(base.get(key), value) for key, value in changes.items()}
