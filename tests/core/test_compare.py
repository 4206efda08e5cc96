"""Paired comparisons: against by-hand figures, and against what they must not claim."""

import numpy as np
import pytest
from scipy import stats

from core.compare import holm, methods, networks
from core.errors import NotPaired


def outcomes(accuracy: float, images: int, seed: int) -> list[float]:
    return [float(one) for one in np.random.default_rng(seed).random(images) < accuracy]


def test_mcnemar_is_the_binomial_test_of_the_images_that_differ() -> None:
    one = [1.0] * 80 + [1.0] * 15 + [0.0] * 5
    other = [1.0] * 80 + [0.0] * 15 + [1.0] * 5
    found = networks(one, other)
    assert found.difference == pytest.approx(0.10)
    assert found.p == pytest.approx(2 * sum(stats.binom.pmf(k, 20, 0.5) for k in range(6)))
    assert found.interval == pytest.approx((0.10 - 1.959964 * 0.4359 / 10, 0.10 + 1.959964 * 0.4359 / 10), abs=1e-4)
    assert found.ranks


def test_equal_networks_do_not_differ() -> None:
    same = outcomes(0.7, 500, 0)
    assert networks(same, same) == (0.0, (0.0, 0.0), 1.0, 500, False)


def test_few_images_rank_nothing_less_than_three_points_apart() -> None:
    def pair(images: int) -> tuple[list[float], list[float]]:
        return [1.0] * images, [0.0] * (images // 50) + [1.0] * (images - images // 50)

    few, many = networks(*pair(1500)), networks(*pair(2500))
    assert few.p < 0.001
    assert few.difference == pytest.approx(0.02)
    assert not few.ranks
    assert many.ranks


def test_a_method_is_not_better_for_its_seeds_luck() -> None:
    """Seeds that differ by more than the methods do: images alone would call it a difference, images and seeds do not."""
    one = [outcomes(accuracy, 3000, seed) for seed, accuracy in enumerate((0.50, 0.55, 0.60))]
    other = [outcomes(accuracy, 3000, seed + 10) for seed, accuracy in enumerate((0.48, 0.525, 0.57))]
    found = methods(one, other)
    assert found.difference == pytest.approx(0.025, abs=0.015)
    assert found.interval.low < 0 < found.interval.high
    assert not found.ranks
    pooled = networks([x for seed in one for x in seed], [x for seed in other for x in seed])
    assert pooled.p < 0.05


def test_a_clear_difference_is_found_and_covered() -> None:
    one = [outcomes(0.62, 3000, seed) for seed in range(5)]
    other = [outcomes(0.50, 3000, seed + 10) for seed in range(5)]
    found = methods(one, other)
    assert found.ranks
    assert found.p < 0.01
    assert found.interval.low < 0.12 < found.interval.high


def test_the_interval_covers_as_often_as_it_says() -> None:
    """Images alone vary here, so that the right answer is known: 95 % of the intervals must hold it, give or take."""
    covered = 0
    for trial in range(30):
        draw = np.random.default_rng(trial)
        hard = draw.random(150)
        a, b = ([[float(x) for x in hard < share]] * 3 for share in (0.7, 0.6))
        low, high = methods(a, b).interval
        covered += low <= 0.1 <= high
    assert covered >= 25, "the 0.5 % quantile of 30 coins of 0.95"


def test_holm_is_the_example_of_the_textbooks() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("ones", "others", "message"),
    [
        ([[1.0, 0.0]] * 2, [[1.0, 0.0]] * 3, "given 2 and 3 seeds"),
        ([[1.0, 0.0]] * 2, [[1.0]] * 2, r"outcomes of \[1, 2\] images"),
    ],
)
def test_what_cannot_be_paired_is_refused(ones, others, message: str) -> None:
    with pytest.raises(NotPaired, match=message):
        methods(ones, others)
