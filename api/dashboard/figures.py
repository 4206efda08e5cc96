"""Numbers as the pages write them: shares in per cent, times, sizes, means over seeds."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

MISSING = "–"
MINUTE, HOUR, DAY = 60, 3600, 86_400


def percent(share: float | None, digits: int = 1) -> str:
    """0.419 as 41.9."""
    return MISSING if share is None else f"{100 * share:.{digits}f}"


def count(number: float | None) -> str:
    """1350 as 1,350."""
    return MISSING if number is None else f"{number:,.0f}"


def span(seconds: float | None) -> str:
    """A duration: 0.4 s, 41 s, 12 min, 8 h 05 min, 3 d 4 h."""
    if seconds is None:
        return MISSING
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / MINUTE)
    if minutes < 100:
        return f"{minutes} min"
    if seconds < 2 * DAY:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{int(seconds // DAY)} d {round(seconds % DAY / HOUR)} h"


def age(then: datetime, now: datetime) -> str:
    """How long ago, in one unit: now, 5 min, 3 h, 2 d."""
    seconds = (now - then).total_seconds()
    for unit, word in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= unit:
            return f"{int(seconds // unit)} {word}"
    return "now"


def moment(at: datetime | None) -> str:
    """A time, in UTC: 21 Nov 2026, 20:58 UTC."""
    return MISSING if at is None else f"{at.astimezone(UTC):%-d %b %Y, %H:%M} UTC"


def clock(at: datetime) -> str:
    """The time of day, in UTC: 20:58:07."""
    return f"{at.astimezone(UTC):%H:%M:%S}"


def size(number: float) -> str:
    """Bytes: 312 B, 18.2 kB, 4.4 MB."""
    for unit in ("B", "kB", "MB"):
        if number < 999.5:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def scaled(number: float) -> tuple[str, str]:
    """A large number in three figures and its unit: 61,706 as ("61.7", "k")."""
    for unit in ("", "k", "M"):
        if number < 999.5:
            return (f"{number:.0f}" if not unit else f"{number:.3g}"), unit
        number /= 1000
    return f"{number:.3g}", "G"


def small(number: float) -> str:
    """A setting: 0.05, 1, 1e-05 as 1e-5."""
    return f"{number:g}".replace("e-0", "e-").replace("e+0", "e")


@dataclass(frozen=True)
class Mean:
    """A figure over several seeds; `std` is the sample's, and None for a single one."""

    value: float
    std: float | None
    n: int


def mean(values: Iterable[float | None]) -> Mean | None:
    """The mean of those that are there."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Mean(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known))


@dataclass(frozen=True)
class Scale:
    """The axis that the dots of a column share."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """A value's place, in per cent of the width; outside the axis, its end."""
        return round(100 * min(1.0, max(0.0, (value - self.low) / (self.high - self.low))), 2)


WHOLE = Scale(0, 1)
