"""C&W in l2: on a linear network of two classes the nearest image that fools is known, at the edges of the box too."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from core.attacks.cw_l2 import CwL2, Nearest, Weight
from core.attacks.tanh_space import TanhSpace
from core.device import generator
from core.models.resnet import ResNet
from core.noise import Expectation, Stochastic, reseed
from core.threat import Threat, length

PATIENT = CwL2(steps=150, lr=0.02, c=0.1, search_steps=8)


class Affine(nn.Module):
    """Two classes whose margin is linear in the pixels, without and with a log-softmax."""

    def __init__(self, log: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.log = nn.Linear(48, 2), log

    def forward(self, x: Tensor) -> Tensor:
        logits = self.linear(x.flatten(1))
        return logits.log_softmax(1) if self.log else logits


@pytest.fixture
def net() -> Affine:
    return Affine()


def shortest(net: Affine, x: Tensor, y: Tensor) -> Tensor:
    """Length of the least change within the box that closes the margin: clip(x + t g) - x with t found by bisection."""
    g = (net.linear.weight[1 - y] - net.linear.weight[y]).view_as(x)
    logits = net(x)
    open_by = (logits.gather(1, y[:, None]) - logits.gather(1, 1 - y[:, None])).flatten()
    low, high = torch.zeros(len(x)), torch.full((len(x),), 1e3)
    for _ in range(60):
        t = (low + high) / 2
        closed = (((x + t.view(-1, 1, 1, 1) * g).clamp(0, 1) - x) * g).sum((1, 2, 3)) >= open_by
        low, high = torch.where(closed, low, t), torch.where(closed, t, high)
    return length((x + high.view(-1, 1, 1, 1) * g).clamp(0, 1) - x).flatten().detach()


def test_on_a_linear_network_it_finds_the_shortest_way_over_the_boundary(net: Affine) -> None:
    x = torch.rand(16, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * 0.4 + 0.3
    y = net(x).argmax(1)
    images, distances = PATIENT.nearest(net, x, y)
    assert (net(images).argmax(1) != y).all()
    torch.testing.assert_close(distances, length(images - x).flatten())
    assert (distances / shortest(net, x, y)).max() < 1.02
    assert (distances / shortest(net, x, y)).min() > 1 - 1e-3


def test_pixels_of_exactly_0_or_1_move_as_far_as_the_shortest_way_asks(net: Affine) -> None:
    x = (torch.rand(16, 3, 4, 4, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    y = net(x).argmax(1)
    images, distances = PATIENT.nearest(net, x, y)
    assert images.min() >= 0
    assert images.max() <= 1
    assert (distances / shortest(net, x, y)).max() < 1.02


def test_the_tanh_space_begins_at_the_image_itself() -> None:
    x = torch.cat([torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4), torch.rand(6, 1, 4, 4)])
    space = TanhSpace(x)
    assert torch.equal(space.image(torch.zeros_like(x)), x)
    inside = (x > 0.1) & (x < 0.9)
    w = torch.randn_like(x)
    expected = (torch.tanh(torch.atanh(2 * x - 1) + w) + 1) / 2
    torch.testing.assert_close(space.image(w)[inside], expected[inside])
    assert (space.image(torch.full_like(x, 0.3)) > x)[x == 0].all()
    assert (space.image(torch.full_like(x, -0.3)) < x)[x == 1].all()


def test_the_slope_of_the_tanh_space_is_its_derivative() -> None:
    x = torch.rand(2, 1, 3, 3, dtype=torch.float64) * 0.8 + 0.1
    w = (torch.randn_like(x) * 0.1).requires_grad_()
    (slope,) = torch.autograd.grad(TanhSpace(x).image(w).sum(), w)
    torch.testing.assert_close(TanhSpace(x).slope(w.detach()), slope)


def test_its_iterates_are_those_of_adam_on_the_papers_objective(net: Affine) -> None:
    x = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * 0.8 + 0.1
    y, c = net(x).argmax(1), torch.tensor([0.1, 1.0, 10.0, 100.0])
    w = torch.atanh(2 * x - 1).requires_grad_()
    adam = torch.optim.Adam([w], 0.05)
    found = [image for image, _ in CwL2(steps=15, lr=0.05, kappa=0.2)._descent(net, x, y, c)]
    for image in found:
        expected = (torch.tanh(w) + 1) / 2
        torch.testing.assert_close(image, expected.detach(), rtol=0, atol=1e-5)
        logits = net(expected)
        f = (logits.gather(1, y[:, None]) - logits.gather(1, 1 - y[:, None])).flatten() + 0.2
        loss = (expected - x).square().sum() + (c * f.clamp_min(0)).sum()
        (w.grad,) = torch.autograd.grad(loss, w)
        adam.step()
    assert (found[-1] - x).abs().max() > 0.01


def test_the_nearest_that_fools_is_kept() -> None:
    x = torch.zeros(4, 1, 1, 1)
    nearest = Nearest(x)
    nearest.show(torch.full_like(x, 0.5), torch.tensor([True, True, True, False]))
    nearest.show(torch.tensor([0.4, 0.6, 0.4, 0.4]).view_as(x), torch.tensor([True, True, False, False]))
    torch.testing.assert_close(nearest.image.flatten(), torch.tensor([0.4, 0.5, 0.5, 0.0]))
    torch.testing.assert_close(nearest.distance, torch.tensor([0.4, 0.5, 0.5, torch.inf]))


def test_the_weight_grows_tenfold_until_it_fools_and_is_then_bisected() -> None:
    weight = Weight(torch.tensor([1.0, 1.0, 1.0]))
    for fooled, expected in [
        ([True, False, False], [0.5, 10, 10]),
        ([False, True, False], [0.75, 5.5, 100]),
        ([True, True, False], [0.625, 3.25, 1000]),
    ]:
        weight.next(torch.tensor(fooled))
        torch.testing.assert_close(weight.c, torch.tensor(expected))


@pytest.mark.parametrize("kappa", [0.0, 0.5])
def test_the_wrong_class_is_ahead_by_the_confidence(net: Affine, kappa: float) -> None:
    x = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    y = net(x).argmax(1)
    images, distances = CwL2(steps=100, lr=0.02, c=0.1, search_steps=8, kappa=kappa).nearest(net, x, y)
    logits = net(images)
    ahead = logits.gather(1, 1 - y[:, None]) - logits.gather(1, y[:, None])
    assert distances.isfinite().all()
    assert ahead.min() >= kappa - 1e-5
    assert ahead.min() < kappa + 0.05, "no further than needed"


def test_a_log_softmax_head_changes_nothing() -> None:
    x = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    y = Affine()(x).argmax(1)
    plain, through = (
        CwL2(steps=60, lr=0.03, c=0.1, search_steps=6).nearest(Affine(log), x, y)[1] for log in (False, True)
    )
    torch.testing.assert_close(plain, through, rtol=1e-3, atol=1e-5)


def test_an_image_that_is_wrong_already_is_its_own_nearest(net: Affine) -> None:
    x = torch.rand(4, 3, 4, 4)
    images, distances = CwL2(steps=3, search_steps=2).nearest(net, x, 1 - net(x).argmax(1))
    assert torch.equal(images, x)
    assert (distances == 0).all()


@pytest.mark.parametrize("ahead", [1.0, 0.0], ids=["ahead", "level"])
def test_where_nothing_is_found_the_image_comes_back_infinitely_far(ahead: float) -> None:
    class Stubborn(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x.sum((1, 2, 3)) * 0 + ahead, x.sum((1, 2, 3)) * 0], 1)

    x = torch.rand(3, 3, 4, 4)
    images, distances = CwL2(steps=3, search_steps=2).nearest(Stubborn(), x, torch.zeros(3, dtype=torch.long))
    assert torch.equal(images, x)
    assert distances.isinf().all()


def test_what_lies_outside_the_ball_is_drawn_back_and_fools_no_more(net: Affine) -> None:
    x = torch.rand(16, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * 0.4 + 0.3
    y = net(x).argmax(1)
    needed = shortest(net, x, y)
    threat = Threat(norm="l2", eps=Fraction(float(needed.median())))
    attack = PATIENT.within(threat)
    *_, free = attack.steps_from(net, x, y, generator("cpu", 0))
    held = attack.perturb(net, x, y, generator("cpu", 0))
    assert threat.distance(free, x).max() > float(threat.eps) * 1.05, "as found"
    assert threat.distance(held, x).max() <= float(threat.eps) + 1e-6
    near, far = needed < 0.98 * float(threat.eps), needed > 1.02 * float(threat.eps)
    assert near.any()
    assert far.any()
    broken = net(held).argmax(1) != y
    assert broken[near].all()
    assert not broken[far].any()


def test_images_of_a_batch_go_their_own_ways() -> None:
    net = ResNet(depth=8).create(10, 3, 0).eval()
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    y = net(x).argmax(1)
    attack = CwL2(steps=30, lr=0.05, c=1.0, search_steps=3)
    together = attack.nearest(net, x, y)[1]
    alone = torch.cat([attack.nearest(net, x[i : i + 1], y[i : i + 1])[1] for i in range(4)])
    assert together.isfinite().any()
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)


class Noisy(Stochastic):
    """An affine network with noise on its pixels, as large as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Affine()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x + 0.5 * self.draw(x))


def test_on_an_expectation_every_iterate_is_seen_in_all_draws() -> None:
    noisy = Noisy()
    calls: list[int] = []
    noisy.net.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    x = torch.rand(4, 3, 4, 4)
    reseed(noisy, 0)
    CwL2(steps=5, search_steps=2).nearest(Expectation(noisy, 7), x, torch.zeros(4, dtype=torch.long))
    assert calls == [4] * (5 * 2 * 7)


def test_averaged_draws_make_the_noisy_distance_that_of_the_quiet_network(net: Affine) -> None:
    """With the mean of 32 draws the lucky draws that a single one would take for success are gone."""
    noisy, x = Noisy(), torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * 0.4 + 0.3
    y = net(x).argmax(1)
    attack = CwL2(steps=40, lr=0.05, c=1.0, search_steps=3)
    quiet = attack.nearest(net, x, y)[1]
    apart = []
    for draws in (1, 32):
        reseed(noisy, draws)
        apart.append(float((attack.nearest(Expectation(noisy, draws), x, y)[1] - quiet).abs().mean()))
    assert apart[1] < apart[0] / 2
