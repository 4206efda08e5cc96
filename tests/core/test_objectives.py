"""Adversarial training: what is attacked, and what the crafting does to batch norm."""

from fractions import Fraction

import pytest
import torch
from torch import nn

from core.device import generator
from core.objectives.pgd import Pgd
from core.threat import Threat


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 5)).train()


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    stream = torch.Generator().manual_seed(1)
    return torch.rand(8, 3, 8, 8, generator=stream), torch.randint(5, (8,), generator=stream)


@pytest.mark.parametrize(("craft", "batches"), [("eval", 1), ("train_frozen_stats", 1), ("train", 11)])
def test_crafting_in_training_mode_moves_the_running_statistics_ten_times_more(
    net, batch, craft: str, batches: int
) -> None:
    objective = Pgd(craft_batchnorm=craft).within(Threat())
    objective.loss(net, *batch, generator("cpu", 0))
    assert int(net[1].num_batches_tracked) == (11 if craft != "eval" else 1)
    plain = nn.BatchNorm2d(4)
    drift = (net[1].running_mean - plain.running_mean).abs().max()
    reference = (net[0](batch[0]).mean((0, 2, 3)) * (1 - 0.9**batches)).abs().max()
    assert drift == pytest.approx(reference.item(), rel=0.1)


def test_attacked_images_stay_in_the_ball_and_raise_the_loss(net, batch) -> None:
    objective = Pgd(eps=Fraction(1, 20)).within(Threat())
    x, y = batch
    attacked = objective.attack(net.eval(), x, y, generator("cpu", 0))
    assert (attacked - x).abs().max() <= 0.05 + 1e-6
    assert nn.functional.cross_entropy(net(attacked), y) > nn.functional.cross_entropy(net(x), y)


def test_eps_and_step_come_from_the_threat_unless_given() -> None:
    inherited = Pgd().within(Threat(eps=Fraction(8, 255)))
    assert (inherited.eps, inherited.step) == (Fraction(8, 255), Fraction(2, 255))
    given = Pgd(eps=Fraction(1, 10), step=Fraction(1, 50)).within(Threat())
    assert (given.eps, given.step) == (Fraction(1, 10), Fraction(1, 50))


def test_ten_steps_cost_23_passes() -> None:
    assert Pgd(steps=10).passes == 23
