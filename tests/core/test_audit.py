"""The audit accuses a network that hides its gradients, and not one that does not."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from core.audit import Audit
from core.events import Audited, Checked, Scored
from core.spec import JobSpec, parse


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


class Saturated(Linear):
    """Logits so large that the softmax rounds to 0 and 1."""

    def __init__(self) -> None:
        super().__init__(1e4)


@pytest.fixture
def spec() -> JobSpec:
    return parse(
        {"dataset": "fashion_mnist_sample", "model": "lenet5", "threat": {"eps": 0.05}, "evaluate": {"images": 64}}
    )


def audited(spec: JobSpec, net: nn.Module) -> tuple[str, dict[str, str]]:
    images = spec.dataset.load(Path()).test
    x, _ = images.batch(0, 64)
    images.y[:64] = net(x).argmax(1)  # the network is right on what it is asked
    events = list(Audit(spec, net.eval(), images, []).run())
    (verdict,) = [event.verdict for event in events if isinstance(event, Audited)]
    return verdict, {event.check: event.verdict for event in events if isinstance(event, Checked)}


def test_an_honest_network_passes(spec: JobSpec) -> None:
    verdict, checks = audited(spec, Linear())
    assert verdict == "passed", checks


def test_quantised_inputs_are_found(spec: JobSpec) -> None:
    verdict, checks = audited(spec, Quantised())
    assert verdict == "failed"
    assert checks["zero_gradients"] == "failed"
    assert checks["eps_0.5"] == "failed"


def test_saturated_logits_are_found(spec: JobSpec) -> None:
    _, checks = audited(spec, Saturated())
    assert checks["zero_gradients"] == "failed"


def test_a_check_says_what_it_measured(spec: JobSpec) -> None:
    images = spec.dataset.load(Path()).test
    events = [event for event in Audit(spec, Quantised().eval(), images, []).run() if isinstance(event, Checked)]
    zero = next(event for event in events if event.check == "zero_gradients")
    assert (zero.value, zero.passes, zero.fails, zero.images) == (100.0, 1, 10, 64)
    assert "gradient of exactly zero" in zero.words


def scored(label: str, eps: float, survived: str) -> Scored:
    right = survived.count("1")
    return Scored(
        protocol="paper",
        label=label,
        attack={"name": label},
        eps=eps,
        steps=1,
        restarts=1,
        draws=1,
        images=len(survived),
        correct=right,
        accuracy=right / len(survived),
        low=0.0,
        high=1.0,
        seconds=0.0,
        survived=survived,
    )


def black_box_check(attacks: list[dict[str, object]], found: list[Scored]) -> list[Checked]:
    spec = parse(
        {
            "dataset": "fashion_mnist_sample",
            "model": "lenet5",
            "threat": {"eps": 0.05},
            "evaluate": {"images": 64, "paper": {"attacks": attacks}},
        }
    )
    images = spec.dataset.load(Path()).test
    return [event for event in Audit(spec, Linear().eval(), images, found).black_box() if isinstance(event, Checked)]


def test_a_black_box_that_breaks_more_than_gradients_is_found() -> None:
    seeing, blind = scored("fgsm", 0.05, "1" * 64), scored("square", 0.05, "0" * 5 + "1" * 59)
    attacks = ["fgsm", {"name": "torchattacks", "attack": "Square", "label": "square"}]
    (check,) = black_box_check(attacks, [seeing, blind])
    assert (check.verdict, check.value) == ("failed", 100 * 5 / 64)


def test_one_image_is_never_finer_than_the_thresholds() -> None:
    attacks = ["fgsm", {"name": "torchattacks", "attack": "Square", "label": "square"}]
    verdicts = []
    for broken in (1, 2, 3, 4):
        blind = scored("square", 0.05, "0" * broken + "1" * (64 - broken))
        (check,) = black_box_check(attacks, [scored("fgsm", 0.05, "1" * 64), blind])
        verdicts.append(check.verdict)
    assert verdicts == ["passed", "warnings", "warnings", "failed"]


def test_attacks_of_another_radius_are_not_compared() -> None:
    attacks = ["fgsm", {"name": "torchattacks", "attack": "Square", "label": "square", "eps": 0.2}]
    assert black_box_check(attacks, [scored("fgsm", 0.05, "1" * 64), scored("square", 0.2, "0" * 64)]) == []
