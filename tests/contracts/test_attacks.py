"""What the base guarantees of every attack, and what every attack must reach."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from contracts.conftest import FourClasses, TwoClasses, of
from core.ascent import LOSSES, cross_entropy
from core.attacks.base import Attack
from core.counting import counted
from core.device import generator
from core.threat import Threat

ATTACKS = of("attacks")
STRONGEST = [case for case in ATTACKS if not case.values[0].black_box and not case.values[0].minimal]
"""Those that should reach the worst image of the ball."""
EPS = Fraction(8, 255)


def attacked(attack: Attack, net: nn.Module, x: Tensor, y: Tensor, eps: Fraction = EPS, seed: int = 0) -> Tensor:
    """In the first norm that it searches."""
    return attack.within(Threat(norm=attack.searches[0], eps=eps)).perturb(net, x, y, generator("cpu", seed))


def patient(attack: Attack) -> Attack:
    """The attack with steps enough to cross the ball."""
    if "steps" in type(attack).model_fields:
        return attack.model_copy(update={"steps": 20})
    if "settings" in type(attack).model_fields:
        return attack.model_copy(update={"settings": {"steps": 40}})
    return attack


def linear(attack: Attack) -> TwoClasses:
    """A linear network with classes enough for the attack's loss."""
    return TwoClasses() if attack.least_classes <= 2 else FourClasses()


@pytest.mark.parametrize("attack", ATTACKS)
def test_at_radius_zero_the_image_comes_back(attack: Attack, small: nn.Module, images) -> None:
    x, y = images
    assert torch.equal(attacked(attack, small, x, y, Fraction(0)), x)


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_result_is_in_the_ball_and_in_the_box(attack: Attack, small: nn.Module, images) -> None:
    x, y = images
    for norm in attack.searches:
        threat = Threat(norm=norm, eps=EPS if norm == "linf" else Fraction(1, 4))
        moved = attack.within(threat).perturb(small, x, y, generator("cpu", 0))
        assert threat.distance(moved, x).max() <= float(threat.eps) + 1e-6
        assert moved.min() >= 0
        assert moved.max() <= 1
        assert (moved != x).any()


@pytest.mark.parametrize("attack", STRONGEST)
def test_on_a_linear_network_the_optimum_is_hit_exactly(attack: Attack) -> None:
    net = linear(attack)
    x, y = torch.rand(6, 3, 4, 4) * 0.8 + 0.1, torch.tensor([0, 1, 0, 1, 0, 1])
    uphill = (net.linear.weight[1 - y] - net.linear.weight[y]).sign().view_as(x)
    moved = attacked(patient(attack), net, x, y)
    torch.testing.assert_close(moved, x + float(EPS) * uphill.detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_same_seed_gives_the_same_images(attack: Attack, small: nn.Module, images) -> None:
    x, y = images
    assert torch.equal(attacked(attack, small, x, y, seed=5), attacked(attack, small, x, y, seed=5))


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_network_is_left_as_found(attack: Attack, small: nn.Module, images) -> None:
    x, y = images
    small(x).sum().backward()
    small[0].bias.requires_grad_(False)
    state = {name: value.clone() for name, value in small.state_dict().items()}
    gradients = [p.grad.clone() if p.grad is not None else None for p in small.parameters()]
    small.eval()
    modes = [module.training for module in small.modules()]
    attacked(attack, small, x, y)
    assert [module.training for module in small.modules()] == modes
    for p, gradient in zip(small.parameters(), gradients, strict=True):
        assert (p.grad is None and gradient is None) or torch.equal(p.grad, gradient)
    assert not small[0].bias.requires_grad
    assert all(torch.equal(value, state[name]) for name, value in small.state_dict().items())


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_network_partly_in_training_stays_so(attack: Attack, small: nn.Module, images) -> None:
    modes = [module.training for module in small.modules()]
    attacked(attack, small, *images)
    assert [module.training for module in small.modules()] == modes


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_global_generator_is_left_as_found(attack: Attack, small: nn.Module, images) -> None:
    torch.manual_seed(9)
    expected = torch.rand(4)
    torch.manual_seed(9)
    attacked(attack, small, *images)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("attack", [case for case in STRONGEST if case.id not in ("fgsm", "torchattacks")])
def test_no_image_ends_worse_than_it_began(attack: Attack, small: nn.Module, images) -> None:
    x, y = images
    small.eval()
    attack = attack.model_copy(
        update={"step": Fraction(8, 255)}
    )  # steps as long as the ball: the last iterate can be bad
    moved = attacked(attack, small, x, y)
    loss = getattr(attack, "ascends", "ce")
    before, after = (LOSSES[loss](small(images), y).detach() for images in (x, moved))
    fooled_before, fooled_after = (small(images).argmax(1) != y for images in (x, moved))
    assert (fooled_after >= fooled_before).all()
    assert (after >= before - 1e-6)[fooled_before == fooled_after].all()


@pytest.mark.parametrize("attack", STRONGEST)
def test_pixels_at_the_edge_of_the_box_can_move(attack: Attack) -> None:
    net = linear(attack)
    x, y = torch.zeros(2, 3, 4, 4), torch.tensor([0, 1])
    moved = attacked(patient(attack), net, x, y)
    uphill = (net.linear.weight[1 - y] - net.linear.weight[y]).view_as(x) > 0
    torch.testing.assert_close(moved[uphill], torch.full_like(moved[uphill], float(EPS)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_log_softmax_head_is_attacked_like_any_other(attack: Attack) -> None:
    net = nn.Sequential(linear(attack), nn.LogSoftmax(1))
    x, y = torch.rand(6, 3, 4, 4) * 0.8 + 0.1, torch.tensor([0, 1, 0, 1, 0, 1])
    moved = attacked(patient(attack), net, x, y, Fraction(1, 10))
    right = net(x).argmax(1) == y  # an attack may leave alone what is wrong already
    assert right.any()
    assert (cross_entropy(net(moved), y) > cross_entropy(net(x), y))[right].all()


@pytest.mark.parametrize("attack", ATTACKS)
def test_it_yields_as_often_as_it_says(attack: Attack, small: nn.Module, images) -> None:
    attack = attack.within(Threat(eps=EPS))
    seen = sum(1 for _ in attack.search(small, *images, generator("cpu", 0)))
    assert seen == attack.turns(len(images[1]))


class Watched(nn.Module):
    """A network that sees from each row which of some images is nearest, and so which one it is asked about."""

    def __init__(self, net: nn.Module, x: Tensor) -> None:
        super().__init__()
        self.net, self.x, self.asked = net, x, torch.zeros(len(x))

    def forward(self, rows: Tensor) -> Tensor:
        nearest = torch.cdist(rows.detach().flatten(1), self.x.flatten(1)).argmin(1)
        self.asked += torch.bincount(nearest, minlength=len(self.x))
        return self.net(rows)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("eps", [EPS, Fraction(1, 100)])
def test_it_says_which_images_it_asks_about(attack: Attack, eps: Fraction, small: nn.Module) -> None:
    """Some are misjudged from the start, the last of them all, some fall on the way, some stand."""
    x, number = torch.rand(30, 3, 8, 8, generator=torch.Generator().manual_seed(3)), torch.arange(30)
    said = small.eval()(x).argmax(1)
    y = torch.where((number % 4 == 0) | (number >= 16), (said + 1) % 4, said)
    watched = Watched(small, x)
    net, queries = counted(watched, x)
    attacked(attack, net, x, y, eps)
    assert torch.equal(queries.float(), watched.asked)
    assert watched.asked.sum() > 0


@pytest.mark.parametrize("attack", ATTACKS)
def test_its_cost_is_stated(attack: Attack) -> None:
    assert attack.within(Threat(eps=EPS)).passes > 0
