"""Network slimming: an l1 penalty on the scales of batch norm finds the channels that the network can do without.

Liu et al. 2017 (arXiv 1708.06519), section 3. While training, the sub-gradient s sign(gamma) is added to the gradient of
every batch-norm weight, as in the authors' code (so within the momentum). Then all scales of the network are ranked
together, the smallest |gamma| are cut, and the rest is tuned. Their runs: 160 epochs at lr 0.1 for each of the two stages,
batch 64, weight decay 1e-4, s 1e-4 for VGG and 1e-5 for ResNet.

What can be cut: the channels of batch norms that one layer alone reads. Before the first convolution of a block that is
the paper's channel selection: the residual stream goes on whole, and the convolution reads a part of it. Unlike the paper,
batch norms with several readers (where the shape changes, and the last one) are left whole, and each layer keeps its
largest channel, since a global ranking can take a layer's last (the thesis met that at 70 %); fewer than `share` are cut
then. The thesis's Table 4.3 trained its slimmed networks from scratch: `then: scratch`.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from core.channels import Tie
from core.errors import InvalidSpec, Problem
from core.proximal import largest
from core.sparsifiers.base import SparseOptimizer
from core.sparsifiers.oneshot import OneShot


class Subgradient(SparseOptimizer):
    """The wrapped optimiser on the loss + s ||scales||_1, by its sub-gradient."""

    def __init__(
        self, base: torch.optim.Optimizer, steps_per_epoch: int, epochs: int, scales: list[nn.Parameter], s: float
    ) -> None:
        super().__init__(base, steps_per_epoch, epochs)
        self.scales, self.s = scales, s

    def before(self) -> None:
        """Add s sign(gamma)."""
        for p in self.scales:
            if p.grad is not None:
                p.grad.add_(p.sign(), alpha=self.s)


class Slimming(OneShot):
    """Network slimming (Liu et al. 2017, arXiv 1708.06519): channels of small batch-norm scale are cut, the rest tuned."""

    name: Literal["slimming"] = "slimming"
    s: Annotated[float, Field(ge=0, le=10)] = 1e-4
    """Weight of the l1 penalty on batch-norm scales while training (Liu et al.: 1e-4 for VGG, 1e-5 for ResNet)."""
    share: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of all prunable channels of the network, ranked together, that are cut."""

    def fits(self, shape: Callable[[], nn.Module], ties: tuple[Tie, ...]) -> None:
        """It needs batch norms with one reader."""
        if not any(tie.norm for tie in ties):
            message = f"slimming ranks the channels of batch norms that one layer reads, and {type(shape()).__name__} has none"
            raise InvalidSpec((Problem("/sparsifier", message, "slimming", "a model with batch norm, or l1_filter"),))

    def training(
        self, net: nn.Module, base: torch.optim.Optimizer, steps_per_epoch: int, epochs: int
    ) -> SparseOptimizer:
        """With the sub-gradient on every batch norm, prunable or not."""
        scales = [m.get_parameter("weight") for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
        return Subgradient(base, steps_per_epoch, epochs, scales, self.s)

    def dead(self, net: nn.Module, ties: tuple[Tie, ...]) -> list[tuple[Tie, Tensor]]:
        """The `share` of smallest |gamma| over all prunable batch norms, but never the largest of one."""
        normed = [(tie, net.get_submodule(tie.norm).get_parameter("weight").detach().abs()) for tie in ties if tie.norm]
        everything = torch.cat([scales for _, scales in normed])
        count = len(everything) - round(self.share * len(everything))
        alive = torch.split(largest(everything, count), [len(scales) for _, scales in normed])
        return [(tie, ~(kept | largest(scales, 1))) for (tie, scales), kept in zip(normed, alive, strict=True)]

    @classmethod
    def strong(cls) -> dict[str, object]:
        """Zeros as soon as the second stage begins."""
        return {"share": 0.5}

    def without_strength(self) -> "Slimming":
        """s = 0 and nothing cut."""
        return self.model_copy(update={"s": 0.0, "share": 0.0})
