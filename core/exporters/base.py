"""What an exporter is: it writes a file, and the base reads the file back and compares what it computes.

A lossy exporter's file holds another network, which its member states in `expected`: that is what the file must compute. How
far it is from the network itself is told, and a run judges it again.
"""

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple

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
    """Largest difference of a logit between what the file computes and what it should."""
    lossy: ClassVar[bool] = False
    """Whether the file holds another network than the one it was made of: `expected`."""

    @abstractmethod
    def write(self, net: nn.Module, blueprint: Blueprint, path: Path) -> None:
        """Write `net`, whose shape is `blueprint`, to `path`."""

    @abstractmethod
    def read(self, path: Path) -> nn.Module:
        """The network in a file that `write` wrote."""

    def expected(self, net: nn.Module) -> nn.Module:
        """The network that a file made of `net` should compute: itself, unless the exporter is lossy."""
        return net

    @property
    def suffix(self) -> str:
        """The end of the file's name."""
        return f".{self.name}"

    def export(self, net: nn.Module, blueprint: Blueprint, x: Tensor, path: Path) -> tuple[Path, float]:
        """Write `net`, read it back, compare logits on `x`; returns the file and its largest difference to `net`.

        What the file computes must be within the tolerance of `expected(net)`, noise off and with the same noise; otherwise
        `ExportChanged` is raised, and there is no file.
        """
        path = path.with_suffix(self.suffix)
        expected = self.expected(net)
        self.write(net, blueprint, path)
        written = self.read(path).to(x.device)
        found = difference(expected, written, x)
        if not found.within(self.tolerance):
            path.unlink()
            raise ExportChanged(self.name, f"a logit differs by {found.worst:.2g}, tolerance {self.tolerance:.2g}")
        return path, difference(net, written, x).worst if self.lossy else found.worst


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
