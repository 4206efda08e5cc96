"""What every sparsifier must do as an optimiser."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contracts.conftest import of
from core import checkpoint
from core.channels import Tie
from core.family import members
from core.optimizers import Optimizer
from core.sparsifiers.base import Sparsifier, Stage

SPARSIFIERS = of("sparsifiers")
VARIANTS = [
    {"name": "rvsm", "prox": "l1", "pull": "inside_momentum"},
    {"name": "rvsm", "prox": "transformed_l1", "replace": "never", "a": 3.0},
    {"name": "rgsm", "prox": "group_lasso", "pull": "inside_momentum", "min_groups": 0},
    {"name": "rgsm", "groups": "conv_filters", "replace": "never"},
    {"name": "admm", "structure": "channel", "rho_growth": 1.3, "update_every": 2},
    {"name": "admm", "structure": "filter", "shares": [0, 1, 0]},
    {"name": "admm", "structure": "column"},
    {"name": "admm", "layers": "all", "sparsity": [0.5, 0.6, 0.7]},
    {"name": "admm", "mode": "thesis", "sparsity": 0.8},
    {"name": "admm", "mode": "thesis", "structure": "channel", "rho": 0.1},
    {"name": "rgsm", "prox": "group_transformed_l1", "size_weight": "sqrt", "a": 2.0},
    {"name": "slimming", "then": "scratch", "s": 0.01},
    {"name": "l1_filter", "then": "scratch", "share": [0.25, 0.5]},
]
EVERY = SPARSIFIERS + [
    pytest.param(
        members("core.sparsifiers")[variant["name"]].model_validate(variant), id="-".join(map(str, variant.values()))
    )
    for variant in VARIANTS
]
STEPS_PER_EPOCH, EPOCHS = 4, 8
TIES = (Tie("3", producer="0", norm="1"), Tie("6", producer="3", area=16))


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 16, 4),
    )


def closure(
    net: nn.Module, optimizer: torch.optim.Optimizer, number: int, penalty: Callable[[nn.Module], Tensor | float]
) -> Callable[[], Tensor]:
    stream = torch.Generator().manual_seed(number)
    x, y = torch.rand(16, 3, 8, 8, generator=stream), torch.randint(4, (16,), generator=stream)

    def call() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y) + penalty(net)
        loss.backward()
        return loss

    return call


def train(
    net: nn.Module, optimizer: torch.optim.Optimizer, first: int, last: int, sparsifier: Sparsifier | None = None
) -> None:
    for number in range(first, last):
        optimizer.step(closure(net, optimizer, number, sparsifier.penalty if sparsifier else lambda _: 0.0))


def stages(sparsifier: Sparsifier) -> list[Stage]:
    return sparsifier.stages(EPOCHS, 0.1)


def flat(net: nn.Module) -> Tensor:
    return torch.cat([value.flatten().double() for value in net.state_dict().values()])


@pytest.mark.parametrize("base", [Optimizer(), Optimizer(optimizer="adamw", lr=1e-3)], ids=["sgd", "adamw"])
@pytest.mark.parametrize("sparsifier", EVERY)
def test_at_strength_zero_it_is_the_wrapped_optimiser_bit_for_bit(sparsifier: Sparsifier, base: Optimizer) -> None:
    for stage in stages(sparsifier):
        ours, plain = network(), network()
        zero = sparsifier.without_strength()
        train(ours, zero.optimizer(ours, base, STEPS_PER_EPOCH, stage), 0, 10, zero)
        train(plain, base.make(plain.parameters(), stage.lr), 0, 10)
        assert torch.equal(flat(ours), flat(plain)), stage.name


@pytest.mark.parametrize("sparsifier", EVERY)
def test_a_restart_changes_nothing(sparsifier: Sparsifier, tmp_path: Path) -> None:
    for stage in stages(sparsifier):
        whole, parted = network(), network()
        train(whole, one := sparsifier.optimizer(whole, Optimizer(), STEPS_PER_EPOCH, stage), 0, 11, sparsifier)
        train(
            parted,
            sparsifier_optimizer := sparsifier.optimizer(parted, Optimizer(), STEPS_PER_EPOCH, stage),
            0,
            6,
            sparsifier,
        )
        saved = checkpoint.save(
            tmp_path, "x", {"net": parted.state_dict(), "optimizer": sparsifier_optimizer.state_dict()}
        )
        state, again = checkpoint.load(*saved), network()
        optimizer = sparsifier.optimizer(again, Optimizer(), STEPS_PER_EPOCH, stage)
        again.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        train(again, optimizer, 6, 11, sparsifier)
        assert torch.equal(flat(again), flat(whole)), stage.name
        one.finalize()
        optimizer.finalize()
        assert torch.equal(flat(again), flat(whole)), stage.name


@pytest.mark.parametrize("sparsifier", SPARSIFIERS)
def test_a_schedule_reaches_the_wrapped_optimiser_also_after_a_restart(sparsifier: Sparsifier) -> None:
    for stage in stages(sparsifier):
        net = network()
        optimizer = sparsifier.optimizer(net, Optimizer(), STEPS_PER_EPOCH, stage)
        optimizer.load_state_dict(optimizer.state_dict())
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        before = [p.clone() for p in net.parameters()]
        train(net, optimizer, 0, 1, sparsifier)
        if stage.name == "train":
            assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
        assert all(group["lr"] == 0.0 for group in optimizer.base.param_groups)


@pytest.mark.parametrize("sparsifier", SPARSIFIERS)
def test_finalising_bakes_exact_zeros(sparsifier: Sparsifier) -> None:
    if sparsifier == sparsifier.without_strength():
        return  # the dense baseline has no zeros to bake
    strong = type(sparsifier).model_validate(sparsifier.model_dump() | sparsifier.strong())
    net = network()
    for stage in stages(strong):
        net = strong.advance(net, stage, TIES, network)
        optimizer = strong.optimizer(net, Optimizer(), STEPS_PER_EPOCH, stage)
        train(net, optimizer, 0, 9, strong)
        optimizer.finalize()
    zeros = sum(int((w == 0).sum()) for w in (net[0].weight, net[3].weight))
    assert zeros > 0


@pytest.mark.parametrize("sparsifier", SPARSIFIERS)
def test_the_stages_cover_the_epochs(sparsifier: Sparsifier) -> None:
    for epochs in (1, 2, 3, 7, 200):
        found = sparsifier.stages(epochs, 0.1)
        assert sum(stage.epochs for stage in found) == epochs
        assert all(stage.epochs > 0 and stage.lr > 0 for stage in found)
