"""Schedules, optimisers, keyed streams, losses and measures."""

import math

import pytest
import torch
from torch import nn

from core.ascent import Best, cross_entropy, gradient, margin
from core.channels import layers
from core.device import Autocast, generator, kept_rng, numerics, seed_of
from core.events import Fact, Progress
from core.measure import channel_sparsity, latency, macs, size, weight_sparsity
from core.models.resnet import ResNet
from core.optimizers import Optimizer
from core.schedules import Cosine, Linear, Multistep, OneCycle


def test_keys_give_streams_of_their_own() -> None:
    keys = [("a", 1), ("a", 2), ("b", 1), ("a", 1, 0), ("a", "1")]
    assert len({seed_of(*key) for key in keys}) == len(keys)
    one, same = (torch.rand(3, generator=generator("cpu", "x", 1)) for _ in range(2))
    assert torch.equal(one, same)


def test_global_generators_go_on_as_if_nothing_had_been_drawn() -> None:
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    with kept_rng():
        torch.rand(100)
    assert torch.equal(torch.rand(2), expected)


def test_determinism_is_switched_on_and_off_again() -> None:
    with numerics(deterministic=True):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.allow_tf32
    assert not torch.are_deterministic_algorithms_enabled()


def test_logits_are_fp32_whatever_the_precision() -> None:
    net = nn.Linear(4, 3)
    for precision in ("fp32", "bf16"):
        assert Autocast(net, precision)(torch.rand(2, 4)).dtype == torch.float32


@pytest.mark.parametrize(
    ("schedule", "points"),
    [
        (Multistep(milestones=(80, 120), gamma=0.1), {0: 1, 79.9: 1, 80: 0.1, 120: 0.01, 199: 0.01}),
        (Cosine(), {0: 1, 100: 0.5, 200: 0}),
        (Linear(), {0: 1, 50: 0.75, 200: 0}),
        (OneCycle(peak=0.5), {0: 0.04, 100: 1, 150: 0.5, 200: 0}),
    ],
    ids=["multistep", "cosine", "linear", "onecycle"],
)
def test_schedules_follow_their_formula(schedule, points: dict[float, float]) -> None:
    for done, factor in points.items():
        assert schedule.factor(done, 200) == pytest.approx(factor, abs=1e-12)


def test_optimisers_get_their_settings() -> None:
    net = nn.Linear(2, 2)
    sgd = Optimizer(lr=0.3, momentum=0.8, weight_decay=1e-3).make(net.parameters())
    assert isinstance(sgd, torch.optim.SGD)
    assert {key: sgd.defaults[key] for key in ("lr", "momentum", "weight_decay", "nesterov")} == {
        "lr": 0.3, "momentum": 0.8, "weight_decay": 1e-3, "nesterov": True,
    }  # fmt: skip
    adam = Optimizer(optimizer="adamw", momentum=0.8).make(net.parameters(), 0.01)
    assert isinstance(adam, torch.optim.AdamW)
    assert adam.defaults["betas"] == (0.8, 0.999)
    assert adam.defaults["lr"] == 0.01


def test_nesterov_without_momentum_is_refused() -> None:
    with pytest.raises(ValueError, match="nesterov: true needs a momentum above 0"):
        Optimizer(momentum=0.0)


def test_the_margin_is_the_lead_of_the_best_wrong_class() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0], [-5.0, -4.0, -9.0]])
    assert margin(logits, torch.tensor([0, 0])).tolist() == [-1.0, 1.0]


def test_the_gradient_is_each_images_own() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    x, y = torch.rand(5, 3, 2, 2), torch.randint(4, (5,))
    together, _, _ = gradient(net, x, y, cross_entropy)
    alone = torch.cat([gradient(net, x[i : i + 1], y[i : i + 1], cross_entropy)[0] for i in range(5)])
    torch.testing.assert_close(together, alone)
    assert all(p.grad is None for p in net.parameters())


def test_the_best_candidate_fools_before_it_maximises() -> None:
    best = Best(torch.zeros(1, 1, 1, 1))
    y = torch.tensor([0])
    best.show(torch.full((1, 1, 1, 1), 1.0), torch.tensor([[2.0, 1.0]]), y, torch.tensor([9.0]))
    best.show(torch.full((1, 1, 1, 1), 2.0), torch.tensor([[1.0, 2.0]]), y, torch.tensor([1.0]))
    best.show(torch.full((1, 1, 1, 1), 3.0), torch.tensor([[2.0, 1.0]]), y, torch.tensor([99.0]))
    assert best.image.item() == 2.0


def test_sparsity_names_its_denominator() -> None:
    net = ResNet(depth=20).create(10, 3, 0)
    assert sum(layer.total for layer in layers(net)) == 675
    first = net.get_parameter("conv1.weight")
    with torch.no_grad():
        first[:, 0] = 0
    assert weight_sparsity(net) == pytest.approx(144 / 270_256)
    assert channel_sparsity(net) == pytest.approx(1 / 675)


def test_multiplications_are_those_of_the_tables() -> None:
    net, x = ResNet(depth=20).create(10, 3, 0), torch.rand(2, 3, 32, 32)
    assert macs(net, x) == pytest.approx(40.8e6, rel=0.01)
    assert size(net) == 4 * (272_282 + 2 * 688) + 8 * 19
    assert latency(net, x[:1], repeats=3) > 0
    assert net.training


def test_an_event_never_holds_a_nan() -> None:
    with pytest.raises(ValueError, match="finite number"):
        Progress(phase="train", done=math.nan, total=1, text="x")
    assert Fact.model_config["frozen"]
