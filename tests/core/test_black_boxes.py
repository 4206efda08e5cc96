"""Attacks by logits alone: SPSA's estimate, and NAttack's pixels at the edges of the box."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from contracts.conftest import TwoClasses
from core.ascent import gradient, margin
from core.attacks.nattack import NAttack
from core.attacks.queries import CHUNK
from core.attacks.spsa import Spsa
from core.device import generator
from core.models.enresnet import EnResNet
from core.models.resnet import ResNet
from core.noise import reseed
from core.threat import Norm, Threat


@pytest.fixture
def net() -> nn.Module:
    return ResNet(depth=8).create(10, 3, 0).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_with_many_directions_the_estimate_is_the_gradient_of_the_margin() -> None:
    net, x, y = TwoClasses(), torch.rand(3, 3, 4, 4) * 0.8 + 0.1, torch.tensor([0, 1, 0])
    expected = gradient(net, x, y, margin)[0].flatten(1)
    close = [
        nn.functional.cosine_similarity(
            Spsa(directions=n)._estimate(net, x, y, generator("cpu", 0)).flatten(1), expected
        )
        for n in (10, 3000)
    ]
    assert close[0].max() < 0.7
    assert close[1].min() > 0.98
    many = Spsa(directions=10_000)._estimate(net, x, y, generator("cpu", 1)).flatten(1)
    torch.testing.assert_close(many.norm(dim=1), expected.norm(dim=1), rtol=0.05, atol=0)


def test_one_direction_gives_the_difference_along_its_signs() -> None:
    net, x, y = TwoClasses(), torch.rand(1, 3, 4, 4) * 0.8 + 0.1, torch.tensor([0])
    v = 2.0 * torch.randint(2, (1, 1, 3, 4, 4), generator=generator("cpu", 0)) - 1
    sides = [margin(net(x + side * 0.01 * v[:, 0]), y) for side in (1, -1)]
    expected = (sides[0] - sides[1]).view(-1, 1, 1, 1) / 0.02 * v[:, 0]
    got = Spsa(directions=1)._estimate(net, x, y, generator("cpu", 0))
    torch.testing.assert_close(got, expected.detach())


@pytest.mark.parametrize(
    "attack", [Spsa(directions=64, iterations=40), NAttack(population=128, iterations=100, lr=0.1)]
)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_black_box_comes_near_the_optimum_of_a_linear_network_in_either_norm(attack, norm: Norm) -> None:
    """From images of 0s and 1s alone, whose pixels must all move inwards."""
    net = TwoClasses()
    x = (torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(2)) > 0.5).float()
    y = net(x).argmax(1)
    g = (net.linear.weight[1 - y] - net.linear.weight[y]).view_as(x).detach()
    inward = torch.where((g > 0) == (x < 0.5), g, 0.0)
    threat = Threat(norm=norm, eps=Fraction(1, 50))
    best = (threat.direction(inward) * float(threat.eps) * g).sum((1, 2, 3))
    moved = attack.within(threat).perturb(net, x, y, generator("cpu", 0))
    gained = ((moved - x) * g).sum((1, 2, 3))
    assert (gained <= best + 1e-5).all()
    assert (gained > 0.75 * best).all()


def test_spsa_asks_only_about_images() -> None:
    seen: list[Tensor] = []

    class Watched(TwoClasses):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            assert not torch.is_grad_enabled()
            return super().forward(x)

    x = (torch.rand(2, 3, 4, 4) > 0.5).float()
    attack = Spsa(directions=8, iterations=4).within(Threat())
    attack.perturb(Watched(), x, TwoClasses()(x).argmax(1), generator("cpu", 0))
    assert sum(len(asked) for asked in seen) == 2 * attack.passes
    assert min(float(asked.min()) for asked in seen) >= 0
    assert max(float(asked.max()) for asked in seen) <= 1


@pytest.mark.parametrize(
    "attack", [Spsa(directions=100, iterations=2), NAttack(population=200, iterations=2, checks=1)]
)
def test_as_many_images_are_attacked_together_as_fill_a_forward_pass(attack, net, images) -> None:
    sizes: list[int] = []
    net.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    attack.within(Threat(eps=Fraction(1, 10**6))).perturb(net, images, net(images).argmax(1), generator("cpu", 0))
    assert attack.together == 2
    assert max(sizes) == 2 * attack.asked <= CHUNK


def test_spsa_without_noise_ends_where_everything_is_fooled(net, images) -> None:
    wrong = (net(images).argmax(1) + 1) % 10
    sizes: list[int] = []
    net.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    attack = Spsa(directions=8, iterations=5).within(Threat())
    assert torch.equal(attack.perturb(net, images, wrong, generator("cpu", 0)), images)
    assert sizes == [len(images)]


def test_nattack_counts_a_check_that_all_its_looks_misjudge(images) -> None:
    """On a network that errs half the time by chance, more looks leave fewer images found."""
    net = EnResNet(depth=8, noise=3.0).create(10, 3, 0).eval()
    reseed(net, 1)
    y = net(images).argmax(1)
    found = [
        float((NAttack(looks=looks)._wrong(net, images.repeat(20, 1, 1, 1), y.repeat(20))).float().mean())
        for looks in (1, 8)
    ]
    assert found[0] > 0.1
    assert found[1] < found[0] / 2


def test_the_looks_of_nattack_are_paid_for() -> None:
    assert NAttack().passes == 400 * 300 + 40
    assert NAttack(looks=10).passes == 400 * 300 + 400
