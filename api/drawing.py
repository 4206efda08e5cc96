"""A figure's values drawn as SVG, PDF or PNG: the same values give the same bytes.

One function a kind of chart. Colours are the dashboard's (static/tokens.css); a job's bars and lines have its method's.
"""

import io
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from api.figures import Figure

Format = Literal["svg", "pdf", "png"]
Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")
NO_DATES: dict[Format, dict[str, None]] = {
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
    "png": {"Software": None},
}
TOKEN = re.compile(r"--([\w-]+):\s*light-dark\((#\w{6}), (#\w{6})\)")
TOKENS: dict[str, dict[Theme, str]] = {
    name: dict(zip(THEMES, colours, strict=True))
    for name, *colours in TOKEN.findall((Path(__file__).parent / "dashboard/static/tokens.css").read_text())
}
DASHES, MARKERS = ("-", "--", "-.", ":"), ("o", "s", "^", "v", "D", "P")
WIDTH, DPI = 6.4, 160
ONE_AT_A_TIME = threading.Lock()
"""Text and fonts are shared within matplotlib, whose authors do not promise that threads may draw at once."""

matplotlib.rcParams.update(
    {
        "svg.hashsalt": "sparring",
        "svg.fonttype": "path",
        "pdf.fonttype": 42,
        "font.family": "DejaVu Sans",
        "font.size": 9,
    }
)


class Ink:
    """The colours of a theme, for a method."""

    def __init__(self, theme: Theme, method: str) -> None:
        self.theme = theme
        self.method = self(f"m-{method}" if f"m-{method}" in TOKENS else "text")

    def __call__(self, token: str) -> str:
        """A design token's colour."""
        return TOKENS[token][self.theme]


def draw(figure: Figure, form: Format, theme: Theme = "light", method: str = "") -> bytes:
    """The figure as a file."""
    out = io.BytesIO()
    with ONE_AT_A_TIME:
        canvas = drawn(figure, Ink(theme, method))
        canvas.savefig(out, format=form, dpi=DPI, metadata=NO_DATES[form])
    return out.getvalue()


def drawn(figure: Figure, ink: Ink) -> Canvas:
    """The figure on its ground, with its numbers in words above."""
    kind = KINDS[figure.caption.figure]
    canvas = Canvas(
        (WIDTH, 0.92 * WIDTH if kind is picture else WIDTH / 2), layout="constrained", facecolor=ink("surface")
    )
    FigureCanvasAgg(canvas)
    canvas.suptitle(figure.caption.words, x=0.01, ha="left", fontsize=9, color=ink("muted"))
    kind(canvas, figure, ink)
    return canvas


def plain(axes: Axes, ink: Ink, x: str, y: str) -> None:
    """Faint horizontal grid lines, no frame, at most five steps, the units at the axes."""
    axes.set_facecolor(ink("surface"))
    axes.set_frame_on(False)
    axes.grid(axis="y", color=ink("line"), linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=ink("muted"))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4))
        axis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
    axes.set_xlabel(x, color=ink("muted"))
    axes.set_ylabel(y, color=ink("muted"))


def histogram(canvas: Canvas, figure: Figure, ink: Ink) -> None:
    """Bars over the weights' values, in per cent of all weights."""
    axes, columns = canvas.subplots(), figure.columns
    axes.stairs(columns["percent"], [*columns["low"], columns["high"][-1]], fill=True, color=ink.method)
    plain(axes, ink, "value, exact zeros left out", "% of weights")


def picture(canvas: Canvas, figure: Figure, ink: Ink) -> None:
    """A tile for each filter (down) and input channel (across); what is exactly zero fades into the ground."""
    filters, channels, height, width = figure.facts["shown"]
    weights = np.asarray(figure.columns["weight"]).reshape(filters, channels, height, width)
    tiles = np.pad(weights, ((0, 0), (0, 0), (0, 1), (0, 1))).swapaxes(1, 2)
    tiles = tiles.reshape(filters * (height + 1), channels * (width + 1))[:-1, :-1]
    colours = LinearSegmentedColormap.from_list("signed", [ink("div-neg"), ink("div-mid"), ink("div-pos")])
    axes, most = canvas.subplots(), np.abs(weights).max() or 1.0
    image = axes.imshow(np.ma.masked_equal(tiles, 0), colours, vmin=-most, vmax=most, interpolation="none")
    of = figure.facts["shape"]
    plain(axes, ink, f"input channels, {channels} of {of[1]}", f"filters, {filters} of {of[0]}")
    axes.grid(visible=False)
    axes.set(xticks=[], yticks=[])
    bar = canvas.colorbar(image, ax=axes, shrink=0.5, aspect=30, ticks=MaxNLocator(4))
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelcolor=ink("muted"))


def norms(canvas: Canvas, figure: Figure, ink: Ink) -> None:
    """Bars over the channels' norms, whole and close to zero; the channels at zero stand faint beside them."""
    rows = list(zip(*figure.columns.values(), strict=True))
    for axes, view in zip(canvas.subplots(1, 2), ("whole", "close"), strict=True):
        bars = [row[1:] for row in rows if row[0] == view]
        width = bars[0][1]
        axes.stairs([bar[2] for bar in bars], [bar[0] for bar in bars] + [bars[-1][1]], fill=True, color=ink.method)
        axes.stairs([figure.facts["zeros"]], [-2 * width, -width / 2], fill=True, color=ink("edge"))
        plain(axes, ink, {"whole": "norm", "close": "norm, close to zero"}[view] + " (grey: exactly zero)", "channels")
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))


def lines(canvas: Canvas, figure: Figure, ink: Ink) -> None:
    """A line a network through its means, each with its standard deviation and its n."""
    axes = canvas.subplots()
    rows = list(zip(*figure.columns.values(), strict=True))
    for number, network in enumerate(dict.fromkeys(figure.columns["network"])):
        mine: list[Any] = [row[1:] for row in rows if row[0] == network]
        x, y, std, seeds = zip(*mine, strict=True)
        look: dict[str, Any] = {"ls": DASHES[number % len(DASHES)], "marker": MARKERS[number % len(MARKERS)]}
        axes.errorbar(x, y, [one or 0 for one in std], capsize=3, color=ink.method, label=network, **look)
        for place, value, n in zip(x, y, seeds, strict=True):
            axes.annotate(
                f"n {n}", (place, value), (4, -10), textcoords="offset points", fontsize=7, color=ink("faint")
            )
    plain(axes, ink, "lambda1", "% of input channels exactly zero")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, labelcolor=ink("text"))


KINDS: dict[str, Callable[[Canvas, Figure, Ink], None]] = {
    "weights": histogram,
    "layer": picture,
    "layer_weights": histogram,
    "channel_norms": norms,
    "sparsity": lines,
}
