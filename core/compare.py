"""Is one network, or one method, better than another on the same images? Paired comparisons, and what they may not say.

Two fixed networks: McNemar's exact test on the images where they differ (McNemar 1947), with Newcombe's interval of their
difference (1998). Two methods, several seeds each: a bootstrap that draws seeds and images anew, of both methods alike (Efron
and Tibshirani 1993, chapter 16), and Welch's t over the means of the seeds (Welch 1947); the more careful of both counts. Of
several comparisons at once, Holm's step-down correction (Holm 1979). Whatever the figures say, fewer than 2,000 images rank
nothing that is less than 3 points apart.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from core.errors import NotPaired
from core.intervals import Interval, wilson

LEVEL = 0.05
FEW_IMAGES, FEW_POINTS = 2000, 3.0
RESAMPLES = 4000


class Paired(NamedTuple):
    """The first minus the second, as a share of the images; `ranks` if one may be called the better, this alone compared."""

    difference: float
    interval: Interval
    p: float
    images: int
    ranks: bool


def networks(one: Sequence[float], other: Sequence[float]) -> Paired:
    """Two fixed networks, by the outcome of each image, 1 right or 0 wrong: McNemar's exact two-sided test.

    The 95 % interval of the difference is Newcombe's by scores, for pairs: it has a width even where no image differs.
    """
    a, b = _same_images([one], [other])
    n, only_a, only_b = a.shape[1], int((a > b).sum()), int((b > a).sum())
    p = float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    interval = newcombe(int((a * b).sum()), only_a, only_b, n)
    return _judged((only_a - only_b) / n, interval, p, n)


def newcombe(both: int, only_a: int, only_b: int, n: int) -> Interval:
    """The 95 % interval of a difference of two paired shares, from how many of n pairs both are right in, or one alone.

    Newcombe 1998, Statistics in Medicine 17, 2635, method 10: the distances of the two shares from the ends of their Wilson
    intervals, put together as those of two variables of correlation phi, which is corrected for continuity where positive.
    """
    shares = (both + only_a) / n, (both + only_b) / n
    (low_a, high_a), (low_b, high_b) = (wilson(share * n, n) for share in shares)
    phi = _phi(both, only_a, only_b, n - both - only_a - only_b)
    below = _beside(shares[0] - low_a, high_b - shares[1], phi)
    above = _beside(high_a - shares[0], shares[1] - low_b, phi)
    difference = (only_a - only_b) / n
    return Interval(max(-1.0, difference - below), min(1.0, difference + above))


def _phi(both: int, only_a: int, only_b: int, neither: int) -> float:
    """The correlation of the pairs: 0 where one of the four sums is; half of n is taken from a positive numerator."""
    sums = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    top = both * neither - only_a * only_b
    corrected = max(0.0, top - (both + only_a + only_b + neither) / 2) if top > 0 else top
    return corrected / math.sqrt(sums) if sums else 0.0


def _beside(one: float, other: float, phi: float) -> float:
    """The third side of a triangle, phi the cosine between these two."""
    return math.sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))


def methods(ones: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> Paired:
    """Two methods, by the outcomes of their seeds: [seed][image], 1 right or 0 wrong or a share of draws.

    Each of 4,000 resamples draws images (the same for all) and, independently for each method, seeds. Its p is twice the
    share of resamples on the other side of zero, the observed difference counted among them. Few seeds make that too small:
    of equal methods whose seeds vary by 5 points (one standard deviation) it told apart 11.6 % of 1,000 at three seeds and
    9.7 % at five, with 300 images and 1,000 resamples, where Welch's t told apart 2.7 and 4.9 %, as both together did.
    So p is the larger of both, and the interval holds both intervals.
    """
    a, b = _same_images(ones, others)
    if len(a) < 3 or len(b) < 3:
        raise NotPaired(f"{len(a)} and {len(b)} seeds", "at least three seeds of each method, or two fixed networks")
    draw, n = np.random.default_rng(0), a.shape[1]
    found = np.array([_resampled(a, b, draw) for _ in range(RESAMPLES)])
    difference = float(a.mean() - b.mean())
    beyond = min((found <= 0).sum(), (found >= 0).sum())
    low, high = np.quantile(found, [LEVEL / 2, 1 - LEVEL / 2])
    p, half = welch(a.mean(1), b.mean(1))
    interval = Interval(min(float(low), difference - half), max(float(high), difference + half))
    return _judged(difference, interval, max(p, min(1.0, 2 * float(beyond + 1) / (RESAMPLES + 1))), n)


def welch(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, float]:
    """Welch's t of two samples: the two-sided p, and half of the 95 % interval of the difference of their means.

    Without any variance the means are the truth: p is 1 where they are equal and else 0, the interval a point.
    """
    difference, (v, w) = float(a.mean() - b.mean()), (float(each.var(ddof=1)) / len(each) for each in (a, b))
    if v + w == 0:
        return float(difference == 0), 0.0
    error, degrees = math.sqrt(v + w), (v + w) ** 2 / (v**2 / (len(a) - 1) + w**2 / (len(b) - 1))
    return 2 * float(special.stdtr(degrees, -abs(difference) / error)), error * float(special.stdtrit(degrees, 0.975))


def _resampled(a: NDArray[np.float64], b: NDArray[np.float64], draw: np.random.Generator) -> float:
    """The difference of one resample; one seed fewer than there are, which makes the variance of their mean unbiased."""
    n: int = a.shape[1]
    times = np.bincount(draw.integers(n, size=n), minlength=n)  # how often each image is drawn
    means = [float((each @ times)[draw.integers(len(each), size=len(each) - 1)].mean()) for each in (a, b)]
    return (means[0] - means[1]) / n


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values of several comparisons, in their order: each may be held against 0.05."""
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, number in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[number]))
        adjusted[number] = highest
    return adjusted


def together(found: Sequence[Paired]) -> list[Paired]:
    """Several comparisons that are made at once: p is Holm's, and `ranks` goes by it."""
    return [_judged(*one[:2], p, one.images) for one, p in zip(found, holm([one.p for one in found]), strict=True)]


def large(difference: float, images: int) -> bool:
    """Whether so many images can tell networks apart that differ by this share of them."""
    return images >= FEW_IMAGES or abs(100 * difference) >= FEW_POINTS


def _judged(difference: float, interval: Interval, p: float, images: int) -> Paired:
    return Paired(difference, interval, p, images, p <= LEVEL and large(difference, images))


def _same_images(ones: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> list[NDArray[np.float64]]:
    """Both as arrays (seeds, images), of as many images as all have."""
    lengths = {len(each) for each in (*ones, *others)}
    if len(lengths) != 1:
        raise NotPaired(f"outcomes of {sorted(lengths)} images", "the same images for all")
    return [np.asarray(each, dtype=np.float64) for each in (ones, others)]
