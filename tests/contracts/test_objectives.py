"""What every objective must do."""

import pytest
import torch
from torch import nn

from contracts.conftest import of
from core.device import generator
from core.objectives.base import Objective
from core.threat import Threat

OBJECTIVES = of("objectives")


@pytest.fixture
def threat() -> Threat:
    return Threat()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_loss_can_be_differentiated(objective: Objective, small: nn.Module, images, threat: Threat) -> None:
    small.train()
    loss, stats = objective.within(threat).loss(small, *images, generator("cpu", 0))
    loss.backward()
    assert loss.ndim == 0
    assert all(p.grad is not None for p in small.parameters())
    assert all(0 <= int(value) <= len(images[1]) for value in stats.values())


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_modes_and_gradients_are_left_as_found(objective: Objective, small: nn.Module, images, threat: Threat) -> None:
    small(images[0]).sum().backward()
    gradients = [p.grad.clone() for p in small.parameters()]
    modes = [module.training for module in small.modules()]
    momenta = [getattr(module, "momentum", None) for module in small.modules()]
    objective.within(threat).loss(small, *images, generator("cpu", 0))
    assert [module.training for module in small.modules()] == modes
    assert [getattr(module, "momentum", None) for module in small.modules()] == momenta
    assert all(torch.equal(p.grad, kept) for p, kept in zip(small.parameters(), gradients, strict=True))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_same_stream_gives_the_same_loss(objective: Objective, small: nn.Module, images, threat: Threat) -> None:
    small.train()
    state = {name: value.clone() for name, value in small.state_dict().items()}
    losses = []
    for _ in range(2):
        small.load_state_dict(state)
        losses.append(objective.within(threat).loss(small, *images, generator("cpu", 4))[0])
    assert torch.equal(*losses)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_global_generator_is_not_used(objective: Objective, small: nn.Module, images, threat: Threat) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    objective.within(threat).loss(small, *images, generator("cpu", 0))
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_its_cost_is_stated(objective: Objective) -> None:
    assert objective.passes >= 3
