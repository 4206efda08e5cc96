"""The audit accuses a network that hides its gradients, and not one that does not; it says what it measured, and what to do."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.audit import Audit, passes
from core.audit.binarisation import plant
from core.audit.blackbox import black_box
from core.audit.convergence import rising, twice
from core.audit.cost import FEWEST, images
from core.audit.gradients import agreement, zero_gradients
from core.audit.sanity import repeatable
from core.audit.subject import Look, Subject
from core.datasets.base import Split, Splits
from core.device import generator
from core.evaluate import Evaluation
from core.events import Audited, Checked, Event, Scored
from core.noise import Fixed, Foreign, Stochastic, reseed, stochastic_layers
from core.plan import passes as planned
from core.presets import Preset
from core.spec import JobSpec, parse, shape_of
from core.threat import Threat
from sparring.documents import read_yaml

IFGSM: list[Any] = [{"name": "ifgsm", "steps": 20}]
SQUARE: list[Any] = ["fgsm", {"name": "torchattacks", "attack": "Square", "label": "square"}]


class Linear(nn.Module):
    """Classifies by brightness: honest, and soft."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.scale = nn.Linear(784, 10), scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.layer(x.flatten(1))


class Quantised(Linear):
    """Rounds its input, so that the gradient is zero everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x * 8).round() / 8)


class Dropping(Linear):
    """Draws from the global generator, whatever its mode."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(x, 0.5, training=True))


class Company(Linear):
    """Judges images by how they differ from the others of their batch."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(0, keepdim=True))


class Jitter(Stochastic):
    """Multiplies each pixel's gradient by 1 + s n: two gradients of it have a cosine of 1 / (1 + s^2)."""

    def __init__(self, s: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.s = nn.Linear(784, 10), s

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.zeros_like(x) if self.silent else self.draw(x)
        return 1e-3 * self.layer((x * (1 + self.s * noise)).flatten(1))


def spec_of(audit: str = "quick", attacks: list[Any] | None = None, eps: float = 0.05, n: int = 64) -> JobSpec:
    judged = {"images": n, "audit": audit, "paper": {"attacks": attacks or []}}
    return parse({"dataset": "fashion_mnist_sample", "model": "lenet5", "threat": {"eps": eps}, "evaluate": judged})


def data(net: nn.Module, n: int = 64) -> Split:
    """Images of which the network is right."""
    split = spec_of().dataset.load(Path()).test.prefix(n)
    reseed(net, "labels")
    return Split(split.x, net(split.batch(0, n)[0]).argmax(1))


def evaluated(spec: JobSpec, net: nn.Module, split: Split) -> Iterator[Event]:
    return Evaluation(spec, net, Splits(split, split, split, ""), Path(), []).run()


def subject(net: nn.Module, spec: JobSpec, scored: list[Scored] | None = None) -> Subject:
    return Subject(spec, net.eval(), data(net), data(net), scored or [])


def result(look: Look) -> Checked:
    (check,) = [found for found in look if isinstance(found, Checked)]
    return check


def audited(spec: JobSpec, net: nn.Module) -> tuple[str, dict[str, Checked]]:
    split = data(net)
    scored = [event for event in evaluated(spec, net.eval(), split) if isinstance(event, Scored)]
    events = list(Audit(spec, net.eval(), Splits(split, split, split, ""), scored).run())
    (end,) = [event for event in events if isinstance(event, Audited)]
    return end.verdict, {event.check: event for event in events if isinstance(event, Checked)}


@pytest.mark.parametrize("level", ["quick", "full"])
def test_an_honest_network_passes(level: str) -> None:
    verdict, checks = audited(spec_of(level, IFGSM), Linear())
    assert verdict == "passed", checks
    assert {"loss_rising", "binarisation"} <= set(checks) if level == "full" else "binarisation" not in checks


@pytest.mark.parametrize("level", ["quick", "full"])
def test_a_network_of_which_nothing_is_left_passes(level: str) -> None:
    """Floors: no image is left to attack again, and no point to lose."""
    verdict, checks = audited(spec_of(level, IFGSM, eps=0.5), Linear())
    assert verdict == "passed", checks


def test_quantised_inputs_are_found() -> None:
    verdict, checks = audited(spec_of("quick", IFGSM), Quantised())
    assert verdict == "failed"
    assert checks["zero_gradients"].verdict == "failed"
    assert checks["eps_0.5"].verdict == "failed"


def test_saturated_logits_are_found() -> None:
    assert result(zero_gradients(subject(Linear(1e4), spec_of()))).verdict == "failed"


def test_a_check_says_what_it_measured_and_what_to_do() -> None:
    zero = result(zero_gradients(subject(Quantised(), spec_of())))
    assert (zero.value, zero.passes, zero.fails, zero.images) == (100.0, 1, 10, 64)
    assert "gradient of exactly zero" in zero.words
    assert "BPDA" in zero.advice
    assert result(zero_gradients(subject(Linear(), spec_of()))).advice == ""


def test_undeclared_randomness_fails_and_is_then_averaged_over() -> None:
    net = subject(Dropping(), spec_of())
    found = result(repeatable(net))
    assert (found.verdict, found.value) == ("failed", 100.0)
    assert (net.random, net.draws) == (True, 8)


def test_images_that_influence_one_another_fail() -> None:
    found = result(repeatable(subject(Company(), spec_of())))
    assert found.verdict == "failed"
    assert "among other images" in found.words
    assert result(repeatable(subject(Linear(), spec_of()))).value == 0
    assert result(repeatable(subject(Jitter(1.0), spec_of()))).value == 0, "declared noise is no foreign noise"


@pytest.mark.parametrize("s", [0.1, 1.0, 2.0])
def test_the_agreement_of_gradients_is_their_cosine(s: float) -> None:
    found = result(agreement(subject(Jitter(s), spec_of())))
    assert 1 - found.value == pytest.approx(1 / (1 + s * s), abs=0.05)
    assert found.verdict == ("passed" if s < 0.5 else "warnings" if s == 1 else "failed")


def test_the_advice_on_draws_is_that_after_which_the_cosine_is_four_fifths() -> None:
    """With a cosine of 1/5 of one draw, signal to noise is 1/4: n draws give n / (n + 4), which is 0.8 at 16."""
    needed = int(result(agreement(subject(Jitter(2.0), spec_of()))).advice.split("about ")[1].split()[0])
    assert needed == pytest.approx(16, abs=3)


def too_short() -> tuple[JobSpec, list[Scored], nn.Module]:
    net, spec = Linear(4), spec_of("full", [{"name": "ifgsm", "steps": 20, "step": "1/4000"}])
    return spec, [event for event in evaluated(spec, net, data(net)) if isinstance(event, Scored)], net


def test_a_loss_that_still_rises_is_found_and_judged_again_on_a_stronger_attack() -> None:
    spec, scored, net = too_short()
    found = result(rising(subject(net, spec, scored)))
    assert found.value > 20
    assert found.verdict == "warnings", "the stronger attack has arrived"
    assert "PGD with 100 steps" in found.words


def test_an_attack_that_was_too_short_is_found_and_the_stronger_one_told() -> None:
    spec, scored, net = too_short()
    found = result(twice(subject(net, spec, scored)))
    assert found.value > 4.7
    assert found.verdict == "warnings"
    assert "100 steps" in found.words
    assert "has arrived" in found.words


def test_the_stronger_attack_does_not_excuse_gradients_that_mislead() -> None:
    spec = spec_of("full", IFGSM, eps=0.1)
    net = Quantised(4)
    scored = [event for event in evaluated(spec, net, data(net)) if isinstance(event, Scored)]
    found = result(black_box(subject(net, spec, scored)))
    assert found.verdict == "failed"
    assert "mislead" in found.words


# ---- the binarisation test


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_what_is_planted_is_outside_of_all_inner_points_and_inside_the_ball(norm: str) -> None:
    net, threat = Linear(), Threat(norm=norm, eps=Fraction(1, 4))
    x, _ = data(net).batch(0, 16)
    readout, there = plant(net, x, threat, generator("cpu", 1))
    assert there.all()
    assert readout(x)[:, 1].tolist() == pytest.approx([-1.0] * 16, abs=1e-4)
    stream = generator("cpu", 1)
    inner = [x, *(threat.uniform_start(x, stream) for _ in range(99))]
    assert not any((readout(point)[:, 1] > 0).any() for point in inner)


def test_nothing_can_be_planted_where_logits_do_not_move() -> None:
    net = Quantised()
    flat = Split(torch.full((16, 1, 28, 28), 128, dtype=torch.uint8), torch.zeros(16).long())
    _, there = plant(net, flat.batch(0, 16)[0], Threat(eps=Fraction(1, 100)), generator("cpu", 1))
    assert not there.any()


# ---- black boxes of the evaluation


def scored(label: str, eps: float, survived: str) -> Scored:
    right = survived.count("1")
    n = len(survived)
    settings = {"steps": 1, "restarts": 1, "draws": 1, "low": 0.0, "high": 1.0, "seconds": 0.0}
    counts = {"images": n, "correct": right, "accuracy": right / n, "survived": survived}
    return Scored(protocol="paper", label=label, attack={"name": label}, eps=eps, **settings, **counts)


def found_by_black_box(attacks: list[Any], found: list[Scored]) -> list[Checked]:
    looked = black_box(subject(Linear(), spec_of("quick", attacks), found))
    return [event for event in looked if isinstance(event, Checked)]


def test_a_black_box_that_breaks_more_than_gradients_is_found() -> None:
    seeing, blind = scored("fgsm", 0.05, "1" * 64), scored("square", 0.05, "0" * 5 + "1" * 59)
    (check,) = found_by_black_box(SQUARE, [seeing, blind])
    assert (check.verdict, check.value) == ("failed", 100 * 5 / 64)


def test_one_image_is_never_finer_than_the_thresholds() -> None:
    verdicts = []
    for broken in (1, 2, 3, 4):
        blind = scored("square", 0.05, "0" * broken + "1" * (64 - broken))
        (check,) = found_by_black_box(SQUARE, [scored("fgsm", 0.05, "1" * 64), blind])
        verdicts.append(check.verdict)
    assert verdicts == ["passed", "warnings", "warnings", "failed"]


def test_attacks_of_another_radius_are_not_compared() -> None:
    attacks = ["fgsm", {"name": "torchattacks", "attack": "Square", "label": "square", "eps": 0.2}]
    assert found_by_black_box(attacks, [scored("fgsm", 0.05, "1" * 64), scored("square", 0.2, "0" * 64)]) == []


# ---- what it costs


def specs() -> Iterator[Any]:
    folder = Path(__file__).parents[2] / "presets"
    yield pytest.param(read_yaml((folder / "demo.yaml").read_text()), id="demo")
    for name in ("cifar-short", "fashion-robust", "thesis-4.4", "thesis-4.5"):
        preset = Preset.model_validate(read_yaml((folder / f"{name}.yaml").read_text()))
        rows = {planned.spec.model.name: planned.spec.json_dict() for planned in preset.planned(1)}
        yield from (pytest.param(row, id=f"{name}-{model}") for model, row in rows.items())


@pytest.mark.parametrize("document", list(specs()))
def test_a_quick_audit_takes_less_than_a_tenth_of_the_evaluation(document: dict[str, Any]) -> None:
    spec = parse(document)
    work = planned(spec)
    assert 0 < work["audit"] < 0.1 * work["evaluate"]
    assert images(spec, bool(stochastic_layers(shape_of(spec)))) >= FEWEST


def test_a_tiny_evaluation_is_still_audited_on_sixteen_images() -> None:
    assert images(spec_of("quick", ["fgsm"], n=64), False) == 16
    assert images(spec_of("quick", ["fgsm"], n=8), False) == 8
    assert passes(spec_of("full", IFGSM), False) > passes(spec_of("quick", IFGSM), False) > 0
    off = spec_of().model_copy(update={"evaluate": spec_of().evaluate.model_copy(update={"audit": "off"})})
    assert passes(off, False) == 0


class Counting(Linear):
    """Counts the images that pass forward and, twice as dear, to the pixels."""

    work = 0

    def forward(self, x: Tensor) -> Tensor:
        self.work += len(x) * (2 if x.requires_grad else 1)
        return super().forward(x)


@pytest.mark.parametrize("level", ["quick", "full"])
def test_an_audit_costs_no_more_than_it_says(level: str) -> None:
    net, spec = Counting(0.01), spec_of(level, IFGSM, eps=0.001)
    found = [event for event in evaluated(spec, net, data(net)) if isinstance(event, Scored)]
    net.work = 0
    events = list(Audit(spec, net, Splits(data(net), data(net), data(net), ""), found).run())
    assert events[-1].verdict == "passed"
    assert 0.5 * passes(spec, False) < net.work <= 1.1 * passes(spec, False)


# ---- networks that draw from elsewhere


def test_a_foreign_network_draws_by_key_and_leaves_the_global_generator_alone() -> None:
    net, x = Foreign(Dropping()), torch.rand(4, 1, 28, 28)
    assert stochastic_layers(net) == [net]
    with pytest.raises(RuntimeError, match="must be seeded"):
        net(x)
    before = torch.get_rng_state()
    reseed(net, "a")
    one, two = net(x), net(x)
    reseed(net, "a")
    assert torch.equal(net(x), one)
    assert not torch.equal(one, two)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_fixed_network_has_the_same_noise_in_every_call() -> None:
    net, x = Jitter(1.0), torch.rand(4, 1, 28, 28)
    fixed = Fixed(net, "a")
    assert torch.equal(fixed(x), fixed(x))
    assert not torch.equal(fixed(x), Fixed(net, "b")(x))
