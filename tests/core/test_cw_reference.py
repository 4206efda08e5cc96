"""The reconstructed C&W: on a linear network its minimum is known in closed form."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from core.attacks.cw_reference import CwReference
from core.device import generator
from core.models.resnet import ResNet
from core.threat import Threat


def attacked(attack: CwReference, net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return attack.within(Threat(eps=Fraction(1, 2))).perturb(net, x, y, generator("cpu", 0))


@pytest.fixture
def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 3))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 0.2 + 0.4


def test_on_a_linear_network_it_finds_the_minimum(linear: nn.Module, images: Tensor) -> None:
    """||d||^2 + c (m + g d) is least at d = -c g / 2, as long as that does not use the margin m to the runner-up up."""
    x = images[..., :4, :4]
    logits = linear(x).detach()
    first, second = logits.topk(2).indices.T
    g = (linear[1].weight[first] - linear[1].weight[second]).detach()
    m = logits.gather(1, first[:, None]) - logits.gather(1, second[:, None])
    c = float((m / g.square().sum(1, keepdim=True)).min())
    found = attacked(CwReference(steps=2000, lr=1e-4, c=c), linear, x, first)
    torch.testing.assert_close(found, x - (c / 2 * g).view_as(x), rtol=0, atol=1e-4)  # the length of a step
    assert (found - x).abs().max() > 5e-3


def test_an_image_that_is_wrong_already_stays(linear: nn.Module, images: Tensor) -> None:
    x = images[..., :4, :4]
    worst = linear(x).argmin(1)
    assert torch.equal(attacked(CwReference(), linear, x, worst), x)


def test_images_of_a_batch_go_their_own_ways(images: Tensor) -> None:
    net = ResNet(depth=8).create(10, 3, 0).eval()
    y = net(images).argmax(1)
    together = attacked(CwReference(), net, images, y)
    alone = torch.cat([attacked(CwReference(), net, images[i : i + 1], y[i : i + 1]) for i in range(len(y))])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)


def test_fifty_steps_move_no_pixel_further_than_three_hundredths(images: Tensor) -> None:
    net = ResNet(depth=8).create(10, 3, 0).eval()
    moved = (attacked(CwReference(), net, images, net(images).argmax(1)) - images).abs().max()
    assert 0 < moved <= 0.03 + 1e-6
