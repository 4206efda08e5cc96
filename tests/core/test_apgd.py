"""Auto-PGD by hand and in closed form: when steps are halved, where the points lie, what the targets are."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from core.ascent import dlr
from core.attacks.apgd import Halving, ascend, start
from core.attacks.apgd_ce import ApgdCe
from core.attacks.apgd_dlr import ApgdDlr
from core.attacks.apgd_t import ApgdT, targeted_dlr
from core.attacks.targets import wrong_class
from core.device import generator
from core.threat import Threat


def halvings(steps: int, losses: Tensor) -> Tensor:
    """Whose step is halved after each step, for losses (steps + 1, B) from the start on."""
    rule = Halving(steps, losses[0])
    return torch.stack([rule.after_step(losses[k], losses[: k + 1].amax(0)) for k in range(1, len(losses))])


def test_a_hundred_steps_have_the_papers_checkpoints() -> None:
    never_rising = torch.zeros(101, 1)
    halved = halvings(100, never_rising).flatten()
    assert (halved.nonzero().flatten() + 1).tolist() == [22, 41, 57, 70, 80, 87, 93, 99]


def test_a_step_is_halved_where_few_steps_raised_the_loss_or_nothing_was_gained_since_the_last_checkpoint() -> None:
    losses = torch.tensor(
        [
            # the start, six steps to the first checkpoint, five to the second
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],  # always up: never
            [0, 1, 2, 1, 2, 3, 2, 4, 5, 6, 7, 8],  # 4 of 6 up, at most 4.5: at the first
            [0, 1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5],  # then 4 of 5 up, more than 3.75, but none above 6: at the second
            [0, 1, 2, 1, 2, 3, 2, 1, 1.5, 2, 2.5, 2.9],  # the same, but just halved: at the first alone
        ]
    ).T
    halved = halvings(30, losses)
    assert halved[5].tolist() == [False, True, False, True]
    assert halved[10].tolist() == [False, False, True, False]
    assert not halved[[0, 1, 2, 3, 4, 6, 7, 8, 9]].any()


def test_the_points_of_a_small_ascent_are_those_worked_out_by_hand() -> None:
    """One pixel, f = -(pixel - 0.56)^2 in the ball 0.5 +- 0.4 from its middle: eta 0.8, and checkpoints after steps 2, 3, 4 ...

    0.9: a whole step, cut by the ball. 0.4 = 0.9 - 0.75 * 0.8 + 0.25 * 0.4, a rise of 2 steps: halved, back to 0.5.
    0.7 = 0.5 + 0.75 * 0.4 - 0.25 * 0.4, a rise of 1: kept, though the best is still 0.5, since just halved.
    0.45 = 0.7 - 0.75 * 0.4 + 0.25 * 0.2, a rise, the best still 0.5: halved, back to 0.5, eta 0.2.
    0.6 = 0.5 + 0.75 * 0.2 - 0.25 * 0.2.
    """
    x = torch.full((1, 1, 1, 1), 0.5)
    points = ascend(
        nn.Flatten(), x, torch.zeros(1), x, Threat(eps=Fraction(2, 5)), 10, lambda z, y: -((z[:, 0] - 0.56) ** 2)
    )
    visited = torch.cat([point for point, _ in points]).flatten()[:6]
    torch.testing.assert_close(visited, torch.tensor([0.5, 0.9, 0.4, 0.7, 0.45, 0.6]))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_start_is_at_distance_eps(norm: str) -> None:
    threat, x = Threat(norm=norm, eps=Fraction(1, 10)), torch.full((8, 3, 6, 6), 0.5)
    began = start(x, threat, generator("cpu", 1))
    torch.testing.assert_close(threat.distance(began, x), torch.full((8,), 0.1), rtol=0, atol=1e-6)
    assert not torch.equal(began[0], began[1])


@pytest.mark.parametrize("attack", [ApgdCe(), ApgdDlr(), ApgdT(targets=2)], ids=["ce", "dlr", "t"])
def test_in_l2_the_linear_networks_optimum_is_reached(attack: ApgdCe) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 1, bias=False), Mirrored())
    x, y = torch.rand(6, 3, 4, 4) * 0.4 + 0.3, torch.tensor([0, 1, 0, 1, 0, 1])
    uphill = nn.functional.normalize(net[1].weight, dim=1).view(1, 3, 4, 4) * (1 - 2 * y).view(-1, 1, 1, 1)
    moved = attack.within(Threat(norm="l2", eps=Fraction(1, 4))).perturb(net, x, y, generator("cpu", 0))
    torch.testing.assert_close(moved, x + uphill.detach() / 4, rtol=0, atol=1e-4)


class Mirrored(nn.Module):
    """One number z to four logits (-z, z, -10, -10)."""

    def forward(self, z: Tensor) -> Tensor:
        """(B, 1) to (B, 4)."""
        return torch.cat([-z, z, torch.full_like(z, -10).expand(-1, 2)], 1)


def test_the_targeted_ratio_is_equation_7_and_knows_neither_shift_nor_scale_of_the_logits() -> None:
    logits = torch.tensor([[3.0, 5.0, 1.0, 0.0, -2.0]])
    y, target = torch.tensor([1]), torch.tensor([2])
    expected = -(5 - 1) / (5 - (1 + 0) / 2)
    loss = targeted_dlr(target)
    assert float(loss(logits, y)) == pytest.approx(expected)
    assert float(loss(7 * logits + 3, y)) == pytest.approx(expected)
    assert float(dlr(logits, y)) == pytest.approx((3 - 5) / (5 - 1))


def test_targets_are_the_wrong_classes_in_the_order_of_their_logits() -> None:
    clean, y = torch.tensor([[3.0, 5.0, 1.0], [3.0, 5.0, 1.0]]), torch.tensor([1, 2])
    assert wrong_class(clean, y, 0).tolist() == [0, 1]
    assert wrong_class(clean, y, 1).tolist() == [2, 0]
    assert wrong_class(clean, y, 2) is None


def test_a_class_that_only_its_own_target_reaches_is_reached() -> None:
    net = OneWayOut()
    x, y = torch.full((4, 1, 3, 3), 0.5), torch.zeros(4, dtype=torch.long)
    fooled = {}
    for targets in (1, 2):
        attack = ApgdT(targets=targets, steps=10).within(Threat(eps=Fraction(1, 10)))
        fooled[targets] = net(attack.perturb(net, x, y, generator("cpu", 0))).argmax(1) != y
    assert not fooled[1].any()
    assert fooled[2].all()


class OneWayOut(nn.Module):
    """Logits 0, -1, -2 + rise, -9: brighter images are taken for the third class, and the runner-up leads away from it."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, 3, 3) to (B, 4)."""
        rise = 30 * (x.mean((1, 2, 3)) - 0.5)
        return torch.stack([0 * rise, 0 * rise - 1, rise - 2, 0 * rise - 9], 1)
