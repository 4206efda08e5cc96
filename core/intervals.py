"""Confidence intervals of accuracies, each named by what it varies over."""

import math
from typing import NamedTuple


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
