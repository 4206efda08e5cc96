"""Attacks made of attacks: the mean of a random network's draws, and images made against another network."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any, Literal, Self

import pytest
import torch
from torch import Tensor, nn

from core.ascent import cross_entropy, gradient
from core.attacks.base import Attack
from core.attacks.cw_l2 import CwL2
from core.attacks.cw_linf import CwLinf
from core.attacks.eot import Eot
from core.attacks.fgsm import Fgsm
from core.attacks.nattack import NAttack
from core.attacks.pgd import Pgd
from core.attacks.spsa import Spsa
from core.attacks.torchattacks import Torchattacks
from core.attacks.transfer import TWIN, Transfer
from core.device import generator
from core.errors import InvalidSpec
from core.models.enresnet import EnResNet
from core.models.resnet import ResNet
from core.noise import Expectation, Quiet, reseed, stochastic_layers
from core.spec import parse
from core.threat import Threat
from wrong_specs import LEAST

SHA = "0123456789abcdef" * 4
RANDOM = {"dataset": "cifar10", "model": "enresnet"}
PARTS = [
    Fgsm(),
    Pgd(steps=3, restarts=2),
    CwLinf(steps=3),
    Spsa(directions=4, iterations=3),
    NAttack(population=4, iterations=3, checks=3),
    CwL2(steps=4, lr=0.1, c=10.0, search_steps=2),
    Torchattacks(attack="PGD", settings={"steps": 2}),
]


def ball(attack: Attack) -> Threat:
    return Threat(norm=attack.searches[0], eps=Fraction(8, 255))


def attacked(attack: Attack, net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    reseed(net, 3)
    return attack.within(ball(attack)).perturb(net, x, y, generator("cpu", 5))


def transfer(part: Any, source: str = TWIN, **settings: Any) -> Transfer:
    return Transfer.model_validate({"attack": part, "from": source, **settings})


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels() -> Tensor:
    return torch.tensor([0, 1, 2, 3, 4, 5])


@pytest.fixture
def certain() -> nn.Module:
    return ResNet(depth=8).create(10, 3, 0).eval()


@pytest.fixture
def noisy() -> nn.Module:
    return EnResNet(depth=8, noise=1.0, noise_std="sample").create(10, 3, 0).eval()


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_on_a_network_without_noise_eot_is_its_part_to_the_bit(part: Attack, certain, images, labels) -> None:
    calls: list[int] = []
    certain.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    expected = attacked(part, certain, images, labels)
    looks = calls.copy()
    assert torch.equal(attacked(Eot(attack=part, draws=7), certain, images, labels), expected)
    assert calls == 2 * looks, "nor does it look more often"


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_on_a_random_network_eot_is_its_part_on_the_expectation(part: Attack, noisy, images, labels) -> None:
    whole = attacked(Eot(attack=part, draws=3), noisy, images, labels)
    assert torch.equal(whole, attacked(part, Expectation(noisy, 3), images, labels))
    assert torch.equal(whole, attacked(Eot(attack=part, draws=3), Expectation(noisy, 9), images, labels)), "taken anew"
    assert not torch.equal(whole, attacked(part, noisy, images, labels))


def test_one_step_of_eot_follows_the_mean_of_the_gradients_of_as_many_draws(noisy, images, labels) -> None:
    reseed(noisy, 3)
    mean = torch.stack([gradient(noisy, images, labels, cross_entropy)[0] for _ in range(5)]).mean(0)
    expected = (images + 8 / 255 * mean.sign()).clamp(0, 1)
    torch.testing.assert_close(attacked(Eot(attack=Fgsm(), draws=5), noisy, images, labels), expected)


def test_more_draws_make_the_gradient_repeatable(noisy, images, labels) -> None:
    def moves(draws: int, key: int) -> Tensor:
        reseed(noisy, key)
        attack = Eot(attack=Fgsm(), draws=draws).within(Threat(norm="l2", eps=Fraction(1, 4)))
        return (attack.perturb(noisy, images, labels, generator("cpu", 0)) - images).flatten(1)

    agree = [float(nn.functional.cosine_similarity(moves(n, 1), moves(n, 2)).mean()) for n in (1, 40)]
    assert agree[1] > agree[0] + 0.2


def test_the_costs_of_eot_are_those_of_its_part_once_a_draw() -> None:
    part = Pgd(steps=10, restarts=2)
    assert Eot(attack=part, draws=20).passes == 20 * part.passes
    assert transfer(part).passes == part.passes
    assert Eot(attack=Spsa()).black_box
    assert not Eot(attack=part).black_box
    assert transfer(part).black_box
    assert Eot(attack=CwL2()).minimal
    assert Eot(attack=Pgd(loss="dlr")).least_classes == 3


def test_a_transfer_from_the_twin_is_made_against_the_network_without_noise(noisy, images, labels) -> None:
    part = Pgd(steps=3, random_start=False)
    expected = attacked(part, Quiet(noisy), images, labels)
    assert torch.equal(attacked(transfer(part), noisy, images, labels), expected)
    calls: list[int] = []
    noisy.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    assert torch.equal(attacked(transfer(part), Expectation(noisy, 5), images, labels), expected)
    assert len(calls) == 1 + 2 * 3, (
        "at the image, and at each step for its gradient and for its judgement: once a look, not once a draw"
    )
    assert not torch.equal(attacked(part, noisy, images, labels), expected)


def test_a_transfer_from_the_twin_draws_no_noise(noisy, images, labels) -> None:
    reseed(noisy, 1)
    before = [layer.stream.get_state() for layer in stochastic_layers(noisy)]
    transfer(Pgd(steps=2)).within(Threat()).perturb(noisy, images, labels, generator("cpu", 0))
    after = [layer.stream.get_state() for layer in stochastic_layers(noisy)]
    assert all(torch.equal(*states) for states in zip(before, after, strict=True))


def test_a_transfer_from_a_stored_model_is_made_against_that_model(certain, images, labels) -> None:
    other, asked = ResNet(depth=8).create(10, 3, 1).eval(), []

    def load(sha256: str) -> nn.Module:
        asked.append(sha256)
        return other

    part = Pgd(steps=3, random_start=False)
    whole = transfer(part, SHA).within(Threat()).reading(load)
    assert asked == [SHA]
    got = whole.perturb(certain, images, labels, generator("cpu", 5))
    assert torch.equal(got, attacked(part, other, images, labels))
    assert not torch.equal(got, attacked(part, certain, images, labels))


def test_the_other_network_is_left_as_found(certain, images, labels) -> None:
    other = ResNet(depth=8).create(10, 3, 1).eval()
    other(images).sum().backward()
    before = [p.grad.clone() for p in other.parameters()]
    attack = transfer(Torchattacks(attack="CW", settings={"steps": 2}), SHA).reading(lambda _: other)
    attack.within(Threat()).perturb(certain, images, labels, generator("cpu", 0))
    assert all(torch.equal(p.grad, kept) for p, kept in zip(other.parameters(), before, strict=True))
    assert not other.training


def test_a_stored_random_network_draws_from_the_attacks_own_stream(certain, noisy, images, labels) -> None:
    attack = transfer(Eot(attack=Fgsm(), draws=2), SHA).reading(lambda _: noisy).within(Threat())
    first, again, other = (attack.perturb(certain, images, labels, generator("cpu", key)) for key in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_stored_model_that_was_not_read_is_a_mistake_of_ours(certain, images, labels) -> None:
    with pytest.raises(AssertionError, match="reading"):
        attacked(transfer(Fgsm(), SHA), certain, images, labels)


class Reader(Fgsm):
    """A part that reads."""

    name: Literal["reader"] = "reader"  # type: ignore[assignment]

    def reading(self, load: Callable[[str], nn.Module]) -> Self:
        load("the part")
        return self


def test_composites_let_their_parts_read_and_plain_attacks_read_nothing() -> None:
    asked: list[str] = []
    load: Any = lambda sha256: asked.append(sha256) or nn.Identity()  # noqa: E731
    plain = Pgd()
    assert plain.reading(load) is plain
    transfer(plain).reading(load)
    assert asked == []
    Eot.model_construct(attack=Reader()).reading(load)
    assert asked == ["the part"]
    transfer(plain, SHA).reading(load)
    assert asked == ["the part", SHA]


@pytest.mark.parametrize("keep", ["best", "last"])
def test_what_is_left_open_comes_from_the_part_then_from_the_threat(keep: Literal["best", "last"]) -> None:
    whole = Eot(attack=Pgd(steps=4, eps=Fraction(4, 255))).within(Threat(), keep)
    assert (whole.eps, whole.norm, whole.label) == (Fraction(4, 255), "linf", "eot-pgd4")
    assert (whole.attack.eps, whole.attack.norm, whole.attack.step, whole.attack.keep) == (
        Fraction(4, 255),
        "linf",
        Fraction(5, 2) * Fraction(4, 255) / 4,
        keep,
    )
    whole = Eot(attack=Pgd(), eps=Fraction(1, 255), norm="l2").within(Threat(), keep)
    assert (whole.attack.eps, whole.attack.norm) == (Fraction(1, 255), "l2")
    assert transfer(Pgd(), SHA).within(Threat()).label == "transfer-01234567-pgd20"
    assert transfer(Pgd(label="mine")).within(Threat()).label == "transfer-twin-mine"


def spec_with(attack: Any, **changes: Any) -> dict[str, Any]:
    return {**RANDOM, **changes, "evaluate": {"paper": {"attacks": [attack]}}}


@pytest.mark.parametrize(
    "attack",
    [
        {"name": "eot", "attack": "pgd"},
        {"name": "eot", "attack": {"name": "ifgsm", "steps": 3}, "draws": 5},
        {"name": "transfer", "attack": "fgsm", "from": TWIN},
        {"name": "transfer", "attack": {"name": "eot", "attack": "nattack"}, "from": SHA},
        {"name": "eot", "attack": {"name": "pgd", "label": "x" * 64}},
    ],
)
def test_what_is_stored_of_a_composite_can_be_read_back(attack: Any) -> None:
    spec = parse(spec_with(attack))
    assert parse(spec.json_dict()) == spec
    assert spec.json_dict()["evaluate"]["paper"]["attacks"][0]["attack"]["eps"] == "8/255"


@pytest.mark.parametrize(
    ("attack", "pointer", "message"),
    [
        ({"name": "eot", "attack": {"name": "eot", "attack": "pgd"}}, "/attack/name", "not a known value"),
        ({"name": "eot", "attack": "transfer"}, "/attack", "not a known value"),
        ({"name": "eot"}, "/attack", "is missing"),
        ({"name": "eot", "attack": {"steps": 3}}, "/attack", "names no member"),
        ({"name": "eot", "attack": {"name": "pgd", "stps": 3}}, "/attack/stps", "not a known key"),
        ({"name": "eot", "attack": {"name": "pgd", "steps": 0}}, "/attack/steps", "greater than or equal to 1"),
        ({"name": "eot", "attack": "pgd", "draws": 0}, "/draws", "greater than or equal to 1"),
        ({"name": "eot", "attack": {"name": "pgd", "images": 5}}, "", "attack.images must be left out"),
        ({"name": "eot", "eps": 0, "attack": {"name": "pgd", "eps": 1}}, "", "attack.eps must be left out or be that"),
        ({"name": "eot", "norm": "l2", "attack": {"name": "pgd", "norm": "linf"}}, "", "attack.norm must be left out"),
        ({"name": "eot", "attack": "cw_l2"}, "/norm", "does not search there"),
        ({"name": "transfer", "attack": "pgd"}, "/from", "is missing"),
        ({"name": "transfer", "attack": "pgd", "from": "latest"}, "/from", "should match pattern"),
        (
            {"name": "transfer", "from": SHA, "attack": {"name": "eot", "attack": {"name": "pgd", "loss": "x"}}},
            "/attack/attack/loss",
            "not a known value",
        ),
    ],
)
def test_what_is_wrong_with_a_composite_is_named_where_it_stands(attack: Any, pointer: str, message: str) -> None:
    with pytest.raises(InvalidSpec, match=message) as caught:
        parse(spec_with(attack))
    assert [p.pointer for p in caught.value.problems] == [f"/evaluate/paper/attacks/0{pointer}"]


@pytest.mark.parametrize("model", ["resnet", {"name": "enresnet", "noise": 0.0}])
def test_the_twin_of_a_network_without_noise_is_refused(model: Any) -> None:
    attack = {"name": "transfer", "attack": "pgd", "from": TWIN}
    with pytest.raises(InvalidSpec, match="has no noise with these settings") as caught:
        parse(spec_with(attack, model=model))
    assert [p.pointer for p in caught.value.problems] == ["/evaluate/paper/attacks/0/from"]
    parse(spec_with(attack | {"from": SHA}, model=model))
    parse(spec_with(attack))


def test_the_schema_of_a_composite_ends_and_lists_the_parts_it_takes() -> None:
    for member, left_out in ((Eot, {"eot", "transfer"}), (Transfer, {"transfer"})):
        schema = member.model_json_schema()
        taken = schema["properties"]["attack"]["discriminator"]["mapping"].keys()
        assert {"pgd", "cw_l2", "spsa", "torchattacks"} <= taken
        assert not left_out & taken
        assert {"eot", "transfer"} - left_out <= taken
    assert parse(LEAST).json_dict()["evaluate"]["paper"]["attacks"] == []
