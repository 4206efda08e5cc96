"""Pruning filters by their l1 norm: train, cut each layer's smallest filters, tune.

Li et al. 2017 (arXiv 1608.08710), section 3: a filter of small sum |w| gives weak features. It goes together with its scale
and shift in the batch norm and with what the next layer reads of it. Filters that end in a residual stream cannot be
removed, so in a residual network the first convolution of each block alone is pruned, as in the paper (section 3.3). Of
VGG16 it halves the first convolution and the last six, which takes 64 % of the convolutions' weights:
`share: [0.5, 0, 0, 0, 0, 0, 0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]`. It tunes for 40 epochs at a constant lr of 0.001, a hundredth of
training's; here each stage runs through the schedule of `train` at a rate of its own.
"""

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from core.channels import Tie
from core.errors import InvalidSpec, Problem
from core.proximal import largest
from core.sparsifiers.oneshot import OneShot
from core.sparsifiers.shares import PerLayer, TwoRates, TwoStages, each


class L1Filter(OneShot):
    """l1-norm filter pruning (Li et al. 2017, arXiv 1608.08710): each layer's smallest filters are cut, the rest tuned."""

    name: Literal["l1_filter"] = "l1_filter"
    share: PerLayer = 0.5
    """Share of each layer's filters that are cut: one number, or one for each prunable layer, in order."""
    shares: TwoStages = (0.8, 0.2)
    """How the epochs are divided between training and tuning (Li et al.: 160 and 40)."""
    lrs: TwoRates = (1.0, 0.01)
    """Learning rate of each stage, as a share of train.lr (Li et al.: 0.1, then 0.001); from scratch, give 1 for both."""

    def fits(self, shape: Callable[[], nn.Module], ties: tuple[Tie, ...]) -> None:
        """It needs filters that can be removed, and as many shares as layers that have them."""
        layers = len(_prunable(ties))
        if not layers:
            message = (
                f"l1_filter has nothing to cut: no layer of {type(shape()).__name__} has filters that can be removed"
            )
            raise InvalidSpec((Problem("/sparsifier", message, "l1_filter", "another model"),))
        each(self.share, layers, "share")

    def dead(self, net: nn.Module, ties: tuple[Tie, ...]) -> list[tuple[Tie, Tensor]]:
        """Of each layer the round(share * filters) filters of smallest l1 norm; one stays."""
        found = []
        pruned = _prunable(ties)
        for tie, share in zip(pruned, each(self.share, len(pruned), "share"), strict=True):
            norms = net.get_submodule(tie.producer or "").get_parameter("weight").detach().abs().flatten(1).sum(1)
            found.append((tie, ~largest(norms, max(1, len(norms) - round(share * len(norms))))))
        return found

    @classmethod
    def strong(cls) -> dict[str, object]:
        """Zeros as soon as the second stage begins."""
        return {"share": 0.5}

    def without_strength(self) -> "L1Filter":
        """Nothing cut."""
        return self.model_copy(update={"share": 0.0})


def _prunable(ties: tuple[Tie, ...]) -> list[Tie]:
    """The channel indices that a layer of their own makes."""
    return [tie for tie in ties if tie.producer]
