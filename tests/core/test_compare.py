"""Paired comparisons: against by-hand figures, and against what they must not claim."""

import numpy as np
import pytest
from scipy import stats

from core.compare import Paired, _resampled, holm, methods, networks, together
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


def test_of_several_comparisons_at_once_only_what_stands_the_correction_ranks() -> None:
    def pair(only: int, images: int) -> Paired:
        return networks([1.0] * images, [0.0] * only + [1.0] * (images - only))

    alone = [pair(6, 100), pair(7, 100), pair(20, 1500)]
    assert [one.p for one in alone] == pytest.approx([2 / 2**6, 2 / 2**7, 2 / 2**20])
    assert [one.ranks for one in alone] == [True, True, False], "20 of 1,500 are less than 3 points"
    found = together([*alone, pair(0, 100)])
    assert [one.p for one in found] == pytest.approx([2 * 2 / 2**6, 3 * 2 / 2**7, 4 * 2 / 2**20, 1.0])
    assert [one.ranks for one in found] == [False, True, False, False]
    assert [one[:2] for one in found[:3]] == [one[:2] for one in alone]


def test_a_resample_draws_the_images_once_for_all_seeds_of_both() -> None:
    """Where both methods are right on the same images, no draw of images makes a difference between them."""
    same = [outcomes(0.5, 400, 0)] * 3
    assert methods(same, same).interval == (0.0, 0.0)
    third = [outcomes(0.5, 400, seed) for seed in range(3)]
    draw = np.random.default_rng(3)
    images, first, second = draw.integers(400, size=400), draw.integers(3, size=2), draw.integers(3, size=2)
    a, b = np.array(third), np.array(same)
    expected = a[first][:, images].mean() - b[second][:, images].mean()
    assert _resampled(a, b, np.random.default_rng(3)) == pytest.approx(expected)


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
