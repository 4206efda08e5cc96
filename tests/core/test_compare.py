"""Paired comparisons: against by-hand figures, and against what they must not claim."""

import numpy as np
import pytest
from scipy import stats

from core import compare
from core.compare import Paired, _resampled, holm, methods, networks, newcombe, together, welch
from core.errors import NotPaired


def outcomes(accuracy: float, images: int, seed: int) -> list[float]:
    return [float(one) for one in np.random.default_rng(seed).random(images) < accuracy]


def test_mcnemar_is_the_binomial_test_of_the_images_that_differ() -> None:
    one = [1.0] * 80 + [1.0] * 15 + [0.0] * 5
    other = [1.0] * 80 + [0.0] * 15 + [1.0] * 5
    found = networks(one, other)
    assert found.difference == pytest.approx(0.10)
    assert found.p == pytest.approx(2 * sum(stats.binom.pmf(k, 20, 0.5) for k in range(6)))
    assert found.interval == newcombe(80, 15, 5, 100)
    assert found.ranks


def test_equal_networks_do_not_differ() -> None:
    same = outcomes(0.7, 500, 0)
    found = networks(same, same)
    assert (found.difference, found.p, found.ranks) == (0.0, 1.0, False)
    assert -0.02 < found.interval.low < 0 < found.interval.high < 0.02


def test_the_interval_of_two_networks_is_newcombes_worked_out_by_hand() -> None:
    """Shares 0.95 and 0.85 of 100, whose Wilson intervals are 0.88825 to 0.97846, and 0.76718 to 0.90694.

    80 * 0 - 15 * 5 is negative and so not corrected: phi is -75 / sqrt(95 * 5 * 85 * 15) = -0.096374.
    """
    d, e, phi = (0.95 - 0.88825, 0.90694 - 0.85), (0.97846 - 0.95, 0.85 - 0.76718), -0.096374
    low, high = (np.sqrt(one**2 + other**2 - 2 * phi * one * other) for one, other in (d, e))
    assert newcombe(80, 15, 5, 100) == pytest.approx((0.10 - low, 0.10 + high), abs=2e-5)


@pytest.mark.parametrize(
    ("both", "only_a", "only_b", "n", "phi"),
    [
        (40, 10, 5, 100, (40 * 45 - 50 - 50) / (50 * 50 * 45 * 55) ** 0.5),
        (2, 3, 5, 20, 0.0),
        (50, 0, 0, 50, 0.0),
        (3, 4, 0, 7, 0.0),
    ],
    ids=["half of n is taken off", "and not below zero", "nobody is wrong", "one is never wrong"],
)
def test_the_correlation_of_the_pairs_is_corrected(both: int, only_a: int, only_b: int, n: int, phi: float) -> None:
    assert compare._phi(both, only_a, only_b, n - both - only_a - only_b) == pytest.approx(phi)
    low, high = newcombe(both, only_a, only_b, n)
    assert low < (only_a - only_b) / n < high


@pytest.mark.parametrize("cells", [(0.6, 0.1, 0.05, 0.25), (0.42, 0.081, 0.044, 0.455), (0.4, 0.05, 0.05, 0.5)])
def test_the_interval_of_two_networks_covers_as_often_as_it_says(cells: tuple[float, ...]) -> None:
    tables = np.random.default_rng(0).multinomial(300, cells, size=4000)
    found = [newcombe(int(both), int(one), int(other), 300) for both, one, other, _ in tables]
    covered = np.mean([low <= cells[1] - cells[2] <= high for low, high in found])
    assert 0.93 <= covered <= 0.97


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


def of_seeds(draw: np.random.Generator, hard: np.ndarray, seeds: int = 3) -> list[list[float]]:
    """A method whose seeds' accuracies vary by 5 points around 50 %."""
    return [[float(x) for x in hard < share] for share in draw.normal(0.5, 0.05, seeds)]


def test_of_equal_methods_one_is_called_better_no_more_often_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds vary here. The bootstrap alone errs in more than a tenth of the cases."""
    monkeypatch.setattr(compare, "RESAMPLES", 200)
    draw, found = np.random.default_rng(1), []
    for _ in range(300):
        hard = draw.random(200)
        found.append(methods(of_seeds(draw, hard), of_seeds(draw, hard)))
    assert np.mean([one.p <= 0.05 for one in found]) <= 0.08
    assert np.mean([one.interval.low <= 0 <= one.interval.high for one in found]) >= 0.92


def test_three_seeds_apart_from_three_are_no_more_certain_than_six_numbers_can_be() -> None:
    hard = (np.arange(1000) + 0.5) / 1000
    shares = ((0.60, 0.63, 0.66), (0.52, 0.55, 0.58))
    ones, others = ([[float(x) for x in hard < share] for share in method] for method in shares)
    found, expected = methods(ones, others), stats.ttest_ind(*shares, equal_var=False)
    assert found.p == pytest.approx(expected.pvalue)
    assert 0.02 < found.p < 0.05
    assert found.interval == pytest.approx(tuple(expected.confidence_interval()))


@pytest.mark.parametrize("samples", [([0.1, 0.4, 0.2], [0.3, 0.7, 0.9, 0.8]), ([0.5, 0.51, 0.5], [0.4, 0.5, 0.9])])
def test_welchs_t_is_that_of_scipy(samples: tuple[list[float], list[float]]) -> None:
    a, b = map(np.array, samples)
    expected = stats.ttest_ind(a, b, equal_var=False)
    low, high = expected.confidence_interval()
    assert welch(a, b) == pytest.approx((expected.pvalue, (high - low) / 2))


def test_where_no_seed_varies_the_bootstrap_alone_counts() -> None:
    assert welch(np.full(3, 0.5), np.full(4, 0.25)) == (0.0, 0.0)
    assert welch(np.full(3, 0.5), np.full(4, 0.5)) == (1.0, 0.0)
    hard = np.random.default_rng(0).random(2000)
    one, other = ([[float(x) for x in hard < share]] * 3 for share in (0.52, 0.5))
    found = methods(one, other)
    assert 0 < found.p < 0.01
    assert 0 < found.interval.low < found.difference < found.interval.high


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
    assert methods(same, same).interval == pytest.approx((0.0, 0.0), abs=1e-12)
    assert methods(same, same).p == 1
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
