"""Network slimming and l1-norm filter pruning: what is cut, that it can be removed for real, and that it stays cut."""

import copy

import pytest
import torch
from torch import Tensor, nn

from core import proximal
from core.channels import Tie, alive, remove
from core.errors import InvalidSpec
from core.models.base import Model, parameters
from core.models.enresnet import EnResNet
from core.models.lenet5 import LeNet5
from core.models.resnet import ResNet
from core.noise import reseed, silent
from core.optimizers import Optimizer
from core.sparsifiers.base import Stage
from core.sparsifiers.l1_filter import L1Filter
from core.sparsifiers.oneshot import OneShot
from core.sparsifiers.slimming import Slimming

PLAIN = Optimizer(lr=0.01, momentum=0.0, nesterov=False, weight_decay=0.0)
CASES = [
    (Slimming(share=0.6), ResNet(depth=14)),
    (Slimming(share=0.4), EnResNet(depth=8)),
    (L1Filter(share=0.5), ResNet(depth=14)),
    (L1Filter(share=0.3), EnResNet(depth=8)),
    (L1Filter(share=(0.5, 0.25)), LeNet5()),
]
TUNE, SCRATCH = Stage("finetune", 1, 0.1), Stage("scratch", 1, 0.1)


def shape(model: Model) -> tuple[int, int, int]:
    return model.images[0] if model.images else (3, 16, 16)


def trained(model: Model) -> nn.Module:
    """A network whose batch norms have moved, each its own way."""
    net = model.create(10, shape(model)[0], 1)
    stream = torch.Generator().manual_seed(2)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.copy_(torch.rand(len(module.weight), generator=stream) * 2 - 1)
            module.bias.data.copy_(torch.rand(len(module.weight), generator=stream))
    reseed(net, "warm")
    for _ in range(3):
        net(torch.rand(8, *shape(model), generator=stream))
    return net


def cut(method: OneShot, model: Model, stage: Stage = TUNE) -> nn.Module:
    return method.advance(trained(model), stage, model.ties(), lambda: model.create(10, shape(model)[0], 7))


@pytest.mark.parametrize(("method", "model"), CASES)
def test_what_is_cut_can_be_removed_for_real_and_no_logit_changes(method: OneShot, model: Model) -> None:
    net = cut(method, model).eval()
    dead = method.dead(trained(model), model.ties())
    keep = alive(net, model.ties())
    assert keep == {tie.consumer: (~gone).nonzero().flatten().tolist() for tie, gone in dead if gone.any()}
    small = remove(copy.deepcopy(net), model.ties(), keep)
    x = torch.rand(8, *shape(model))
    with silent(net), silent(small):
        torch.testing.assert_close(small(x), net(x), rtol=0, atol=1e-5)
    assert parameters(small) < parameters(net)


@pytest.mark.parametrize(("method", "model"), CASES)
def test_nothing_of_a_cut_channel_is_left_in_the_layers_that_removal_shrinks(method: OneShot, model: Model) -> None:
    net = cut(method, model)
    for tie, gone in method.dead(trained(model), model.ties()):
        for name in filter(None, (tie.norm, tie.producer)):
            for p in net.get_submodule(name).parameters():
                assert torch.equal(p.detach().flatten(1).eq(0).all(1) if p.ndim > 1 else p == 0, gone), name


@pytest.mark.parametrize("base", [Optimizer(), Optimizer(optimizer="adamw")], ids=["sgd", "adamw"])
@pytest.mark.parametrize("stage", [TUNE, SCRATCH])
@pytest.mark.parametrize(("method", "model"), CASES)
def test_what_is_cut_stays_cut_while_the_rest_is_tuned(
    method: OneShot, model: Model, stage: Stage, base: Optimizer
) -> None:
    net = cut(method, model, stage)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimizer = method.optimizer(net, base, 3, stage)
    for step in range(3):

        def closure(step: int = step) -> Tensor:
            optimizer.zero_grad()
            reseed(net, step)
            x = torch.rand(8, *shape(model), generator=torch.Generator().manual_seed(step))
            loss = net(x).square().mean()
            loss.backward()
            return loss

        optimizer.step(closure)
    for tie, gone in method.dead(trained(model), model.ties()):
        reads = net.get_submodule(tie.consumer).weight
        assert not reads.detach().view(len(reads), len(gone), -1)[:, gone].any()
        for name in filter(None, (tie.norm, tie.producer)):
            for key, p in net.get_submodule(name).named_parameters():
                assert not p[gone].any(), (name, key)
                assert not torch.equal(p[~gone], before[f"{name}.{key}"][~gone]), "the rest moves"


@pytest.mark.parametrize(("method", "model"), CASES)
def test_fine_tuning_goes_on_from_the_trained_weights_and_scratch_from_fresh_ones(
    method: OneShot, model: Model
) -> None:
    for stage, origin in ((TUNE, trained(model)), (SCRATCH, model.create(10, shape(model)[0], 7))):
        found, expected = cut(method, model, stage).state_dict(), origin.state_dict()
        for name, value in found.items():
            assert bool(((value == expected[name]) | (value == 0)).all()), (stage.name, name)
        assert any(bool((value == 0).any()) for value in found.values())


def test_in_its_first_stage_nothing_is_cut() -> None:
    net = trained(ResNet(depth=8))
    before = copy.deepcopy(net.state_dict())
    Slimming().advance(net, Stage("train", 1, 0.1), ResNet(depth=8).ties(), lambda: net)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_slimming_solves_the_lasso_of_the_scales() -> None:
    """(1/2)||gamma - b||^2 + s ||gamma||_1 has the minimum soft(b, s); a sub-gradient step stays within 2 lr s of it."""
    target, s = torch.linspace(-1, 1, 11, dtype=torch.float64), 0.35
    net = nn.Sequential(nn.BatchNorm2d(11)).double()
    optimizer = Slimming(s=s).optimizer(net, PLAIN, 10**9, Stage("train", 1, PLAIN.lr))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (net[0].weight - target).square().sum() / 2 + net[0].bias.sum()
        loss.backward()
        return loss

    for _ in range(3000):
        optimizer.step(closure)
    expected = proximal.soft(target, s)
    torch.testing.assert_close(net[0].weight.data, expected, rtol=0, atol=2 * PLAIN.lr * s)
    torch.testing.assert_close(net[0].weight.data[expected != 0], expected[expected != 0], rtol=0, atol=1e-9)
    torch.testing.assert_close(net[0].bias.data, torch.full((11,), -3000 * PLAIN.lr).double())


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.7])
def test_slimming_ranks_all_scales_of_the_network_together(share: float) -> None:
    model = ResNet(depth=14)
    net = trained(model)
    dead = Slimming(share=share).dead(net, model.ties())
    scales = torch.cat([net.get_submodule(tie.norm).weight.detach().abs() for tie, _ in dead])
    gone = torch.cat([channels for _, channels in dead])
    assert int(gone.sum()) == round(share * len(gone))
    assert len({float(channels.double().mean()) for _, channels in dead}) > 1 or not share
    if share:
        assert scales[gone].max() < scales[~gone].min()


def test_no_layer_is_slimmed_away() -> None:
    model = ResNet(depth=14)
    net = trained(model)
    net.blocks[1].bn2.weight.data.mul_(1e-6)
    dead = {tie.norm: channels for tie, channels in Slimming(share=0.7).dead(net, model.ties())}
    (left,) = (~dead["blocks.1.bn2"]).nonzero().flatten().tolist()
    assert left == int(net.blocks[1].bn2.weight.abs().argmax())


def test_the_largest_filters_of_each_layer_stay_in_their_own_share() -> None:
    model = LeNet5()
    net = trained(model)
    dead = L1Filter(share=(0.5, 0.25)).dead(net, model.ties())
    assert [(tie.producer, int(gone.sum())) for tie, gone in dead] == [("conv1", 3), ("conv2", 4)]
    for tie, gone in dead:
        norms = net.get_submodule(tie.producer).weight.detach().abs().sum((1, 2, 3))
        assert norms[gone].max() < norms[~gone].min()


def test_filters_are_ranked_by_l1_and_not_by_l2() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 2, bias=False), nn.Conv2d(2, 1, 1))
    net[0].weight.data.copy_(torch.tensor([[[[0.0, 0.0], [0.0, 3.0]]], [[[1.0, 1.0], [1.0, 1.0]]]]))
    ((_, gone),) = L1Filter(share=0.5).dead(net, (Tie("1", producer="0"),))
    assert gone.tolist() == [True, False], "l1 norms 3 and 4, l2 norms 3 and 2"


def test_one_filter_stays_whatever_the_share() -> None:
    model = LeNet5()
    assert [int((~gone).sum()) for _, gone in L1Filter(share=0.999).dead(trained(model), model.ties())] == [1, 1]


def test_of_a_residual_network_the_first_convolution_of_each_block_is_pruned() -> None:
    model = ResNet(depth=20)
    pruned = [tie.producer for tie, _ in L1Filter().dead(trained(model), model.ties())]
    assert pruned == [f"blocks.{n}.conv1" for n in range(9)]


def test_a_network_whose_filters_all_end_in_a_stream_is_refused() -> None:
    with pytest.raises(InvalidSpec, match=r"l1_filter has nothing to cut: no layer of LeNet has filters"):
        L1Filter().fits(lambda: LeNet5().build(10, 1), (Tie("conv1", gather="gather"),))


@pytest.mark.parametrize("then", ["finetune", "scratch"])
def test_the_cut_always_has_an_epoch_to_follow_it(then: str) -> None:
    for epochs, expected in ((1, [1]), (2, [1, 1]), (10, [8, 2])):
        found = L1Filter(then=then).stages(epochs, 0.1)
        assert [stage.epochs for stage in found] == expected
        assert found[-1].name == then
    assert [stage.lr for stage in found] == pytest.approx([0.1, 0.001])


@pytest.mark.parametrize("stage", [TUNE, SCRATCH])
def test_what_is_cut_stays_cut_also_where_the_activation_of_nothing_is_something(stage: Stage) -> None:
    """sigmoid(0) = 1/2, so a gradient does reach what the consumer reads of a dead channel; the mask holds it."""

    def network() -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 6, 3), nn.Sigmoid(), nn.Conv2d(6, 4, 3))

    method, ties = L1Filter(share=0.5), (Tie("2", producer="0"),)
    net = method.advance(network(), stage, ties, network)
    gone = net[0].weight.detach().flatten(1).eq(0).all(1)
    optimizer = method.optimizer(net, Optimizer(), 3, stage)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = net(torch.ones(2, 1, 8, 8)).square().mean()
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
    assert int(gone.sum()) == 3
    assert not net[2].weight[:, gone].any()
    assert net[2].weight[:, ~gone].all()
