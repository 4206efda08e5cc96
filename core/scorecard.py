"""A published table beside our runs of it: mean, standard deviation, n, and a verdict that follows from them.

Of a cell, in percentage points, with the one-sided 95 % bounds of Student's t over seeds:

    beaten      the lower bound of the mean is at least what was reported (two seeds or more)
    met         the mean is at least reported - 1.0
    missed      neither, and even the upper bound stays below what `met` asks for
    undecided   otherwise

A sparsity must reach what was reported for both, but for half a unit of the last digit that the source prints; a reported
sparsity of 0 asks for nothing and gets no verdict. With one seed there is no bound over seeds; then the upper bound is that
of the share of images (Wilson). A row is as good as its worst comparable cell. Of several configurations the one counts that
validation chooses: among those that reach the row's sparsity the best selection metric, those with fewer collapsed runs
first. The test set has no say in that.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from scipy import stats

from core.intervals import wilson
from core.presets import Column, Preset, Row

Verdict = Literal["beaten", "met", "undecided", "missed"]
ORDER: tuple[Verdict, ...] = ("missed", "undecided", "met", "beaten")
TOLERANCE = 1.0
"""Percentage points of accuracy that a mean may fall short and the number still count as met."""


@dataclass(frozen=True)
class Outcome:
    """What one finished run of a row gave: figures in per cent, and on how many images each was measured."""

    row: str
    configuration: str
    seed: int
    source: str
    """The job's id, or the file of its record."""
    validation: float
    """The metric by which the run chose its epoch, on validation images; -1 where nothing was chosen."""
    values: dict[str, float]
    images: dict[str, int]
    chance: float
    """The accuracy of guessing, in per cent."""

    @property
    def collapsed(self) -> bool:
        """Whether training failed: it diverged, or clean accuracy is below twice chance. Counted, never averaged."""
        return self.values.get("clean", 0.0) < 2 * self.chance


def outcome(
    key: tuple[str, str, int],
    source: str,
    classes: int,
    scored: Iterable[dict[str, Any]],
    compacted: dict[str, Any] | None,
    selected: dict[str, Any] | None,
) -> Outcome:
    """The outcome of a run from the bodies of its events; `key` is (row, configuration, seed). Of the trained network alone:
    what a lossy export was scored with stands beside it, and is no row's.
    """
    scores = [body for body in scored if (body["protocol"], body.get("network", "trained")) == ("paper", "trained")]
    values = {body["label"]: 100 * body["accuracy"] for body in scores}
    values |= {name: 100 * share for name, share in (compacted or {}).items() if name.endswith("_sparsity")}
    images = {body["label"]: body["images"] for body in scores}
    validation = selected["best"] if selected else -1.0
    return Outcome(*key, source, validation, values, images, 100 / classes)


class Summary(NamedTuple):
    """Several seeds in three numbers: mean, sample standard deviation (None for one) and how many."""

    mean: float
    std: float | None
    n: int

    def bound(self, side: Literal[-1, 1]) -> float | None:
        """The one-sided 95 % bound of the mean, below or above; None for one seed."""
        if self.std is None:
            return None
        return self.mean + side * float(stats.t.ppf(0.95, self.n - 1)) * self.std / math.sqrt(self.n)


def summary(values: Sequence[float]) -> Summary:
    """Mean, standard deviation, n."""
    return Summary(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


@dataclass(frozen=True)
class Cell:
    """A number of the table and ours beside it, in per cent. `verdict` is None where nothing was run or nothing compares."""

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
    eps: float | None
    comparable: str
    selected_on: str | None
    why: str | None
    judged: bool
    """Whether it gets a verdict once it is run."""
    verdict: Verdict | None
    row_verdict: Verdict | None
    ranked: bool
    configuration: str | None
    images: int | None
    collapsed: int
    jobs: list[str]


def scorecard(name: str, preset: Preset, outcomes: Sequence[Outcome]) -> list[Cell]:
    """Every cell of the table, row by row: where numbers were reported those cells, and whatever else we have measured."""
    return [cell for row in preset.rows for cell in _row(name, preset, row, outcomes)]


def _row(name: str, preset: Preset, row: Row, outcomes: Sequence[Outcome]) -> list[Cell]:
    chosen = choose(preset, row, [one for one in outcomes if one.row == row.id])
    good = [one for one in chosen if not one.collapsed]
    judged = {key: _judge(column, row.reported.get(key), good) for key, column in preset.columns.items()}
    counted = [verdict for key, verdict in judged.items() if _counts(preset.columns[key], row, key)]
    complete = bool(counted) and None not in counted
    overall = min((v for v in counted if v), key=ORDER.index) if complete else None
    cells = []
    for key, column in preset.columns.items():
        ours = [one.values[column.metric] for one in good if column.metric in one.values]
        if row.reported and key not in row.reported and not ours:
            continue
        found, reported = (summary(ours) if ours else None), row.reported.get(key)
        cells.append(
            Cell(
                preset=name,
                row=row.id,
                setting=row.setting,
                metric=key,
                title=column.title,
                reported=reported,
                ours=found.mean if found else None,
                std=found.std if found else None,
                n=found.n if found else 0,
                difference=found.mean - reported if found and reported is not None else None,
                eps=float(column.eps) if column.eps is not None else None,
                comparable=column.comparable if row.ranked else "no",
                selected_on=column.selected_on,
                why=column.why if row.ranked else row.note,
                verdict=judged[key] if _counts(column, row, key) else None,
                judged=_counts(column, row, key),
                row_verdict=overall,
                ranked=row.ranked,
                configuration=chosen[0].configuration if chosen else None,
                images=min((one.images[column.metric] for one in good if column.metric in one.images), default=None),
                collapsed=len(chosen) - len(good),
                jobs=[one.source for one in chosen],
            )
        )
    return cells


def _counts(column: Column, row: Row, key: str) -> bool:
    asks = row.reported.get(key, 0.0) > 0 or not column.is_sparsity
    return row.ranked and column.comparable == "yes" and key in row.reported and asks


def choose(preset: Preset, row: Row, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The runs of the configuration that validation prefers, by seed; none where the row was never run."""
    by_name: dict[str, list[Outcome]] = {}
    for one in sorted(outcomes, key=lambda one: one.seed):
        by_name.setdefault(one.configuration, []).append(one)

    def preference(runs: list[Outcome]) -> tuple[bool, float, float]:
        good = [one for one in runs if not one.collapsed]
        enough = bool(good) and all(_sparse_enough(column, row, key, good) for key, column in preset.columns.items())
        return enough, len(good) / len(runs), statistics.fmean(one.validation for one in good) if good else -1.0

    return max(by_name.values(), key=preference, default=[])


def _sparse_enough(column: Column, row: Row, key: str, runs: Sequence[Outcome]) -> bool:
    if not column.is_sparsity or key not in row.reported:
        return True
    return summary([one.values.get(column.metric, 0.0) for one in runs]).mean >= _floor(column, row.reported[key])


def _floor(column: Column, reported: float) -> float:
    """What a mean must reach to be `met`. A printed share is rounded, so half a unit of its last digit is no shortfall."""
    return reported - (0.5 * 10.0**-column.decimals if column.is_sparsity else TOLERANCE)


def _judge(column: Column, reported: float | None, runs: Sequence[Outcome]) -> Verdict | None:
    values = [one.values[column.metric] for one in runs if column.metric in one.values]
    if reported is None or not values:
        return None
    found, floor = summary(values), _floor(column, reported)
    low, high = found.bound(-1), found.bound(1)
    if found.mean >= floor:
        goal = floor if column.is_sparsity else reported
        return "beaten" if low is not None and low >= goal else "met"
    if high is None:
        high = _wilson_upper(runs[0], column)
    return "missed" if high < floor else "undecided"


def _wilson_upper(run: Outcome, column: Column) -> float:
    """The upper end of one run's interval over images; a sparsity is counted, so it has none."""
    value, images = run.values[column.metric], run.images.get(column.metric)
    return 100 * wilson(round(value / 100 * images), images).high if images else value
