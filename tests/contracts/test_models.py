"""What every network must do."""

import copy

import pytest
import torch
from torch import nn

from contracts.conftest import of
from core import proximal
from core.blueprint import Blueprint
from core.channels import alive, convolutions, layers, remove
from core.family import members
from core.measure import macs
from core.models.base import Model, parameters
from core.noise import reseed, silent, stochastic_layers

MODELS = of("models")
VGG16_A = [32, 64, 128, 128, *9 * [256]]
PUBLISHED = [
    ("resnet", {"depth": 20}, 3, 272_282),
    ("resnet", {"depth": 32}, 3, 466_714),
    ("resnet", {"depth": 38}, 3, 563_930),
    ("resnet", {"depth": 44}, 3, 661_146),
    ("resnet", {"depth": 56}, 3, 853_018 + 16 * 32 + 32 * 64),  # without weights in its shortcuts it has 853,018
    ("resnet", {"depth": 110}, 3, 1_730_522),
    ("resnet18", {}, 3, 11_172_170),  # published as 11.17 M
    ("vgg16", {}, 3, 14_724_042),  # published as 14.72 M
    ("enresnet", {"members": 2}, 3, 544_564),
    ("enresnet", {"members": 5}, 3, 1_361_410),
    ("lenet5", {"widths": "6-16-120-84"}, 1, 61_706),
    ("enresnet", {"members": 2, "depth": 18}, 3, 2 * 11_172_170),
    ("lenet5", {"widths": "20-50-500"}, 1, 431_080),
]
INPUT_CHANNELS = [
    ("resnet", {"depth": 20}, 3, 675),
    ("resnet", {"depth": 38}, 3, 1347),
    ("enresnet", {"members": 2}, 3, 1350),
    ("enresnet", {"members": 5}, 3, 3375),
    ("resnet18", {}, 3, 3843),
    ("vgg16", {}, 3, 3715),
    ("lenet5", {"widths": "6-16-120-84"}, 1, 7),
]
"""The denominators that fit the thesis's percentages: 171 of 675 are 25.33 %, 1,760 of 3,843 are 45.8 %, and so on."""
MULTIPLICATIONS = [({}, 3.13e8), ({"widths": VGG16_A}, 2.06e8)]
"""Of VGG16 on CIFAR-10, whole and pruned (Li et al. 2017, arXiv 1608.08710, table 1)."""


def shape(model: Model) -> tuple[int, int, int]:
    return model.images[0] if model.images else (3, 32, 32)


def pruned(model: Model, share: float = 0.4) -> nn.Module:
    """A network with moved batch norms, and dead input channels in every convolution that has several."""
    channels, height, width = shape(model)
    net = model.create(10, channels, 1)
    reseed(net, "warm")
    for _ in range(3):
        net(torch.rand(8, channels, height, width))
    with torch.no_grad():
        for w in convolutions(net):
            w.copy_(proximal.keep_largest(w, share if w.shape[1] > 1 else 0, proximal.INPUT_CHANNELS))
    return net.eval()


@pytest.mark.parametrize(("name", "settings", "channels", "published"), PUBLISHED)
def test_published_parameter_counts_hold(name: str, settings: dict, channels: int, published: int) -> None:
    with torch.device("meta"):
        assert parameters(members("core.models")[name](**settings).build(10, channels)) == published


@pytest.mark.parametrize(("name", "settings", "channels", "total"), INPUT_CHANNELS)
def test_published_shares_of_input_channels_have_these_denominators(
    name: str, settings: dict, channels: int, total: int
) -> None:
    net = members("core.models")[name](**settings).build(10, channels)
    assert sum(layer.total for layer in layers(net)) == total


@pytest.mark.parametrize(("settings", "published"), MULTIPLICATIONS)
def test_published_multiplications_hold(settings: dict, published: float) -> None:
    with torch.device("meta"):
        net = members("core.models")["vgg16"](**settings).build(10, 3).eval()
        assert macs(net, torch.empty(1, 3, 32, 32)) == pytest.approx(published, rel=0.005)


@pytest.mark.parametrize("model", MODELS)
def test_pixels_in_and_logits_out(model: Model) -> None:
    net = model.create(7, shape(model)[0], 0)
    reseed(net, 0)
    assert net(torch.rand(2, *shape(model))).shape == (2, 7)


@pytest.mark.parametrize("model", MODELS)
def test_weights_depend_on_the_seed_alone(model: Model) -> None:
    torch.manual_seed(1)
    one = model.create(10, shape(model)[0], 5).state_dict()
    torch.manual_seed(2)
    expected = torch.rand(1)
    torch.manual_seed(2)
    other = model.create(10, shape(model)[0], 5).state_dict()
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(one[key], other[key]) for key in one)
    third = model.create(10, shape(model)[0], 6).state_dict()
    assert any(not torch.equal(one[key], third[key]) for key in one)


@pytest.mark.parametrize("model", MODELS)
def test_removing_dead_channels_changes_no_logit(model: Model) -> None:
    net = pruned(model)
    keep = alive(net, model.ties())
    small = remove(copy.deepcopy(net), model.ties(), keep)
    x = torch.rand(16, *shape(model))
    with silent(net), silent(small):
        torch.testing.assert_close(small(x), net(x), rtol=0, atol=1e-5)
    for seed in range(3):
        reseed(net, seed)
        reseed(small, seed)
        torch.testing.assert_close(small(x), net(x), rtol=0, atol=1e-5)
    assert parameters(small) < parameters(net)


@pytest.mark.parametrize("model", MODELS)
def test_every_dead_channel_is_removed_but_the_last_of_a_layer(model: Model) -> None:
    net = pruned(model)
    small = remove(copy.deepcopy(net), model.ties(), alive(net, model.ties()))
    expected = [(layer.layer, max(layer.alive, 1)) for layer in layers(net)]
    assert [(layer.layer, layer.total) for layer in layers(small)] == expected


@pytest.mark.parametrize("model", MODELS)
def test_a_compact_network_is_built_again_from_its_blueprint(model: Model) -> None:
    net = pruned(model)
    keep = alive(net, model.ties())
    small = remove(net, model.ties(), keep)
    blueprint = Blueprint(model=model, num_classes=10, channels=shape(model)[0], keep=keep)
    again = Blueprint.model_validate_json(blueprint.model_dump_json()).build(seed=99).eval()
    again.load_state_dict(small.state_dict())
    x = torch.rand(4, *shape(model))
    reseed(small, 1)
    reseed(again, 1)
    assert torch.equal(again(x), small(x))


@pytest.mark.parametrize("model", MODELS)
def test_only_random_networks_are_random(model: Model) -> None:
    net = model.create(10, shape(model)[0], 0).eval()
    x = torch.rand(4, *shape(model))
    outputs = []
    for seed in (1, 2):
        reseed(net, seed)
        outputs.append(net(x))
    assert torch.equal(*outputs) == (not stochastic_layers(net))


@pytest.mark.parametrize("model", MODELS)
def test_a_network_with_one_dead_layer_keeps_a_legal_shape(model: Model) -> None:
    net = pruned(model)
    last = convolutions(net)[-1]
    with torch.no_grad():
        last.zero_()
    small = remove(copy.deepcopy(net), model.ties(), alive(net, model.ties()))
    x = torch.rand(4, *shape(model))
    with silent(net), silent(small):
        torch.testing.assert_close(small(x), net(x), rtol=0, atol=1e-5)
