"""Gradient attacks in l2, and on the DLR loss: closed forms on linear networks."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from core.ascent import cross_entropy
from core.attacks.base import Attack
from core.attacks.fgsm import Fgsm
from core.attacks.ifgsm import Ifgsm
from core.attacks.pgd import Pgd
from core.device import generator
from core.models.resnet import ResNet
from core.threat import Threat

L2 = Threat(norm="l2", eps=Fraction(1, 2))


@pytest.fixture
def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 2))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * 0.2 + 0.4


def attacked(attack: Attack, net: nn.Module, x: Tensor, y: Tensor, threat: Threat = L2) -> Tensor:
    return attack.within(threat).perturb(net, x, y, generator("cpu", 0))


@pytest.mark.parametrize(
    ("attack", "exact"),
    [(Fgsm(), 1e-6), (Ifgsm(), 1e-6), (Pgd(random_start=False), 1e-6), (Pgd(steps=200, step=Fraction(1, 5)), 5e-4)],
    ids=["fgm", "ifgm", "pgd", "pgd from a random start"],
)
@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_on_a_linear_network_the_step_is_eps_along_the_normal(attack, exact, loss, linear, images) -> None:
    y = torch.arange(8) % 2
    if "loss" in type(attack).model_fields:
        attack = attack.model_copy(update={"loss": loss})
    g = (linear[1].weight[1 - y] - linear[1].weight[y]).detach()
    expected = images + 0.5 * (g / g.norm(dim=1, keepdim=True)).view_as(images)
    torch.testing.assert_close(attacked(attack, linear, images, y), expected, rtol=0, atol=exact)


def test_fgm_goes_eps_along_the_gradient() -> None:
    net = ResNet(depth=8).create(10, 3, 0).eval()
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 0.2 + 0.4
    y = net(x).argmax(1)
    (g,) = torch.autograd.grad(cross_entropy(net(x.requires_grad_()), y).sum(), x)
    x = x.detach()
    expected = x + 0.5 * g / g.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(attacked(Fgsm(), net, x, y), expected, rtol=0, atol=1e-6)


def test_a_step_that_leads_out_of_the_box_is_cut_there(linear) -> None:
    x, y = torch.zeros(2, 3, 4, 4), torch.tensor([0, 1])
    g = (linear[1].weight[1 - y] - linear[1].weight[y]).detach()
    expected = (0.5 * (g / g.norm(dim=1, keepdim=True))).view_as(x).clamp_min(0)
    torch.testing.assert_close(attacked(Fgsm(), linear, x, y), expected, rtol=0, atol=1e-6)


def test_the_default_step_crosses_the_ball_two_and_a_half_times() -> None:
    attack = Ifgsm(steps=20).within(L2)
    assert attack.step == Fraction(5, 2) * Fraction(1, 2) / 20


def dlr_by_hand(z: Tensor, y: int) -> Tensor:
    """-(z_y - max other) / (z_(1) - z_(3)), one image's logits after the other's."""
    ordered = z.sort(descending=True).values
    other = max(z[k] for k in range(len(z)) if k != y)
    return -(z[y] - other) / (ordered[0] - ordered[2])


def test_a_step_of_pgd_on_the_dlr_loss_follows_the_gradient_of_the_formula(images) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    y = net(images).argmax(1)
    y[4:] = (y[4:] + 1) % 5  # right and wrong ones
    x = images.clone().requires_grad_()
    total = torch.stack([dlr_by_hand(z, int(label)) for z, label in zip(net(x), y, strict=True)]).sum()
    (g,) = torch.autograd.grad(total, x)
    threat = Threat(eps=Fraction(1, 100))
    attack = Pgd(steps=1, step=Fraction(1, 100), random_start=False, loss="dlr", keep="last")
    torch.testing.assert_close(attacked(attack, net, images, y, threat), images + 0.01 * g.sign(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_large_logits_hide_nothing_from_the_dlr_loss(norm, images) -> None:
    """Where logits are 10,000 times as large, cross-entropy saturates to a gradient of exactly zero."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    x = images[:, :, :4, :4]
    y = net(x).argmax(1)
    large = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    large.load_state_dict({name: 1e4 * value for name, value in net.state_dict().items()})
    threat = Threat(norm=norm, eps=Fraction(1, 10) if norm == "linf" else Fraction(1, 2))
    ce, dlr = (
        attacked(Pgd(steps=10, random_start=False, loss=loss, keep="last"), large, x, y, threat)
        for loss in ("ce", "dlr")
    )
    assert torch.equal(ce, x)
    usual = attacked(Pgd(steps=10, random_start=False, loss="dlr", keep="last"), net, x, y, threat)
    torch.testing.assert_close(dlr, usual, rtol=0, atol=1e-4)
    assert (large(dlr).argmax(1) != y).float().mean() > 0.5
