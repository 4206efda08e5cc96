"""What single attacks promise beyond the contract: restarts, black boxes on random networks, foreign layouts."""

import itertools
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from core.accuracy import Trial
from core.ascent import cross_entropy
from core.attacks.base import Attack
from core.attacks.nattack import NAttack
from core.attacks.pgd import Pgd
from core.attacks.torchattacks import CLASSES, Torchattacks
from core.datasets.base import Split
from core.device import generator
from core.models.enresnet import EnResNet
from core.models.resnet import ResNet
from core.noise import reseed
from core.threat import Threat

THREAT = Threat(eps=Fraction(8, 255))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(24, 3, 16, 16, generator=torch.Generator().manual_seed(1)).to(memory_format=torch.channels_last)


@pytest.fixture
def net() -> nn.Module:
    return ResNet(depth=8).create(10, 3, 0).eval()


def test_under_the_papers_rule_more_restarts_are_never_weaker_and_mostly_stronger(
    net: nn.Module, images: Tensor
) -> None:
    x, y = images, net(images).argmax(1)
    losses = []
    for restarts in (1, 3, 9):
        attack = Pgd(steps=2, step=Fraction(1, 50_000), restarts=restarts).within(Threat(eps=Fraction(1, 5000)), "last")
        logits = net(attack.perturb(net, x, y, generator("cpu", 7)))
        assert torch.equal(logits.argmax(1), y), "so small a ball fools nothing, and the largest loss decides"
        losses.append(cross_entropy(logits, y))
    for fewer, more in itertools.pairwise(losses):
        assert (more >= fewer - 1e-6).all()
        assert (more > fewer + 1e-6).float().mean() > 0.3


def test_the_cost_of_restarts_is_that_of_their_steps_and_of_one_look_each() -> None:
    assert Pgd(steps=10).within(THREAT, "last").passes == 20
    assert Pgd(steps=10, restarts=5).within(THREAT, "last").passes == 5 * 21
    assert Pgd(steps=10, restarts=5).within(THREAT, "best").passes == 5 * 30


def test_nattack_on_a_deterministic_network_ends_where_everything_is_found(net: nn.Module, images: Tensor) -> None:
    wrong = (net(images[:2]).argmax(1) + 1) % 10
    seen = []
    net.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    attack = NAttack(population=20, iterations=50, checks=10).within(THREAT)
    assert torch.equal(attack.perturb(net, images[:2], wrong, generator("cpu", 0)), images[:2])
    assert seen == [2], "one look at the images, no population"


def test_nattack_on_a_random_network_does_not_stop_at_a_lucky_draw(images: Tensor) -> None:
    """With many checks some draw errs early; the search must move on, and so end where one with few checks ends."""
    net = EnResNet(depth=8, noise=3.0).create(10, 3, 0).eval()
    reseed(net, 1)
    y = net(images).argmax(1)
    moved = {}
    for checks in (1, 40):
        reseed(net, 2)
        attack = NAttack(population=10, iterations=40, checks=checks, lr=0.5).within(THREAT)
        moved[checks] = (attack.perturb(net, images, y, generator("cpu", 0)) - images).abs().flatten(1).mean(1)
    assert moved[40].min() > 0
    assert moved[40].mean() > 0.8 * moved[1].mean()


@pytest.mark.parametrize("name", ["FAB", "PGDL2", "PGDRSL2", "APGDT", "Square"])
def test_classes_of_the_library_take_networks_and_images_that_are_channels_last(
    name: str, net: nn.Module, images: Tensor
) -> None:
    x, y = images[:4], net(images[:4]).argmax(1)
    steps = {"steps": 2} if "steps" in Torchattacks(attack=name)._accepted() else {}
    moved = Torchattacks(attack=name, settings=steps).within(THREAT).perturb(net, x, y, generator("cpu", 0))
    assert moved.shape == x.shape


@pytest.mark.parametrize("steps", [0, -5, True, 3.7, "many"])
def test_steps_of_the_library_are_counted(steps: object) -> None:
    with pytest.raises(ValueError, match=r"settings.steps must be a whole number from 1"):
        Torchattacks(attack="PGD", settings={"steps": steps})


def test_the_black_boxes_of_the_library_are_known() -> None:
    blind = {name for name in CLASSES if Torchattacks(attack=name).black_box}
    assert blind == {"OnePixel", "Pixle", "SPSA", "Square"}


@pytest.mark.parametrize(
    "attack", [Pgd(steps=3), NAttack(population=4, iterations=3, checks=2)], ids=["pgd", "nattack"]
)
def test_a_trial_yields_as_often_as_the_attack_says(attack: Attack, net: nn.Module, images: Tensor) -> None:
    split = Split((255 * images[:4]).byte(), net(images[:4]).argmax(1))
    attack = attack.within(THREAT, "last")
    assert len(list(Trial(net, split, attack, 4, ("x",)))) == attack.turns(4) + 1
