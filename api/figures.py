"""The thesis's figures of a job's weights as values: a page, a file and JSON show these numbers and no others.

Figures 1.2 (`weights`), 4.1 (`layer`), 4.2 (`layer_weights`) and 4.5 (`channel_norms`), from the anatomy that the run left
(core/anatomy.py). Bars count what is not exactly zero; the zeros have a number of their own. The close-up of Figure 4.5
reaches to 1e-3 rather than 2e-7, so that it shows every channel that is nearly dead. Pure functions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from api.dashboard.figures import count, percent
from core.anatomy import SMALL, Anatomy, Histogram

Name = Literal["weights", "layer", "layer_weights", "channel_norms"]
NAMES: tuple[Name, ...] = get_args(Name)
Format = Literal["json", "csv", "svg", "pdf", "png"]
FORMATS: tuple[Format, ...] = get_args(Format)
BARS = 50
"""Of each view of the channel norms."""


@dataclass(frozen=True)
class Caption:
    """What a figure shows, and its numbers in words, n among them."""

    figure: str
    title: str
    words: str


@dataclass(frozen=True)
class Figure:
    """A figure: its caption, its plain numbers, and the columns that are drawn, all of one length."""

    caption: Caption
    facts: dict[str, Any]
    columns: dict[str, list[Any]]


def captions(dissected: dict[str, Any]) -> list[Caption]:
    """The figures of a job, given its `dissected` event."""
    layer, n, of_layer = dissected["layer"], dissected["weights"], dissected["layer_weights"]
    zero, zero_in_layer = _zeros(dissected["zeros"], n), _zeros(dissected["layer_zeros"], of_layer)
    small = f"{percent(dissected['small'] / n)} % below {SMALL:g} in magnitude"
    channels = f"n {count(dissected['channels'])} · zeros {count(dissected['dead'])}"
    return [
        Caption("weights", "Weights of all convolutions", f"n {count(n)} · {small} · {zero}"),
        Caption("layer", f"Weights of {layer}", f"n {count(of_layer)} · {zero_in_layer}"),
        Caption("layer_weights", f"Histogram of {layer}", f"n {count(of_layer)} · {zero_in_layer}"),
        Caption("channel_norms", "Norms of input channels, all convolutions", channels),
    ]


def _zeros(zeros: int, of: int) -> str:
    return f"{percent(zeros / of)} % exactly zero"


def absent(last: dict[str, Any], ended: bool) -> str:
    """Why a job has no figures, given its newest figures and whether it has ended."""
    if not ended:
        return "Histograms of weights and of channel norms and a picture of a layer come when training has chosen its network."
    if "selected" not in last:
        return "The job ended before training chose its network."
    return "The job ran before Sparring kept its network's weights, or the network has no convolution."


def figure(name: Name, dissected: dict[str, Any], anatomy: Anatomy) -> Figure:
    """One of a job's figures."""
    caption = next(caption for caption in captions(dissected) if caption.figure == name)
    return MADE[name](caption, anatomy)


def _weights(caption: Caption, anatomy: Anatomy) -> Figure:
    return _histogram(caption, anatomy.weights)


def _layer_weights(caption: Caption, anatomy: Anatomy) -> Figure:
    return _histogram(caption, anatomy.layer(anatomy.picture.layer).weights)


def _histogram(caption: Caption, found: Histogram) -> Figure:
    edges, shares = found.edges, [100 * number / found.n for number in found.counts]
    columns: dict[str, list[Any]] = {"low": edges[:-1], "high": edges[1:], "weights": found.counts, "percent": shares}
    return Figure(caption, {"n": found.n, "zeros": found.zeros, "below_0.001": found.small}, columns)


def _layer(caption: Caption, anatomy: Anatomy) -> Figure:
    """The weights in their order: filter, input channel, row, column."""
    values = np.asarray(anatomy.picture.values)
    places = np.indices(values.shape).reshape(4, -1).tolist()
    columns = dict(zip(("filter", "channel", "row", "column"), places, strict=True))
    facts = {
        "layer": anatomy.picture.layer,
        "shape": anatomy.layer(anatomy.picture.layer).shape,
        "shown": list(values.shape),
    }
    return Figure(caption, facts, columns | {"weight": values.ravel().tolist()})


def _channel_norms(caption: Caption, anatomy: Anatomy) -> Figure:
    """A row for the zeros, then the bars of the whole and of the close-up."""
    norms = [norm for norm in anatomy.norms if norm > 0]
    rows: list[tuple[str, float, float, int]] = [("zero", 0.0, 0.0, anatomy.norms.count(0))]
    for view, end in (("whole", max(norms, default=1.0)), ("close", SMALL)):
        counts, edges = np.histogram(norms, BARS, (0, end))
        ends = edges.tolist()
        rows += zip([view] * BARS, ends[:-1], ends[1:], counts.tolist(), strict=True)
    facts = {"n": len(anatomy.norms), "zeros": rows[0][3], "below_0.001": sum(norm < SMALL for norm in anatomy.norms)}
    return Figure(caption, facts, table(("view", "low", "high", "channels"), rows))


MADE: dict[Name, Callable[[Caption, Anatomy], Figure]] = {
    "weights": _weights,
    "layer": _layer,
    "layer_weights": _layer_weights,
    "channel_norms": _channel_norms,
}


def table(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
    """Rows as columns."""
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}
