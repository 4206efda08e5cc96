"""A physically smaller network: dead channels are cut out, and what is left must compute the same.

What can go: the input channels that no consumer of a tie reads. Inside a block they take the filters and the batch norm
that made them along; a residual stream keeps its width, and its dead channels are gathered away before each consumer
(`core.channels`). So noise on the stream keeps its shape, and the compact network sees the very noise that the masked one
sees. A dead *filter* with living readers stays: its batch norm still emits a constant.
"""

import copy
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from core.blueprint import Blueprint
from core.channels import alive, remove
from core.errors import ExportChanged
from core.exporters.base import Difference, Exporter, difference
from core.exporters.safetensors import Safetensors


class Compact(Exporter):
    """The network without its dead channels, checked: same logits within `logits`, no prediction changed."""

    name: Literal["compact"] = "compact"
    streams: Literal["gather"] = "gather"
    """Dead channels of a residual stream are gathered away before each consumer."""
    logits: Annotated[float, Field(ge=0, le=1)] = 1e-4
    """Largest difference of a logit to the masked network, noise off and with the same noise."""
    predictions_changed: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """How many predictions of the images compared may change."""

    def shrink(self, net: nn.Module, blueprint: Blueprint, x: Tensor) -> tuple[nn.Module, Blueprint, Difference]:
        """The small network, its blueprint, and how it differs on `x`; raises `ExportChanged` if by too much."""
        ties = blueprint.model.ties()
        keep = alive(net, ties)
        small = remove(copy.deepcopy(net), ties, keep)
        found = difference(net, small, x)
        if not found.within(self.logits):
            raise ExportChanged(self.name, f"a logit differs by {found.worst:.2g}, tolerance {self.logits:.2g}")
        if found.predictions > self.predictions_changed:
            raise ExportChanged(self.name, f"{found.predictions} of {len(x)} predictions differ")
        return small, blueprint.model_copy(update={"keep": keep}), found

    def export(self, net: nn.Module, blueprint: Blueprint, x: Tensor, path: Path) -> tuple[Path, float]:
        """Shrink first, unless that has been done."""
        if blueprint.keep:
            return super().export(net, blueprint, x, path)
        small, shape, found = self.shrink(net, blueprint, x)
        path, worst = super().export(small, shape, x, path)
        return path, max(worst, found.worst)

    def write(self, net: nn.Module, blueprint: Blueprint, path: Path) -> None:
        """As safetensors."""
        Safetensors().write(net, blueprint, path)

    def read(self, path: Path) -> nn.Module:
        """As safetensors."""
        return Safetensors().read(path)

    @property
    def suffix(self) -> str:
        """Beside the plain file, not over it."""
        return ".compact.safetensors"
