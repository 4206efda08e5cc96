"""The wire shapes of presets: published tables, their rows, what was queued, and scorecards."""

import uuid
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from api.schemas import JobOut, Printable, Wire


class Preset(Wire):
    """A published table, or an example of one job, as lists show it."""

    id: str
    title: str
    source: str
    rows: list[str]
    """The table's rows, by what `run` calls them; empty for an example."""


class Presets(Wire):
    """All presets."""

    items: list[Preset]


class PresetRow(Wire):
    """A row of a published table."""

    id: str
    setting: str
    reported: dict[str, float]
    """In per cent, by column."""
    ranked: bool
    note: str | None
    configurations: dict[str, dict[str, Any]]
    """The resolved specification of each way to run it, at seed 1."""


class PresetDetail(Preset):
    """A preset, whole."""

    about: str
    columns: dict[str, dict[str, Any]]
    items: list[PresetRow]
    spec: dict[str, Any]
    """What all rows share; of an example, the job."""


class RunRows(Wire):
    """Which rows of a table are to be run, and how often."""

    model_config = ConfigDict(extra="forbid")

    rows: Annotated[list[Printable], Field(max_length=100)] | None = None
    """Rows by id, or by their place in the table, from 1; all rows if left out."""
    configurations: Annotated[list[Printable], Field(max_length=100)] | None = None
    """Only these ways to run them; all if left out."""
    replicates: Annotated[int, Field(ge=1, le=20)] = 1
    """Seeds of each: 1, 2, ..."""


class RowsQueued(Wire):
    """What `run` did: the jobs that it queued, and those that were there."""

    jobs: list[JobOut]
    present: list[uuid.UUID]


class CellOut(Wire):
    """A number of a published table and ours beside it, in per cent."""

    preset: str
    row: str
    setting: str
    metric: str
    title: str
    reported: float | None
    ours: float | None
    std: float | None
    n: int
    difference: float | None
    """Ours minus theirs, in percentage points."""
    eps: float | None
    comparable: str
    selected_on: str | None
    why: str | None
    judged: bool
    """Whether it gets a verdict once it is run."""
    verdict: str | None
    """beaten, met, undecided or missed; null where nothing was run or nothing compares."""
    row_verdict: str | None
    ranked: bool
    configuration: str | None
    images: int | None
    """Test images that ours was measured on."""
    collapsed: int
    """Runs whose clean accuracy stayed below twice chance: counted, never averaged."""
    jobs: list[str]
    """The jobs, or the shipped event logs, that ours rests on."""


class Scorecard(Wire):
    """A published table beside ours."""

    preset: str
    title: str
    source: str
    about: str
    cells: list[CellOut]
