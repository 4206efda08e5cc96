"""The audit accuses a network that hides its gradients, and not one that does not."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from core.audit import Audit
from core.events import Audited, Checked
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
