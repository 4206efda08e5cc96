"""The loop behind the thesis's Table 4.7, fault by fault: whoever repeats that table must repeat these."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.channels import convolutions
from core.optimizers import Optimizer
from core.sparsifiers.admm import Admm
from core.sparsifiers.published import Published, flagged_percentile, signed_percentile

PLAIN = Optimizer(lr=0.05, momentum=0.0, nesterov=False, weight_decay=0.0)


def zeros(w: Tensor) -> float:
    return float((w == 0).double().mean())


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3), nn.Conv2d(4, 4, 1)).double()


def published(net: nn.Module, steps_per_epoch: int, **settings: object) -> Published:
    admm = Admm(mode="thesis", **settings)
    (stage,) = admm.stages(7, 0.05)
    assert (stage.name, stage.epochs) == ("train", 7), "there is one stage"
    optimizer = admm.optimizer(net, PLAIN, steps_per_epoch, stage)
    assert isinstance(optimizer, Published)
    return optimizer


def still(optimizer: Published) -> None:
    """A step with zero gradients: what moves, the method moves."""

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = sum((0 * p).sum() for p in optimizer.parameters())
        loss.backward()
        return loss

    optimizer.step(closure)


@pytest.mark.parametrize(("asked", "zeroed"), [(0.8, 0.6), (0.6, 0.2), (0.5, 0.0), (0.3, 0.0)])
def test_the_percentile_of_signed_weights_zeroes_far_fewer_than_asked(asked: float, zeroed: float) -> None:
    w = torch.randn(400, 300, generator=torch.Generator().manual_seed(1))
    assert zeros(signed_percentile(w, asked)) == pytest.approx(zeroed, abs=0.01)


@pytest.mark.parametrize("asked", [0.0, 0.35, 0.8, 0.99])
def test_the_signed_percentile_is_numpys(asked: float) -> None:
    w = torch.randn(7, 5, 3, 3, generator=torch.Generator().manual_seed(2))
    threshold = np.percentile(w.double().numpy(), 100 * asked)
    assert torch.equal(signed_percentile(w, asked) != 0, w.abs() >= threshold)


@pytest.mark.parametrize("channels", [16, 64, 256])
@pytest.mark.parametrize(("middle", "low", "high"), [(0.3, 0.18, 0.21), (1.0, 0.25, 0.45), (2.0, 0.45, 0.54)])
def test_flags_among_the_norms_keep_up_to_half_of_the_channels_instead_of_a_fifth(
    channels: int, middle: float, low: float, high: float
) -> None:
    """A flag of 1 lies above all norms still to come if these are below 1, and then does no harm; below them, it does."""
    stream = torch.Generator().manual_seed(3)
    kept = []
    for _ in range(10):
        norms = middle * (torch.rand(1, channels, 1, 1, generator=stream) + 0.5)
        found = flagged_percentile(norms, 0.8)
        kept.append(1 - zeros(found))
        assert torch.equal(found[found != 0], norms[found != 0])
    assert low < sum(kept) / 10 < high


def test_the_flags_are_those_of_the_published_rule_written_out() -> None:
    """Norms 4, 3, 2, 1 at 50 %: 4 > 2.5 stays; then of 1, 3, 2, 1 the 3 > 1.5; of 1, 1, 2, 1 the 2 > 1; and 1 > 1 is false."""
    w = torch.tensor([4.0, 3.0, 2.0, 1.0]).view(1, 4, 1, 1)
    assert flagged_percentile(w, 0.5).flatten().tolist() == [4, 3, 2, 0]


def test_z_and_u_start_anew_with_every_epoch_and_change_with_every_batch() -> None:
    net = network()
    optimizer = published(net, 3, sparsity=0.8, rho=0.5)
    w = net[0].weight
    seen = []
    for _ in range(6):
        before, u = w.detach().clone(), optimizer.state[w]["U"].clone()
        fresh = optimizer.steps % 3 == 0
        still(optimizer)
        u = torch.zeros_like(u) if fresh else u
        z = signed_percentile(before + u, 0.8)
        torch.testing.assert_close(optimizer.state[w]["Z"], z, rtol=0, atol=0)
        torch.testing.assert_close(optimizer.state[w]["U"], u + before - z, rtol=0, atol=0)
        seen.append(float(optimizer.state[w]["U"].norm()))
    assert seen[0] < seen[1] < seen[2] > seen[3] < seen[4]


@pytest.mark.parametrize("layers", [1, 3])
def test_the_pull_is_repeated_once_for_each_layer(layers: int) -> None:
    """W goes to Z - U by the factor (1 - lr rho)^L, where one pull has 1 - lr rho."""
    net = network()[:layers]
    w = net[0].weight
    before = w.detach().clone()
    optimizer = published(net, 9, sparsity=0.8, rho=0.5)
    still(optimizer)
    target = optimizer.state[w]["Z"] - optimizer.state[w]["U"]
    torch.testing.assert_close(w.data, target + (1 - 0.05 * 0.5) ** layers * (before - target), rtol=0, atol=1e-14)


@pytest.mark.parametrize("structure", ["unstructured", "channel"])
def test_the_network_that_is_judged_was_never_projected(structure: str) -> None:
    net = network()
    optimizer = published(net, 2, sparsity=0.8, structure=structure)
    for _ in range(4):
        still(optimizer)
    before = [p.detach().clone() for p in net.parameters()]
    optimizer.finalize()
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    assert all(bool((w != 0).all()) for w in convolutions(net))
    assert optimizer.figures["gap"] > 0.1, "Z is another network"
