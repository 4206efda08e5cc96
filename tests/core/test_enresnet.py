"""The Feynman-Kac noise: what it adds, over what, and its gradient."""

import pytest
import torch
from torch import Tensor

from core.models.enresnet import AddNoise, EnResNet, FeynmanKacNoise
from core.models.resnet18 import ResNet18
from core.noise import Quiet, reseed, silent, stochastic_layers


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (1, 2, 3)], ids=["batch", "sample"])
def test_the_closed_form_gradient_is_right(axes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    noise = torch.randn_like(x)
    assert torch.autograd.gradcheck(lambda z: AddNoise.apply(z, noise, 0.3, axes), x)


@pytest.mark.parametrize("over", ["batch", "sample"])
def test_the_noise_is_a_times_the_standard_deviation(over: str) -> None:
    layer = FeynmanKacNoise(0.1, over)
    x = torch.randn(64, 8, 16, 16) * torch.linspace(0.1, 3, 64).view(-1, 1, 1, 1)
    reseed(layer, 1)
    added = layer(x) - x
    wanted = x.std() if over == "batch" else x.std((1, 2, 3))
    got = added.std((1, 2, 3))
    torch.testing.assert_close(got, 0.1 * wanted.expand_as(got), rtol=0.1, atol=0)


def test_batch_wide_noise_makes_images_depend_on_one_another_and_per_sample_noise_does_not() -> None:
    x = torch.randn(4, 3, 8, 8)
    louder = torch.cat([x[:3], 10 * x[3:]])
    for over, independent in (("batch", False), ("sample", True)):
        layer = FeynmanKacNoise(0.1, over)
        outputs = []
        for images in (x, louder):
            reseed(layer, 1)
            outputs.append(layer(images)[:3])
        assert torch.equal(*outputs) == independent


def test_noise_is_on_in_evaluation_too() -> None:
    net = EnResNet(depth=8, members=2).create(10, 3, 0).eval()
    x = torch.rand(2, 3, 32, 32)
    reseed(net, 1)
    assert not torch.equal(net(x), net(x))


def test_members_draw_different_noise() -> None:
    net = EnResNet(depth=8, members=2).create(10, 3, 0)
    layers = [block.noise for member in net.members for block in member.blocks]
    reseed(net, 1)
    first: list[Tensor] = [layer.draw(torch.zeros(1, 1, 4, 4)) for layer in layers]
    assert len({noise.numpy().tobytes() for noise in first}) == len(layers)


def test_the_ensemble_is_the_mean_of_its_members_logits() -> None:
    net = EnResNet(depth=8, members=3).create(10, 3, 0).eval()
    x = torch.rand(2, 3, 32, 32)
    with silent(net):
        torch.testing.assert_close(net(x), sum(member(x) for member in net.members) / 3)


def test_without_noise_the_network_is_deterministic_and_the_noise_comes_back() -> None:
    net = EnResNet(depth=8, members=1).create(10, 3, 0).eval()
    x = torch.rand(2, 3, 32, 32)
    twin = Quiet(net)
    assert torch.equal(twin(x), twin(x))
    reseed(net, 1)
    assert not torch.equal(net(x), twin(x))


def test_an_unseeded_random_network_says_so() -> None:
    net = EnResNet(depth=8).create(10, 3, 0)
    with pytest.raises(RuntimeError, match="must be seeded before use"):
        net(torch.rand(1, 3, 32, 32))


def test_a_constant_stream_has_the_gradient_that_torch_gives_it() -> None:
    x = torch.full((2, 3, 4, 4), 0.5, requires_grad=True)
    AddNoise.apply(x, torch.randn(2, 3, 4, 4), 0.1, (0, 1, 2, 3)).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_with_coefficient_zero_the_network_is_not_a_random_one() -> None:
    assert not stochastic_layers(EnResNet(depth=8, noise=0).create(10, 3, 0))


def test_depth_18_means_members_of_resnet18() -> None:
    with torch.device("meta"):
        net, plain = EnResNet(depth=18, members=2).build(10, 3), ResNet18().build(10, 3)
    for member in net.members:
        assert {key: value.shape for key, value in member.state_dict().items()} == {
            key: value.shape for key, value in plain.state_dict().items()
        }
    assert len(stochastic_layers(net)) == 2 * 8
    ties = ResNet18().ties()
    assert EnResNet(depth=18, members=2).ties() == tuple(tie.within(f"members.{n}") for n in (0, 1) for tie in ties)


@pytest.mark.parametrize("depth", [16, 17, 19, 21, 34])
def test_another_depth_is_refused_with_those_that_are_right(depth: int) -> None:
    with pytest.raises(ValueError, match=r"depth must be 18 \(ResNet18\) or 6n \+ 2: 8, 14, 20"):
        EnResNet(depth=depth)
