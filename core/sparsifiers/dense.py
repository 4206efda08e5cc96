"""No sparsity at all: the baseline that every method is compared with."""

from typing import Literal

from torch import nn

from core.optimizers import Optimizer
from core.sparsifiers.base import SparseOptimizer, Sparsifier, Stage


class Dense(Sparsifier):
    """No sparsity: the wrapped optimiser alone."""

    name: Literal["dense"] = "dense"

    def optimizer(self, net: nn.Module, base: Optimizer, steps_per_epoch: int, stage: Stage) -> SparseOptimizer:
        """The wrapped optimiser."""
        return SparseOptimizer(base.make(net.parameters(), stage.lr), steps_per_epoch, stage.epochs)

    def without_strength(self) -> "Dense":
        """Itself."""
        return self
