"""What the Robustness tab shows of the strict protocol: its table, accuracy against the radius, broken images. Pure functions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from api.archives import Worst
from api.dashboard import figures, jobpage, titles
from api.dashboard.figures import Scale, percent
from api.dashboard.jobpage import AttackRow
from api.evaluations import Curve, Sample
from core.events import TRAINED, WORST_CASE
from store.tables import Artifact

PICTURES = 6
"""Broken images that are shown."""
HEIGHT = 200
"""Of the drawing of a curve, in pixels."""


@dataclass(frozen=True)
class StrictRow:
    """A line of the strict table: what every row of attacks has, the draws, and the archive that the number rests on."""

    attack: AttackRow
    worst: bool
    eot: str
    draws: str
    always: str
    archive: str | None


def strict(results: Sequence[dict[str, Any]], files: Iterable[Artifact], threat: dict[str, Any]) -> list[StrictRow]:
    """The strict table, in the order of the specification; the worst case of all attacks is last."""
    named = {file.name for file in files}
    some = [body for body in results if body["protocol"] == "strict"]
    return [_row(row, body, named, threat) for row, body in zip(jobpage.attacks(some, "strict"), some, strict=True)]


def _row(row: AttackRow, body: dict[str, Any], named: set[str], threat: dict[str, Any]) -> StrictRow:
    worst, archive = body["label"] == WORST_CASE, f"{TRAINED}-{body['label']}.npz"
    return StrictRow(
        attack=AttackRow(**vars(row) | {"eps": titles.radius(threat["eps"])}) if worst else row,
        worst=worst,
        eot=str(body["eot"]) if body["attack"] else figures.MISSING,
        draws=f"{body['selection_draws']} / {body['draws']}" if body["selection_draws"] else str(body["draws"]),
        always=percent(body["always"]),
        archive=archive if archive in named else None,
    )


def is_random(results: Sequence[dict[str, Any]]) -> bool:
    """Whether the network draws: then how often an image is right in every draw is told."""
    return any(body.get("always") is not None for body in results)


# ---- accuracy against the radius


@dataclass(frozen=True)
class Dot:
    """A point of a curve: its radius and share, and its place, in per cent of the width and in pixels."""

    eps: str
    label: str
    share: float
    low: float
    high: float
    x: float
    y: float
    top: float
    bottom: float


@dataclass(frozen=True)
class Drawn:
    """A curve with its axis: from radius 0 to the largest, from 0 to 100 per cent."""

    title: str
    words: str
    dots: list[Dot]


def drawn(curves: Iterable[Curve], protocol: str) -> list[Drawn]:
    """The curves of one protocol."""
    return [_drawn(curve) for curve in curves if curve.protocol == protocol]


def _drawn(curve: Curve) -> Drawn:
    axis = Scale(0, max(point.eps for point in curve.points))
    name = " ".join(titles.ATTACKS.get(part, part) for part in curve.attack.split("-")) + f"-{curve.steps}"
    words = f"{titles.NORMS.get(curve.norm, curve.norm)} · {figures.count(curve.images)} images"
    if curve.draws > 1:
        words += f" · {curve.draws} draws"
    dots = [
        Dot(
            figures.small(round(point.eps, 5)),
            point.label,
            point.accuracy,
            point.low,
            point.high,
            axis.at(point.eps),
            *(_height(share) for share in (point.accuracy, point.high, point.low)),
        )
        for point in curve.points
    ]
    return Drawn(name, words, dots)


def _height(share: float) -> float:
    return round(HEIGHT * (1 - share), 1)


# ---- broken images


@dataclass(frozen=True)
class Picture:
    """A broken image: its place in the test set, and what is told of it."""

    n: int
    label: int
    by: str
    words: str


def pictures(samples: Iterable[Sample], threat: dict[str, Any], draws: int) -> list[Picture]:
    """The first broken images that an attack made worse; of those that fell clean in half the draws there is nothing to see."""
    broken = ((one.n, one.worst) for one in samples if one.broken and one.worst and one.worst.by)
    return [_picture(n, worst, threat, draws) for n, worst in islice(broken, PICTURES)]


def _picture(n: int, worst: Worst, threat: dict[str, Any], draws: int) -> Picture:
    moved = f"{titles.NORMS.get(threat['norm'], threat['norm'])} distance {worst.distance:.4g}"
    often = f"right in {percent(worst.right, 0)} % of {draws} draws · " if draws > 1 else ""
    return Picture(n, worst.label, str(worst.by), often + moved)
