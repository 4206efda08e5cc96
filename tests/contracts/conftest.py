"""Small networks and images for the contract suites."""

import pytest
import torch
from torch import Tensor, nn

from core.family import members


def of(family: str) -> list[object]:
    """Each member of a family, made from its own cheap example, as a parameter."""
    return [
        pytest.param(member.model_validate(member.example()), id=name)
        for name, member in members(f"core.{family}").items()
    ]


class TwoClasses(nn.Module):
    """A linear network of two classes on images of 3 x 4 x 4: the strongest perturbation is known in closed form."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(48, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1))


class FourClasses(TwoClasses):
    """The same with logits (z, -z), and two more classes that never come first: still linear, with the same optimum.

    The differences of logits ratio, too, rise wherever the margin between the first two does.
    """

    def forward(self, x: Tensor) -> Tensor:
        z = super().forward(x)
        half = (z[:, :1] - z[:, 1:]) / 2
        return torch.cat([half, -half, torch.full_like(half, -10).expand(-1, 2)], 1)


@pytest.fixture
def small() -> nn.Module:
    """A network with batch norm, one layer of which is frozen while the rest trains."""
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, 2, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 16, 4),
    )
    net[4].eval()
    return net


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    """Twelve images of 3 x 8 x 8, some pixels exactly 0 or 1, and labels of 4 classes."""
    stream = torch.Generator().manual_seed(2)
    x = (torch.rand(12, 3, 8, 8, generator=stream) * 1.4 - 0.2).clamp(0, 1)
    return x, torch.randint(4, (12,), generator=stream)
