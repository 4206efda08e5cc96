"""Figures from many measurements."""

import math
from collections.abc import Sequence


def p99(values: Sequence[float]) -> float:
    """The smallest of the values that 99 % do not exceed."""
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


def within(values: Sequence[float], seconds: float) -> tuple[bool, str]:
    """Whether all were quick enough, and the slowest in words."""
    return max(values) <= seconds, f"{max(values):.1f} s"
