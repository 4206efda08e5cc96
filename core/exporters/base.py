"""What an exporter is: it writes a file, and the base reads the file back and compares what it computes."""

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from core.blueprint import Blueprint
from core.errors import ExportChanged
from core.family import Plugin
from core.modes import evaluating
from core.noise import reseed, silent, stochastic_layers


class Difference(NamedTuple):
    """How far two networks are apart on some images: logits, noise off and with the same noise, and predictions."""

    logits: float
    noisy: float | None
    predictions: int

    def within(self, tolerance: float) -> bool:
        """Whether both differences of logits are numbers up to the tolerance."""
        return self.logits <= tolerance and (self.noisy is None or self.noisy <= tolerance)

    @property
    def worst(self) -> float:
        """The larger difference of logits."""
        return max(self.logits, self.noisy or 0.0)


class Exporter(Plugin):
    """Writes a network to a file. Members give `write` and `read`; the base checks the one against the other."""

    tolerance: Annotated[float, Field(ge=0, le=1)] = 1e-4
    """Largest difference of a logit that the file may make."""

    @abstractmethod
    def write(self, net: nn.Module, blueprint: Blueprint, path: Path) -> None:
        """Write `net`, whose shape is `blueprint`, to `path`."""

    @abstractmethod
    def read(self, path: Path) -> nn.Module:
        """The network in a file that `write` wrote."""

    @property
    def suffix(self) -> str:
        """The end of the file's name."""
        return f".{self.name}"

    def export(self, net: nn.Module, blueprint: Blueprint, x: Tensor, path: Path) -> tuple[Path, float]:
        """Write `net`, read it back, compare logits on `x`; returns the file and the largest difference.

        A difference above the tolerance, noise off or with the same noise, raises `ExportChanged` and leaves no file.
        """
        path = path.with_suffix(self.suffix)
        self.write(net, blueprint, path)
        found = difference(net, self.read(path).to(x.device), x)
        if not found.within(self.tolerance):
            path.unlink()
            raise ExportChanged(self.name, f"a logit differs by {found.worst:.2g}, tolerance {self.tolerance:.2g}")
        return path, found.worst


@torch.no_grad()
def difference(one: nn.Module, other: nn.Module, x: Tensor) -> Difference:
    """Compare two networks of the same classes in evaluation mode on images (B, C, H, W); modes are left as found."""

    def logits(net: nn.Module) -> Tensor:
        reseed(net, "difference")
        with evaluating(net):
            return torch.as_tensor(net(x))

    def apart(call: Callable[[nn.Module], Tensor]) -> tuple[float, int]:
        a, b = call(one), call(other)
        return float((a - b).abs().max()), int((a.argmax(1) != b.argmax(1)).sum())

    with silent(one), silent(other):
        quiet, changed = apart(logits)
    if not stochastic_layers(one):
        return Difference(quiet, None, changed)
    noisy, changed_noisy = apart(logits)
    return Difference(quiet, noisy, max(changed, changed_noisy))
