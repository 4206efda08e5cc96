"""Our attacks beside torchattacks' on a deterministic network: the same images, or the same accuracy."""

from fractions import Fraction

import pytest
import torch
import torchattacks
from torch import Tensor, nn

from core.attacks.cw_linf import CwLinf
from core.attacks.fgsm import Fgsm
from core.attacks.ifgsm import Ifgsm
from core.attacks.pgd import Pgd
from core.attacks.torchattacks import CLASSES, Torchattacks
from core.device import generator
from core.threat import Threat

EPS = Fraction(8, 255)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 9, 5)
    ).eval()


@pytest.fixture(scope="module")
def batch(net: nn.Module) -> tuple[Tensor, Tensor]:
    x = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return x, net(x).argmax(1)


def ours(attack, net: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return attack.within(Threat(eps=EPS), "last").perturb(net, *batch, generator("cpu", 0))


@pytest.mark.parametrize(
    ("attack", "theirs"),
    [
        (Fgsm(), lambda net: torchattacks.FGSM(net, eps=8 / 255)),
        (Ifgsm(steps=20), lambda net: torchattacks.BIM(net, eps=8 / 255, alpha=1 / 255, steps=20)),
        (
            Pgd(steps=10, step=Fraction(2, 255), random_start=False),
            lambda net: torchattacks.PGD(net, 8 / 255, 2 / 255, 10, False),
        ),
    ],
    ids=["fgsm", "ifgsm", "pgd"],
)
def test_the_images_are_the_same(attack, theirs, net: nn.Module, batch) -> None:
    expected = theirs(net)(*batch)
    got = ours(attack, net, batch)
    apart = (got - expected).abs().flatten(1).amax(1)
    assert (apart > 1e-5).float().mean() < 0.05, "but for a sign of a gradient that rounds to zero"


def test_pgd_from_random_starts_is_as_strong(net: nn.Module, batch) -> None:
    x, y = batch
    torch.manual_seed(0)
    theirs = net(torchattacks.PGD(net, 8 / 255, 2 / 255, 20)(x, y)).argmax(1) == y
    mine = net(ours(Pgd(steps=20, step=Fraction(2, 255)), net, batch)).argmax(1) == y
    assert abs(theirs.float().mean() - mine.float().mean()) <= 0.05


def test_the_margin_attack_is_at_least_as_strong_as_theirs(net: nn.Module, batch) -> None:
    x, y = batch
    theirs = net(torchattacks.UPGD(net, 8 / 255, 1 / 255, 50, loss="margin")(x, y)).argmax(1) == y
    mine = net(ours(CwLinf(), net, batch)).argmax(1) == y
    assert mine.float().mean() <= theirs.float().mean() + 0.03


def test_the_member_gives_what_the_library_gives(net: nn.Module, batch) -> None:
    settings = {"alpha": 2 / 255, "steps": 5, "random_start": False}
    got = ours(Torchattacks(attack="PGD", settings=settings), net, batch)
    torch.testing.assert_close(got, torchattacks.PGD(net, 8 / 255, **settings)(*batch))


@pytest.mark.parametrize(
    "name", ["FGSM", "BIM", "RFGSM", "FFGSM", "MIFGSM", "UPGD", "APGD", "Jitter", "TPGD", "CW", "DeepFool"]
)
def test_classes_of_the_library_run_by_name(name: str, net: nn.Module, batch) -> None:
    x, y = batch
    moved = ours(Torchattacks(attack=name), net, (x[:8], y[:8]))
    assert (moved - x[:8]).abs().max() <= float(EPS) + 1e-6


def test_the_library_has_the_classes_that_are_offered() -> None:
    assert {"FGSM", "PGD", "APGD", "AutoAttack", "Square", "CW"} <= set(CLASSES)


def test_an_argument_that_the_class_does_not_take_is_refused() -> None:
    with pytest.raises(ValueError, match="FGSM does not take steps; it takes nothing else"):
        Torchattacks(attack="FGSM", settings={"steps": 3})


@pytest.mark.parametrize(("steps", "step"), [(1, Fraction(1, 2)), (10, Fraction(1, 8))])
def test_in_l2_the_images_of_pgd_are_the_same(steps: int, step: Fraction, net: nn.Module, batch) -> None:
    threat = Threat(norm="l2", eps=Fraction(1, 2))
    expected = torchattacks.PGDL2(net, 0.5, float(step), steps, False)(*batch)
    attack = Pgd(steps=steps, step=step, random_start=False).within(threat, "last")
    got = attack.perturb(net, *batch, generator("cpu", 0))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    attack = Ifgsm(steps=steps, step=step).within(threat, "last")
    torch.testing.assert_close(attack.perturb(net, *batch, generator("cpu", 0)), got, rtol=0, atol=1e-6)


def test_in_l2_pgd_from_random_starts_is_as_strong(net: nn.Module, batch) -> None:
    x, y = batch
    torch.manual_seed(0)
    theirs = net(torchattacks.PGDL2(net, 3, 0.5, 20)(x, y)).argmax(1) == y
    attack = Pgd(steps=20, step=Fraction(1, 2)).within(Threat(norm="l2", eps=Fraction(3)), "last")
    mine = net(attack.perturb(net, x, y, generator("cpu", 0))).argmax(1) == y
    assert 0 < mine.float().mean() < 1
    assert abs(theirs.float().mean() - mine.float().mean()) <= 0.05


def test_on_the_dlr_loss_the_images_are_those_of_upgd_without_momentum(net: nn.Module, batch) -> None:
    expected = torchattacks.UPGD(net, 8 / 255, 2 / 255, 10, loss="dlr", decay=0.0)(*batch)
    got = ours(Pgd(steps=10, step=Fraction(2, 255), random_start=False, loss="dlr"), net, batch)
    apart = (got - expected).abs().flatten(1).amax(1)
    assert (apart > 1e-5).float().mean() < 0.05, "but for a sign of a gradient that rounds to zero"
    other = ours(Pgd(steps=10, step=Fraction(2, 255), random_start=False), net, batch)
    assert ((got - other).abs().flatten(1).amax(1) > 1e-5).float().mean() > 0.5


@pytest.mark.parametrize("name", ["APGD", "APGDT", "FAB", "Square"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_classes_that_take_a_norm_are_given_that_of_the_threat(name: str, norm: str, net: nn.Module, batch) -> None:
    x, y = batch[0][:8], batch[1][:8]
    settings = {"n_queries": 20} if name == "Square" else {"steps": 3}
    settings |= {"n_classes": 5} if name == "APGDT" else {}
    threat = Threat(norm=norm, eps=Fraction(1, 2) if norm == "l2" else EPS)
    got = Torchattacks(attack=name, settings=settings).within(threat).perturb(net, x, y, generator("cpu", 0))
    radius, norms = float(threat.eps), {"linf": "Linf", "l2": "L2"}
    expected = getattr(torchattacks, name)(net, norm=norms[norm], eps=radius, **settings)(x, y)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)


def test_classes_know_the_norms_in_which_they_search() -> None:
    searches = {name: Torchattacks(attack=name).searches for name in CLASSES}
    assert {name for name, norms in searches.items() if norms == ("l2",)} == {"PGDL2", "PGDRSL2"}
    everywhere = {"APGD", "APGDT", "AutoAttack", "CW", "DeepFool", "FAB", "Square"}
    assert {name for name in everywhere if set(searches[name]) == {"linf", "l2"}} == everywhere
    assert {"FGSM", "PGD", "PIFGSM", "SPSA"} <= {name for name, norms in searches.items() if norms == ("linf",)}


def test_a_class_without_a_radius_is_drawn_back_into_the_ball(net: nn.Module, batch) -> None:
    x, y = batch[0][:8], batch[1][:8]
    free = torchattacks.CW(net, c=100, lr=0.1)(x, y)
    threat = Threat(norm="l2", eps=Fraction(1, 20))
    assert threat.distance(free, x).max() > 0.05
    attack = Torchattacks(attack="CW", settings={"c": 100, "lr": 0.1}).within(threat)
    got = attack.perturb(net, x, y, generator("cpu", 0))
    torch.testing.assert_close(got, threat.project(free, x), rtol=0, atol=1e-5)
    assert attack.minimal
    assert not Torchattacks(attack="PGD").minimal


@pytest.mark.parametrize("key", ["eps", "norm", "model"])
def test_what_the_threat_decides_is_no_setting(key: str) -> None:
    with pytest.raises(ValueError, match=f"APGD does not take {key}; it takes"):
        Torchattacks(attack="APGD", settings={key: "L2"})
