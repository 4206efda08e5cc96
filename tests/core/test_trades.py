"""TRADES against the paper's algorithm, written out plainly: the ascent, the loss, its gradient, its cost."""

import copy
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from core.ascent import gradient
from core.device import generator
from core.models.enresnet import EnResNet
from core.noise import reseed
from core.objectives.natural import Natural
from core.objectives.trades import Trades, divergence
from core.threat import Threat

EPS = Fraction(1, 20)


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)).train()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    stream = torch.Generator().manual_seed(1)
    x = (torch.rand(8, 3, 8, 8, generator=stream) * 1.2 - 0.1).clamp(0, 1)
    return x, torch.randint(5, (8,), generator=stream)


def kl(p: Tensor, q: Tensor) -> Tensor:
    """The definition, from probabilities."""
    return (p * (p / q).log()).sum(1)


def algorithm_1(net: nn.Module, x: Tensor, eps: float, step: float, steps: int, stream: torch.Generator) -> Tensor:
    """The paper's ascent, with p(x) anew in every step."""
    moved = (x + 0.001 * torch.randn(x.shape, generator=stream)).clamp(0, 1)
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        kl(net(x).softmax(1), net(moved).softmax(1)).sum().backward()
        moved = moved + step * moved.grad.sign()
        moved = torch.clamp(torch.max(torch.min(moved, x + eps), x - eps), 0, 1)
    return moved.detach()


def test_the_divergence_is_its_definition() -> None:
    clean, moved = torch.randn(2, 6, 5, dtype=torch.float64)
    torch.testing.assert_close(divergence(clean, moved), kl(clean.softmax(1), moved.softmax(1)))
    assert torch.equal(divergence(clean, clean), torch.zeros(6, dtype=torch.float64))


def test_its_gradient_to_the_pixels_of_a_linear_network_is_known() -> None:
    torch.manual_seed(3)
    linear = nn.Linear(12, 4).double()
    x, moved = torch.rand(2, 7, 12, dtype=torch.float64)
    clean = linear(x).detach()
    pixels, _, _ = gradient(linear, moved, torch.zeros(7).long(), lambda logits, _: divergence(clean, logits))
    torch.testing.assert_close(pixels, (linear(moved).softmax(1) - clean.softmax(1)) @ linear.weight)


def test_the_attacked_images_are_those_of_the_algorithm(net: nn.Module, batch) -> None:
    x, y = batch
    objective = Trades(eps=EPS, steps=6).within(Threat())
    found = objective.attack(net.eval(), x, y, generator("cpu", 0))
    wanted = algorithm_1(net, x, float(EPS), float(objective.step), 6, generator("cpu", 0))
    torch.testing.assert_close(found, wanted)


def test_attacked_images_stay_in_ball_and_box_and_change_the_prediction(net: nn.Module, batch) -> None:
    x, y = batch
    attacked = Trades(eps=EPS).within(Threat()).attack(net.eval(), x, y, generator("cpu", 0))
    assert (attacked - x).abs().max() <= float(EPS) + 1e-6
    assert (attacked.min(), attacked.max()) == (0, 1)
    noise = (x + 0.05 * torch.randn(x.shape, generator=generator("cpu", 1)).sign()).clamp(0, 1)
    assert divergence(net(x), net(attacked)).mean() > 3 * divergence(net(x), net(noise)).mean()


def test_loss_and_gradients_are_those_of_the_formula(net: nn.Module, batch) -> None:
    x, y = batch
    objective = Trades(eps=EPS, beta=2.5).within(Threat())
    plain = copy.deepcopy(net)
    attacked = objective.attack(copy.deepcopy(net).eval(), x, y, generator("cpu", 0))
    loss, stats = objective.loss(net, x, y, generator("cpu", 0))
    p, q = plain(x).softmax(1), plain(attacked).softmax(1)
    wanted = -p[range(8), y].log().mean() + 2.5 * kl(p, q).mean()
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    wanted.backward()
    for ours, theirs in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)
    assert (stats["clean"], stats["robust"]) == ((p.argmax(1) == y).sum(), (q.argmax(1) == y).sum())


def test_with_beta_zero_the_loss_is_that_of_ordinary_training(net: nn.Module, batch) -> None:
    loss, _ = Trades(beta=0).within(Threat()).loss(copy.deepcopy(net), *batch, generator("cpu", 0))
    assert torch.equal(loss, Natural().loss(net, *batch, generator("cpu", 0))[0])


def test_with_radius_zero_the_loss_is_that_of_ordinary_training(net: nn.Module, batch) -> None:
    loss, stats = Trades(eps=0).within(Threat()).loss(copy.deepcopy(net), *batch, generator("cpu", 0))
    torch.testing.assert_close(loss, Natural().loss(net, *batch, generator("cpu", 0))[0])
    assert stats["clean"] == stats["robust"]


def test_a_random_network_is_also_asked_for_predictions_that_do_not_depend_on_the_draw() -> None:
    net = EnResNet(depth=8, members=1).create(10, 3, 0)
    x, y = torch.rand(4, 3, 32, 32), torch.arange(4)
    losses = []
    for beta in (0, 1):
        reseed(net, "train")
        losses.append(Trades(eps=0, beta=beta).within(Threat()).loss(net, x, y, generator("cpu", 0))[0])
    assert losses[1] > losses[0] + 1e-6


@pytest.mark.parametrize(("craft", "batches"), [("eval", 2), ("train", 13)])
def test_batch_norm_sees_clean_and_attacked_images_as_two_batches(net, batch, craft: str, batches: int) -> None:
    Trades(craft_batchnorm=craft).within(Threat()).loss(net, *batch, generator("cpu", 0))
    assert int(net[1].num_batches_tracked) == batches


def test_its_cost_counts_one_clean_pass_the_steps_and_two_training_passes(net: nn.Module, batch) -> None:
    calls: list[int] = []
    net.register_forward_hook(lambda *_: calls.append(1))
    Trades(steps=7).within(Threat()).loss(net, *batch, generator("cpu", 0))
    assert len(calls) == 1 + 7 + 2
    assert Trades(steps=7).passes == 1 + 2 * 7 + 2 * 3
    assert Trades().passes == 27
