"""Averages over a random network's draws, and noise whose scale is frozen."""

import pytest
import torch
from torch import Tensor, nn

from core.eot import MOST, STABLE, agreement, draws_needed
from core.models.enresnet import EnResNet, FeynmanKacNoise
from core.noise import Expectation, frozen, joint_layers, reseed


def test_frozen_noise_makes_each_image_its_own_problem() -> None:
    net = EnResNet(depth=8, members=1).create(10, 1, 0).eval()
    x = torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    reseed(net, "context")
    alone = frozen(net, [x[:3], x[3:]])
    assert joint_layers(alone) == []
    assert len(joint_layers(net)) == 3, "the network itself keeps its noise"

    def logits(which: nn.Module, others: float) -> Tensor:
        batch = torch.cat([x[:1], x[1:] * others])
        reseed(which, "x")
        return which(batch)[0]

    assert torch.allclose(logits(alone, 1.0), logits(alone, 0.2), atol=1e-5)
    assert not torch.allclose(logits(net, 1.0), logits(net, 0.2), atol=1e-3)


def test_frozen_noise_goes_by_the_mean_scale_of_its_batches() -> None:
    net = nn.Sequential(FeynmanKacNoise(0.5, "batch"))
    batches = [torch.rand(4, 1, 3, 3), 5 * torch.rand(4, 1, 3, 3)]
    reseed(net, "x")
    alone = frozen(net, batches)
    assert float(alone[0].frozen) == pytest.approx(float(sum(x.std() for x in batches)) / 2)
    reseed(alone, "y")
    noise = alone(torch.zeros(500, 1, 3, 3))
    assert float(noise.std()) == pytest.approx(0.5 * float(alone[0].frozen), rel=0.05)


class Shaken(nn.Module):
    """A linear network whose weights are drawn anew at each pass, around their means."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale, self.stream = scale, torch.Generator().manual_seed(0)
        self.mean = torch.randn(3, 16, generator=torch.Generator().manual_seed(1))

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.randn(3, 16, generator=self.stream)
        return x.flatten(1) @ (self.mean + self.scale * noise).T


@pytest.fixture
def points() -> tuple[Tensor, Tensor]:
    return torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(2)), torch.arange(8) % 3


def test_as_many_draws_are_taken_as_make_the_gradient_repeatable(points) -> None:
    taken = [list(draws_needed(Shaken(scale), *points))[-1] for scale in (0.0, 1.0, 2.5, 100.0)]
    assert taken[0][0] == 1
    assert taken[0][1] == pytest.approx(1)
    assert taken[0][0] < taken[1][0] < taken[2][0] < taken[3][0] == MOST
    assert all(cosine >= STABLE for _, cosine in taken[:3])
    assert taken[3][1] < STABLE


def test_agreement_grows_with_the_draws(points) -> None:
    growing = agreement(Shaken(2.0), *points)
    found = [next(growing) for _ in range(40)]
    assert found[0] < found[-1]
    assert found[-1] > 0.8


def test_an_expectation_gives_mean_logits(points) -> None:
    net = Shaken(1.0)
    found = Expectation(net, 500)(points[0])
    torch.testing.assert_close(found, points[0].flatten(1) @ net.mean.T, rtol=0, atol=0.6)
