"""Each operator against the minimisation that it claims to solve, by brute force."""

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core import proximal

GRID = torch.arange(-120_000, 120_001, dtype=torch.float64) / 20_000  # holds 0 exactly
LAMS = (0.0, 0.01, 0.2, 0.5, 1.0, 2.0)
POINTS = (-5.0, -1.3, -0.7, -1e-3, 0.0, 0.05, 0.4, 0.99, 1.01, 1.7, 3.0)

SCALAR: dict[str, tuple[Callable[[Tensor, float], Tensor], Callable[[Tensor, float], Tensor]]] = {
    "l1": (proximal.soft, lambda u, lam: lam * u.abs()),
    "l0": (proximal.hard, lambda u, lam: lam * (u != 0)),
    "transformed_l1": (proximal.transformed_l1, lambda u, lam: lam * 2 * u.abs() / (1 + u.abs())),
    "transformed_l1_a3": (
        lambda w, lam: proximal.transformed_l1(w, lam, 3.0),
        lambda u, lam: lam * 4 * u.abs() / (3 + u.abs()),
    ),
}


def brute_force(cost: Callable[[Tensor], Tensor]) -> float:
    """The minimiser to about 1e-8: the best point of a grid that holds 0, then of two finer ones around it."""
    best = GRID[cost(GRID).argmin()]
    for width in (1e-4, 1e-6):
        around = torch.cat([best.new_zeros(1), best.view(1), best + torch.linspace(-width, width, 20_001).double()])
        best = around[cost(around).argmin()]
    return best.item()


@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("name", SCALAR)
def test_a_scalar_operator_matches_brute_force_to_1e_6(name: str, lam: float) -> None:
    operator, penalty = SCALAR[name]
    for w in POINTS:

        def cost(u: Tensor, w: float = w) -> Tensor:
            return penalty(u, lam) + (u - w) ** 2 / 2

        found, expected = operator(torch.tensor([w], dtype=torch.float64), lam), brute_force(cost)
        tie = abs(cost(found).item() - cost(torch.tensor(expected)).item()) <= 1e-12 and found.item() == 0
        assert abs(found.item() - expected) <= 1e-6 or tie, (w, found.item(), expected)


@pytest.mark.parametrize("a", [0.1, 1.0, 100.0, 1e6])
def test_transformed_l1_loses_no_digits_in_single_precision(a: float) -> None:
    w = torch.linspace(-0.2, 0.2, 401)
    for lam in (1e-6, 1e-4, 1e-2):
        exact = proximal.transformed_l1(w.double(), lam, a)
        torch.testing.assert_close(proximal.transformed_l1(w, lam, a).double(), exact, rtol=0, atol=1e-7)


@pytest.mark.parametrize("w", POINTS)
def test_the_transformed_l1_closed_form_is_exact_to_1e_6(w: float) -> None:
    for lam, a in itertools.product((0.05, 0.3, 0.9), (0.5, 1.0, 4.0)):
        found = proximal.transformed_l1(torch.tensor([w], dtype=torch.float64), lam, a)
        if found:  # off zero the minimum is a stationary point of the smooth part
            slope = lam * (a + 1) * a / (a + found.abs()) ** 2 * found.sign() + found - w
            assert slope.abs().item() < 1e-6


@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize(
    ("operator", "penalty"),
    [
        (proximal.group_soft, lambda norm, lam: lam * norm),
        (proximal.group_hard, lambda norm, lam: lam * (norm > 0)),
        (
            lambda w, lam, axes: proximal.group_transformed_l1(w, lam, 1.0, axes),
            lambda norm, lam: lam * 2 * norm / (1 + norm),
        ),
        (
            lambda w, lam, axes: proximal.group_transformed_l1(w, lam, 3.0, axes),
            lambda norm, lam: lam * 4 * norm / (3 + norm),
        ),
    ],
    ids=["group_lasso", "group_l0", "group_transformed_l1", "group_transformed_l1_a3"],
)
def test_a_group_operator_reaches_the_brute_force_minimum(operator, penalty, lam: float) -> None:
    """The minimiser of a rotation-invariant penalty lies on the ray of w: brute force along it."""
    torch.manual_seed(0)
    w = torch.randn(4, 5, 3, 3, dtype=torch.float64) * torch.logspace(-2, 0, 5, dtype=torch.float64).view(1, 5, 1, 1)
    found = operator(w, lam, proximal.INPUT_CHANNELS)
    for c in range(5):
        norm = w[:, c].norm()
        expected = brute_force(lambda length: penalty(length.abs(), lam) + (length - norm) ** 2 / 2)
        assert abs(float(found[:, c].norm()) - expected) <= 1e-6
        if found[:, c].norm():
            torch.testing.assert_close(found[:, c] / found[:, c].norm(), w[:, c] / norm)


def test_the_transformed_l1_of_groups_lets_zero_groups_and_zero_weights_of_the_penalty_be() -> None:
    w = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(4))
    w[:, 1] = 0
    assert torch.equal(proximal.group_transformed_l1(w, 0.0, 1.0, proximal.INPUT_CHANNELS), w)
    assert not proximal.group_transformed_l1(w, 0.3, 1.0, proximal.INPUT_CHANNELS)[:, 1].any()


@pytest.mark.parametrize("axes", [proximal.ELEMENTS, proximal.FILTERS, proximal.INPUT_CHANNELS, proximal.COLUMNS])
def test_keeping_the_largest_is_the_nearest_point_with_so_many_zeros(axes: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    w = torch.randn(3, 4, 1, 1) if axes else torch.randn(2, 2, 1, 2)
    norms = proximal.group_norms(w, axes).flatten()
    for zeros in range(norms.numel()):
        found = proximal.keep_largest(w, zeros / norms.numel(), axes)
        alive = proximal.group_norms(found, axes).flatten() > 0
        assert int(alive.sum()) == norms.numel() - zeros
        every = (norms[list(gone)].square().sum() for gone in itertools.combinations(range(norms.numel()), zeros))
        torch.testing.assert_close((found - w).square().sum(), min(every))


def test_ties_do_not_change_how_many_are_kept() -> None:
    assert int((proximal.keep_largest(torch.ones(10), 0.6) != 0).sum()) == 4


def test_one_group_is_kept_whatever_the_share() -> None:
    assert int((proximal.keep_largest(torch.randn(10), 0.999) != 0).sum()) == 1


def test_the_two_thresholds_of_transformed_l1_meet() -> None:
    a = 1.0
    lam = a * a / (2 * (a + 1))
    below = torch.tensor([a / 2 - 1e-6, a / 2 + 1e-3], dtype=torch.float64)
    found = proximal.transformed_l1(below, lam)
    assert found[0] == 0
    assert found[1] > 0


def test_some_groups_survive_where_the_rule_asks_for_it() -> None:
    torch.manual_seed(2)
    w = torch.randn(8, 6, 3, 3)
    dead = proximal.group_hard(w, 1e9, proximal.INPUT_CHANNELS)
    assert not dead.any()
    for least in (1, 3):
        kept = proximal.keep_some(dead, w, proximal.INPUT_CHANNELS, least)
        norms = proximal.group_norms(w, proximal.INPUT_CHANNELS).flatten()
        alive = proximal.group_norms(kept, proximal.INPUT_CHANNELS).flatten() > 0
        assert int(alive.sum()) == least
        assert set(alive.nonzero().flatten().tolist()) == set(norms.topk(least).indices.tolist())


def test_where_enough_groups_survive_the_rule_changes_nothing() -> None:
    torch.manual_seed(3)
    w = torch.randn(8, 6, 3, 3)
    u = proximal.group_soft(w, 5.0, proximal.INPUT_CHANNELS)
    assert torch.equal(proximal.keep_some(u, w, proximal.INPUT_CHANNELS, 1), u)


@given(st.lists(st.floats(-10, 10, allow_nan=False), min_size=1, max_size=20), st.floats(0, 5), st.floats(0, 5))
@settings(max_examples=100, deadline=None)
def test_the_support_shrinks_with_the_threshold(values: list[float], one: float, other: float) -> None:
    w = torch.tensor(values, dtype=torch.float64)
    low, high = sorted((one, other))
    for operator, _ in SCALAR.values():
        assert not ((operator(w, high) != 0) & (operator(w, low) == 0)).any()
