"""The figures of a job's epochs as columns, thinned out, for the charts of its page. Pure functions."""

from collections.abc import Iterator, Sequence
from typing import Any

from api.dashboard import headline, jobpage
from store.tables import Epoch, Job

POINTS = 1000
"""Most points of a curve."""
COLUMNS = 200
"""Most columns of the picture of living channels."""
Column = list[float | None]


def curves(epochs: Sequence[Epoch], job: Job) -> dict[str, Any]:
    """What the charts are drawn from: x, a column for each figure, and the epochs worth a mark."""
    names = sorted({name for epoch in epochs for name in epoch.values})
    columns = {name: [epoch.values.get(name) for epoch in epochs] for name in names}
    x, thin = thinned([epoch.epoch for epoch in epochs], columns, POINTS)
    train, select = job.spec.get("train"), headline.selection(job.spec)
    return {
        "epochs": train["epochs"] if train else 0,
        "x": x,
        "values": {name: [rounded(value) for value in column] for name, column in thin.items()},
        "metric": select["metric"] if select else None,
        "best": best(epochs, job.last),
        "overfit": jobpage.overfit(job),
        "drops": drops(train) if train else [],
        "heat": heat(epochs),
    }


def rounded(value: float | None) -> float | None:
    """Five figures are enough for a picture."""
    return None if value is None else float(f"{value:.5g}")


def best(epochs: Sequence[Epoch], last: dict[str, Any]) -> int | None:
    """The chosen epoch, or the best so far."""
    chosen = (last.get("selected") or {}).get("epoch")
    return chosen or next((epoch.epoch for epoch in reversed(epochs) if epoch.best), None)


def drops(train: dict[str, Any]) -> list[int]:
    """The epochs after which the rate falls in a step."""
    schedule = train["schedule"]
    return [e for e in schedule.get("milestones", ()) if e < train["epochs"]] if schedule["name"] == "multistep" else []


def heat(epochs: Sequence[Epoch]) -> dict[str, Any]:
    """Living input channels, layer by epoch: some epochs evenly, the last among them."""
    some = [epochs[i] for i in evenly(len(epochs), COLUMNS)]
    layers = [{"name": layer["layer"], "total": layer["total"]} for layer in (some[-1].layers if some else [])]
    alive = [[layer["alive"] for layer in epoch.layers] for epoch in some]
    return {"x": [epoch.epoch for epoch in some], "layers": layers, "alive": alive}


def evenly(length: int, most: int) -> list[int]:
    """Indices of at most `most` items of a list, the last always among them."""
    step = -(-length // most) or 1
    return list(range(length - 1, -1, -step))[::-1]


def thinned(x: list[int], columns: dict[str, Column], most: int) -> tuple[list[int], dict[str, Column]]:
    """The same curves in at most `most` points: of each bucket of epochs every curve keeps its least and its greatest.

    The last point is kept as it is: its values are what the legend shows.
    """
    if len(x) <= most:
        return x, columns
    buckets = list(bucketed(len(x) - 1, most // 2 - 1))
    places = [x[i] for start, end in buckets for i in (start, end - 1)] + [x[-1]]
    return places, {name: [*_extremes(column, buckets), column[-1]] for name, column in columns.items()}


def bucketed(length: int, most: int) -> Iterator[tuple[int, int]]:
    """At most `most` ranges of two or more that cover 0 ... length."""
    step = max(2, -(-length // most))
    for start in range(0, length - 1, step):
        end = start + step
        yield start, length if end >= length - 1 else end


def _extremes(column: Column, buckets: Sequence[tuple[int, int]]) -> Column:
    kept: Column = []
    for start, end in buckets:
        known = [(value, i) for i, value in enumerate(column[start:end]) if value is not None]
        pair = sorted((min(known), max(known)), key=lambda one: one[1]) if known else []
        kept += [value for value, _ in pair] or [None, None]
    return kept


def steps(values: Sequence[float], epochs: int) -> dict[str, Any]:
    """A step-by-step figure over the epochs done so far; each value stands in the middle of what it covers."""
    n = len(values)
    return {"x": [rounded((i + 0.5) / n * epochs) for i in range(n)], "y": [rounded(value) for value in values]}
