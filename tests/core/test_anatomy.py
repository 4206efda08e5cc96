"""The anatomy of a network: its counts against torch's and brute force, its norms, and the layer that is shown whole."""

import math

import pytest
import torch
from torch import nn

from core.anatomy import BINS, MOST, Anatomy, Histogram, dissect
from core.measure import channel_sparsity, weight_sparsity
from core.models.enresnet import EnResNet
from core.models.lenet5 import LeNet5


@pytest.fixture(scope="module")
def net() -> nn.Module:
    """An ensemble of two, with a dead input channel in one layer and single zeros in another."""
    torch.manual_seed(0)
    found = EnResNet(depth=8, members=2).build(10, 3)
    with torch.no_grad():
        found.get_submodule("members.1.blocks.0.conv2").weight[:, 3] = 0
        found.get_submodule("members.0.conv1").weight[0] = 0
        found.get_submodule("members.0.conv1").weight[1, 0, 0, 0] = 5e-4
    return found


@pytest.fixture(scope="module")
def anatomy(net: nn.Module) -> Anatomy:
    return dissect(net)


def convolutions(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: m.weight.detach() for name, m in net.named_modules() if isinstance(m, nn.Conv2d)}


def test_a_histogram_is_torch_s_of_all_that_is_not_zero() -> None:
    torch.manual_seed(1)
    w = torch.randn(50, 40, dtype=torch.float64)
    w[w.abs() < 0.3] = 0
    found = Histogram.of(w)
    expected = torch.histc(w[w != 0], BINS, -found.limit, found.limit)
    assert torch.equal(torch.tensor(found.counts, dtype=torch.float64), expected)
    assert (found.n, found.zeros, found.limit) == (2000, int((w == 0).sum()), float(w.abs().max()))


def test_a_histogram_by_hand() -> None:
    found = Histogram.of(torch.tensor([[-1.0, 0.0, 9e-4], [2e-3, 0.999, 1.0]]))
    low, middle, high = found.counts[0], found.counts[BINS // 2], found.counts[-1]
    assert (low, middle, high, sum(found.counts)) == (1, 2, 2, 5)
    assert (found.n, found.zeros, found.small) == (6, 1, 2)
    assert found.edges[BINS // 2] < 0 < found.edges[BINS // 2 + 1]
    assert (found.edges[0], found.edges[-1], len(found.edges)) == (-1, 1, BINS + 1)


def test_a_histogram_of_zeros_alone_has_no_bar_and_legal_edges() -> None:
    found = Histogram.of(torch.zeros(4))
    assert (found.zeros, found.small, sum(found.counts), found.limit) == (4, 4, 0, 1)


def test_the_histogram_of_the_network_is_of_all_convolutions_and_no_other_weight(
    net: nn.Module, anatomy: Anatomy
) -> None:
    weights = torch.cat([w.flatten() for w in convolutions(net).values()])
    assert anatomy.weights == Histogram.of(weights)
    assert anatomy.weights.zeros / anatomy.weights.n == weight_sparsity(net)
    assert anatomy.weights.small == sum(abs(value) < 1e-3 for value in weights.tolist())
    for layer in anatomy.layers:
        assert layer.weights == Histogram.of(convolutions(net)[layer.name])


def test_the_norms_are_those_of_every_input_channel_by_brute_force(net: nn.Module, anatomy: Anatomy) -> None:
    assert [layer.name for layer in anatomy.layers] == list(convolutions(net))
    for layer in anatomy.layers:
        w = convolutions(net)[layer.name]
        expected = [math.sqrt(sum(v * v for v in w[:, c].flatten().tolist())) for c in range(w.shape[1])]
        assert layer.norms == pytest.approx(expected, rel=1e-5)
        assert layer.shape == list(w.shape)
    assert anatomy.norms.count(0) == 1
    assert anatomy.norms.count(0) / len(anatomy.norms) == pytest.approx(channel_sparsity(net))


def test_a_norm_too_small_to_matter_is_not_a_zero() -> None:
    net = nn.Sequential(nn.Conv2d(2, 1, 1))
    with torch.no_grad():
        net[0].weight[0, :, 0, 0] = torch.tensor([1e-30, 0.0])
    assert dissect(net).norms == [pytest.approx(1e-30), 0]


def test_the_layer_shown_is_the_last_one_of_the_first_member(net: nn.Module, anatomy: Anatomy) -> None:
    assert anatomy.picture.layer == "members.0.blocks.2.conv2"
    w = convolutions(net)[anatomy.picture.layer]
    assert w.shape == (64, 64, 3, 3)
    torch.testing.assert_close(torch.tensor(anatomy.picture.values), w, rtol=1e-5, atol=0)


def test_a_shortcut_is_shown_only_where_there_is_nothing_else() -> None:
    assert dissect(nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 2, 1))).picture.layer == "0"
    assert dissect(nn.Sequential(nn.Conv2d(2, 3, 1), nn.Conv2d(3, 2, 1))).picture.layer == "1"


def test_of_a_large_layer_a_corner_is_shown_and_the_whole_is_counted() -> None:
    net = nn.Sequential(nn.Conv2d(MOST + 2, MOST + 1, 3))
    found = dissect(net)
    assert torch.tensor(found.picture.values).shape == (MOST, MOST, 3, 3)
    assert found.layer("0").weights.n == (MOST + 2) * (MOST + 1) * 9
    torch.testing.assert_close(
        torch.tensor(found.picture.values), net[0].weight.detach()[:MOST, :MOST], rtol=1e-5, atol=0
    )


def test_an_anatomy_survives_json_and_leaves_the_network_as_it_was(net: nn.Module, anatomy: Anatomy) -> None:
    before = {name: w.clone() for name, w in net.state_dict().items()}
    text = dissect(net).model_dump_json()
    assert Anatomy.model_validate_json(text) == anatomy
    assert len(text) < 1_000_000
    assert all(torch.equal(w, before[name]) for name, w in net.state_dict().items())


def test_a_network_of_another_kind_is_shown_too() -> None:
    assert dissect(LeNet5().build(10, 1)).picture.layer == "conv2"
