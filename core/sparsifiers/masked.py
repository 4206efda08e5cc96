"""Tuning under a mask: what is zero when training begins stays zero. The last stage of every method that cuts once.

Han et al. 2015 (arXiv 1506.02626), section 3: retraining the connections that are left.
"""

import torch
from torch import nn

from core.sparsifiers.base import SparseOptimizer


class Masked(SparseOptimizer):
    """Training in which what is zero now stays zero: gradients are masked, and weights after the step."""

    def __init__(
        self, base: torch.optim.Optimizer, steps_per_epoch: int, epochs: int, masked: list[nn.Parameter]
    ) -> None:
        super().__init__(base, steps_per_epoch, epochs)
        for p in masked:
            self.state[p]["mask"] = p.data != 0

    def before(self) -> None:
        """Mask the gradients, so that no momentum builds up on what is cut."""
        for p, state in self.chosen():
            if p.grad is not None:
                p.grad.mul_(state["mask"])

    def after(self) -> None:
        """Mask the weights."""
        for p, state in self.chosen():
            p.mul_(state["mask"])
