"""Confidence intervals of accuracies, each named by what it varies over."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from scipy import special


class Interval(NamedTuple):
    """A range that holds the true value with 95 % confidence."""

    low: float
    high: float


def wilson(right: float, images: int) -> Interval:
    """Wilson's 95 % interval of a share (Wilson 1927): over images, for one fixed network.

    `right` is a count, or for a random network the sum over the images of the probability of being right. The interval is
    then on the safe side: an image's probability varies no more than a coin of the same mean.
    """
    z = 1.959964
    share, scale = right / images, 1 + z * z / images
    centre = (share + z * z / (2 * images)) / scale
    half = z / scale * math.sqrt(max(0.0, share * (1 - share)) / images + z * z / (4 * images * images))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


class Seeds(NamedTuple):
    """A figure over n seeds: mean, sample standard deviation, and an interval of the mean; of one seed there is none."""

    n: int
    mean: float
    std: float | None
    interval: Interval | None


def student(values: Sequence[float]) -> Seeds:
    """Student's 95 % interval of a mean (Student 1908): over seeds, for a method. It is not cut off at 0 or 1."""
    n, mean = len(values), statistics.fmean(values)
    if n == 1:
        return Seeds(n, mean, None, None)
    std = statistics.stdev(values)
    half = float(special.stdtrit(n - 1, 0.975)) * std / math.sqrt(n)
    return Seeds(n, mean, std, Interval(mean - half, mean + half))
