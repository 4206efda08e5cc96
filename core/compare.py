"""Is one network, or one method, better than another on the same images? Paired comparisons, and what they may not say.

Two fixed networks: McNemar's exact test on the images where they differ (McNemar 1947). Two methods, several seeds each: a
bootstrap that draws seeds and images anew, of both methods alike (Efron and Tibshirani 1993, chapter 16). Of several
comparisons at once, Holm's step-down correction (Holm 1979). Whatever the figures say, fewer than 2,000 images rank nothing
that is less than 3 points apart.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from core.errors import NotPaired
from core.intervals import Interval

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

    The 95 % interval of the difference is Newcombe's simple one: normal, from the variance of the paired differences.
    """
    a, b = _same_images([one], [other])
    n, only_a, only_b = a.shape[1], int((a > b).sum()), int((b > a).sum())
    p = float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    difference = (only_a - only_b) / n
    half = 1.959964 * float(np.std(a - b)) / n**0.5
    return _judged(difference, Interval(difference - half, difference + half), p, n)


def methods(ones: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> Paired:
    """Two methods, by the outcomes of their seeds: [seed][image], 1 right or 0 wrong or a share of draws.

    Each of 4,000 resamples draws images (the same for all) and, independently for each method, seeds. p is twice the share
    of resamples on the other side of zero, the observed difference counted among them.
    """
    a, b = _same_images(ones, others)
    if len(a) < 3 or len(b) < 3:
        raise NotPaired(f"{len(a)} and {len(b)} seeds", "at least three seeds of each method, or two fixed networks")
    draw, n = np.random.default_rng(0), a.shape[1]
    found = np.array([_resampled(a, b, draw) for _ in range(RESAMPLES)])
    difference = float(a.mean() - b.mean())
    beyond = min((found <= 0).sum(), (found >= 0).sum())
    low, high = np.quantile(found, [LEVEL / 2, 1 - LEVEL / 2])
    return _judged(difference, Interval(float(low), float(high)), min(1.0, 2 * (beyond + 1) / (RESAMPLES + 1)), n)


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
