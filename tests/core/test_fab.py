"""FAB beside brute force and closed forms: the nearest point of a hyperplane in the box, the nearest image that fools."""

from fractions import Fraction

import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import Tensor, nn

from core.attacks.fab import Fab
from core.attacks.hyperplane import onto_hyperplane
from core.device import generator
from core.noise import Expectation
from core.threat import Threat

STREAM = torch.Generator().manual_seed(3)
N = 7
POINTS, WEIGHTS = torch.rand(40, N, generator=STREAM), torch.randn(40, N, generator=STREAM)
POINTS[:5, :2], WEIGHTS[5:10, 3] = torch.tensor([0.0, 1.0]), 0.0
SHARE = torch.rand(40, generator=STREAM)
"""How far the planes lie, as a share of what the box allows."""


def nearest_linf(t: Tensor, w: Tensor, excess: float) -> float:
    """The least largest move, by linear programming over (d, s)."""
    n = len(t)
    within = torch.cat([torch.cat([torch.eye(n), -torch.eye(n)]), -torch.ones(2 * n, 1)], 1).numpy()
    plane = torch.cat([w, torch.zeros(1)])[None].numpy()
    bounds = [(-float(v), 1 - float(v)) for v in t] + [(0, None)]
    found = linprog([0] * n + [1], within, [0] * 2 * n, plane, [-excess], bounds)
    return found.fun


def nearest_l2(t: Tensor, w: Tensor, excess: float) -> float:
    """The least length of a move, by sequential quadratic programming."""
    on_plane = {"type": "eq", "fun": lambda d: d @ w.double().numpy() + excess}
    bounds = [(-float(v), 1 - float(v)) for v in t]
    found = minimize(lambda d: d @ d, [0.0] * len(t), jac=lambda d: 2 * d, bounds=bounds, constraints=on_plane)
    return found.fun**0.5


def planes() -> Tensor:
    """Excesses of both signs for which the box reaches the plane."""
    down = (WEIGHTS * torch.where(WEIGHTS > 0, POINTS, POINTS - 1)).sum(1)  # the most that <w, t> can fall
    up = (WEIGHTS * torch.where(WEIGHTS > 0, 1 - POINTS, -POINTS)).sum(1)
    return torch.where(torch.arange(len(SHARE)) % 2 == 0, SHARE * down, -SHARE * up)


@pytest.mark.parametrize(("norm", "nearest"), [("linf", nearest_linf), ("l2", nearest_l2)])
def test_the_move_onto_a_plane_is_as_small_as_brute_force_finds_it(norm: str, nearest) -> None:
    excess = planes()
    moves = onto_hyperplane(POINTS, WEIGHTS, excess, norm)
    landed = POINTS + moves
    assert landed.min() >= -1e-6
    assert landed.max() <= 1 + 1e-6
    torch.testing.assert_close((WEIGHTS * moves).sum(1), -excess, rtol=0, atol=1e-5)
    sizes = moves.abs().amax(1) if norm == "linf" else moves.norm(dim=1)
    expected = torch.tensor([nearest(*each) for each in zip(POINTS, WEIGHTS, excess.tolist(), strict=True)])
    torch.testing.assert_close(sizes, expected.float(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_plane_out_of_reach_is_approached_up_to_the_corner(norm: str) -> None:
    moves = onto_hyperplane(POINTS, WEIGHTS, torch.full((40,), 1e3), norm)
    corner = torch.where(WEIGHTS > 0, 0.0, 1.0).where(WEIGHTS != 0, POINTS)
    torch.testing.assert_close(POINTS + moves, corner)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-12, 1e12])
def test_a_move_is_finite_and_in_the_box_whatever_the_scale_of_the_weights(norm: str, scale: float) -> None:
    landed = POINTS + onto_hyperplane(POINTS, scale * WEIGHTS, torch.full((40,), -0.5), norm)
    assert landed.isfinite().all()
    assert landed.min() >= -1e-6
    assert landed.max() <= 1 + 1e-6


@pytest.fixture
def net() -> nn.Module:
    """A linear network of five classes."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 5))


@pytest.fixture
def images(net: nn.Module) -> tuple[Tensor, Tensor]:
    """Eight images far from the box's walls, with the labels that the network gives."""
    x = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * 0.2 + 0.4
    return x, net(x).argmax(1)


def distances(net: nn.Module, x: Tensor, y: Tensor, norm: str) -> Tensor:
    """The exact distance of each image to the nearest other class: min over t of (z_y - z_t) / |w_y - w_t|_q."""
    z, weights = net(x), net[1].weight
    behind = z.gather(1, y[:, None]) - z
    lengths = (weights[y][:, None] - weights).norm(p=1 if norm == "linf" else 2, dim=2)
    return (behind / lengths).scatter(1, y[:, None], torch.inf).amin(1).detach()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_on_a_linear_network_what_lies_just_inside_the_ball_is_found_and_nothing_outside(
    net: nn.Module, images, norm: str
) -> None:
    """The first step passes the boundary by a twentieth; only with the steps back does a hundredth suffice."""
    x, y = images
    for image, label, distance in zip(x, y, distances(net, x, y, norm).tolist(), strict=True):
        for share, fooled in ((1.01, True), (0.99, False)):
            threat = Threat(norm=norm, eps=Fraction(share * distance).limit_denominator(10**9))
            attack = Fab(steps=20, targets=4).within(threat)
            moved = attack.perturb(net, image[None], label[None], generator("cpu", 0))
            assert bool(net(moved).argmax(1) != label) is fooled


def test_with_few_classes_all_wrong_ones_are_aimed_at_and_the_turns_are_as_promised(net: nn.Module, images) -> None:
    x, y = images
    attack = Fab(steps=3, targets=9).within(Threat(eps=Fraction(1, 10_000)))
    seen: list[int] = []
    net.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    assert len(list(attack.search(net, x, y, generator("cpu", 0)))) == attack.turns(8) == 27
    assert seen == [8] * (1 + 4 * 3 * 2), "the clean images, and twice a step towards each of four classes"


def test_of_a_random_network_it_uses_the_mean_over_draws(net: nn.Module, images) -> None:
    x, y = images
    threat = Threat(eps=Fraction(1, 20))
    alone = Fab(steps=5).within(threat).perturb(net, x, y, generator("cpu", 0))
    expected = Fab(steps=5).within(threat).perturb(Expectation(net, 3), x, y, generator("cpu", 0))
    torch.testing.assert_close(expected, alone)
