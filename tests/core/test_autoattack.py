"""AutoAttack: its parts beside torchattacks' on a small trained network, and what the composite makes of them."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchattacks
from torch import Tensor, nn

from core.ascent import ascend, cross_entropy
from core.attacks.apgd_ce import ApgdCe
from core.attacks.apgd_dlr import ApgdDlr
from core.attacks.apgd_t import ApgdT
from core.attacks.autoattack import Autoattack
from core.attacks.base import Attack
from core.attacks.fab import Fab
from core.attacks.square import Square
from core.datasets.fashion_mnist_sample import FashionMnistSample
from core.device import generator
from core.models.enresnet import EnResNet
from core.models.lenet5 import LeNet5
from core.noise import Expectation, frozen, joint_layers, reseed
from core.threat import Threat

THREATS = {"linf": Threat(eps=Fraction(1, 10)), "l2": Threat(norm="l2", eps=Fraction(2))}
NAMES = {"linf": "Linf", "l2": "L2"}
IMAGES = 100


@pytest.fixture(scope="module")
def test_images() -> tuple[Tensor, Tensor]:
    return FashionMnistSample().load(Path()).test.batch(0, IMAGES)


@pytest.fixture(scope="module")
def nets() -> dict[str, nn.Module]:
    """For each norm a LeNet, adversarially trained for one short epoch: it gets most images right, and loses some."""
    return {norm: trained(threat) for norm, threat in THREATS.items()}


def trained(threat: Threat) -> nn.Module:
    train, stream = FashionMnistSample().load(Path()).train, generator("cpu", "test")
    net = LeNet5().create(10, 1, 0)
    adam = torch.optim.Adam(net.parameters(), 3e-3)
    for start in range(0, 3_000, 50):
        x, y = train.batch(start, 50)
        *_, x = ascend(net, x, y, threat.uniform_start(x, stream), threat, float(threat.eps), 2, cross_entropy)
        adam.zero_grad()
        F.cross_entropy(net(x), y).backward()
        adam.step()
    return net.eval()


def survived(attack: Attack, threat: Threat, net: nn.Module, images: tuple[Tensor, Tensor]) -> Tensor:
    x, y = images
    return net(attack.within(threat).perturb(net, x, y, generator("cpu", 0))).argmax(1) == y


PAIRS = {
    "apgd_ce": (ApgdCe(steps=25), "APGD", {"steps": 25}, 2),
    "apgd_dlr": (ApgdDlr(steps=25), "APGD", {"steps": 25, "loss": "dlr"}, 2),
    "apgd_t": (ApgdT(steps=10, targets=3), "APGDT", {"steps": 10, "n_classes": 4}, 2),
    "fab": (Fab(steps=10, targets=3), "FAB", {"steps": 10, "multi_targeted": True, "n_classes": 4}, 2),
    "square": (Square(queries=202), "Square", {"n_queries": 200, "resc_schedule": False, "loss": "margin"}, 5),
}


@pytest.mark.parametrize("norm", THREATS)
@pytest.mark.parametrize("name", PAIRS)
def test_the_parts_break_the_images_that_torchattacks_breaks(name: str, norm: str, nets, test_images) -> None:
    """Image by image but for a few: starts and patches are drawn from other streams."""
    ours, theirs, settings, apart = PAIRS[name]
    net, (x, y), threat = nets[norm], test_images, THREATS[norm]
    attack = getattr(torchattacks, theirs)(net, norm=NAMES[norm], eps=float(threat.eps), **settings)
    expected = net(threat.project(attack(x.contiguous(), y), x)).argmax(1) == y
    found = survived(ours, threat, net, test_images)
    clean = net(x).argmax(1) == y
    assert clean.sum() - expected.sum() > 3 * apart, "an attack that finds little shows little"
    assert (found & ~expected).sum() <= apart, "images that only theirs breaks"
    assert (expected & ~found).sum() <= 2 * apart, "images that only ours breaks"


@pytest.mark.parametrize("norm", THREATS)
def test_the_composite_is_the_union_of_its_parts_each_on_what_the_earlier_ones_left(nets, test_images, norm) -> None:
    net, (x, y), threat = nets[norm], test_images, THREATS[norm]
    whole = Autoattack(steps=6, targets=3, queries=50)
    found = survived(whole, threat, net, test_images)
    stream, expected = generator("cpu", 0), net(x).argmax(1) == y
    some = torch.arange(IMAGES)  # the first part attacks all
    for part in (ApgdCe(steps=6), ApgdT(steps=6, targets=3), Fab(steps=6, targets=3), Square(queries=50)):
        moved = part.within(threat).perturb(net, x[some], y[some], stream)
        expected[some] &= net(moved).argmax(1) == y[some]
        some = expected.nonzero().flatten()
    assert torch.equal(found, expected)
    alone = survived(ApgdCe(steps=6), threat, net, test_images)
    assert found.sum() < alone.sum(), "the later parts find more"


def test_each_part_sees_only_what_is_left(nets, test_images) -> None:
    net, seen = nets["linf"], []
    whole = Autoattack(steps=4, targets=1, queries=12)
    hook = net.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    left = int(survived(whole, THREATS["linf"], net, test_images).sum())
    hook.remove()
    *parts, _judged, _here = seen
    assert parts == sorted(parts, reverse=True)
    assert parts[0] == IMAGES > parts[8] >= parts[-1] >= left, "the first part's look, start and steps come first"


@pytest.mark.parametrize(
    "attack",
    [
        ApgdCe(steps=4),
        ApgdT(steps=3, targets=9),
        Fab(steps=3, targets=9),
        Square(queries=9),
        Autoattack(steps=3, targets=9, queries=9),
        Autoattack(version="rand", steps=3),
    ],
    ids=lambda attack: attack.default_label,
)
def test_the_turns_are_as_promised_where_all_images_are_wrong_already(attack: Attack, nets, test_images) -> None:
    net, x = nets["linf"], test_images[0][:6]
    wrong = (net(x).argmax(1) + 1) % 10
    attack = attack.within(THREATS["linf"])
    *_, moved = found = list(attack.search(net, x, wrong, generator("cpu", 0)))
    assert len(found) == attack.turns(6)
    assert (net(moved).argmax(1) != wrong).all()


def test_restarts_attack_what_is_left(nets, test_images) -> None:
    net, (x, y), seen = nets["linf"], test_images, []
    attack = ApgdCe(steps=2, restarts=3).within(THREATS["linf"])
    hook = net.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    moved = attack.perturb(net, x, y, generator("cpu", 0))
    hook.remove()
    assert seen[:4] == [IMAGES] * 4, "the clean look, the start and two steps"
    assert IMAGES > seen[4] >= seen[7] >= int((net(moved).argmax(1) == y).sum())


@pytest.fixture
def random_net() -> nn.Module:
    """A random network in which the images of a batch influence one another."""
    net = EnResNet(depth=8, noise=1.0).create(10, 1, 0).eval()
    reseed(net, 1)
    return net


@pytest.mark.parametrize("attack", [ApgdCe(steps=2, restarts=2), ApgdT(steps=2, targets=2), Square(queries=6)])
def test_on_a_random_network_every_image_is_attacked_to_the_end(attack: Attack, random_net, test_images) -> None:
    x, y, seen = test_images[0][:5], test_images[1][:5], []
    assert joint_layers(random_net)
    random_net.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    attack.within(THREATS["linf"]).perturb(random_net, x, y, generator("cpu", 0))
    assert set(seen) == {5}
    alone = frozen(random_net, [x])
    assert not joint_layers(alone)
    seen.clear()
    attack.within(THREATS["linf"]).perturb(Expectation(alone, 2), x, y, generator("cpu", 0))
    assert set(seen) == {5}, "nor does an expectation over two draws make it certain"


@pytest.mark.parametrize(("handed", "draws"), [(None, 20), (3, 20), (25, 25)])
def test_rand_averages_over_twenty_draws_or_as_many_more_as_it_is_handed(
    handed: int | None, draws: int, random_net, test_images
) -> None:
    x, y, seen = test_images[0][:2, :, :8, :8], test_images[1][:2], []
    random_net.register_forward_pre_hook(lambda *_: seen.append(1))
    net = random_net if handed is None else Expectation(random_net, handed)
    attack = Autoattack(version="rand", steps=1).within(THREATS["linf"])
    attack.perturb(net, x, y, generator("cpu", 0))
    clean_look, parts = 1, 2 * (1 + 2 + 1)  # each part: its clean look, start, step; and the composite's judgement
    assert len(seen) == draws * (clean_look + parts)


def test_rand_costs_a_certain_network_one_draw(nets, test_images) -> None:
    x, y, seen = test_images[0][:2], test_images[1][:2], []
    hook = nets["linf"].register_forward_pre_hook(lambda *_: seen.append(1))
    Autoattack(version="rand", steps=1).within(THREATS["linf"]).perturb(nets["linf"], x, y, generator("cpu", 0))
    hook.remove()
    assert len(seen) <= 9


def test_the_standard_budgets_are_the_authors() -> None:
    first, targeted, fab, square = Autoattack().parts
    assert (first.passes, targeted.passes, fab.passes, square.passes) == (203, 1819, 2701, 5000)
    assert (first.tries, targeted.tries, fab.tries) == (1, 9, 9)
    assert [part.name for part in Autoattack(version="rand").parts] == ["apgd_ce", "apgd_dlr"]


def test_the_losses_need_their_classes_and_the_labels_tell_the_versions_apart() -> None:
    least = [one.least_classes for one in (ApgdCe(), ApgdDlr(), ApgdT(), Fab(), Square())]
    assert least == [2, 3, 4, 2, 2]
    standard, rand = Autoattack(), Autoattack(version="rand")
    assert (standard.least_classes, rand.least_classes) == (4, 3)
    assert (standard.default_label, rand.default_label) == ("autoattack", "autoattack_rand")
