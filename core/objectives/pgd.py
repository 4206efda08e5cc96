"""Adversarial training: the cross-entropy of images that projected gradient descent has moved within the threat's ball.

Madry et al. 2018 (arXiv 1706.06083); the thesis's equation 4.1, with 10 steps of 2/255 from a random start at eps 8/255.
The EnResNet code crafts on the network in training mode, so that its batch norm sees ten extra batches a step and moves
its running statistics with them: `craft_batchnorm: train`. The default crafts in evaluation mode, where images do not
influence one another through the batch norm.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from core.ascent import LOSSES
from core.objectives.base import Crafted, Stats, crafting, hits


class Pgd(Crafted):
    """Adversarial training with PGD (Madry et al. 2018, arXiv 1706.06083; thesis, eq. 4.1), on attacked images alone."""

    name: Literal["pgd"] = "pgd"
    random_start: bool = True
    """Whether to start at a uniform point of the ball, or at the image."""
    ascends: Literal["ce", "margin"] = Field("ce", alias="loss")
    """What the steps ascend."""

    @property
    def passes(self) -> float:
        """2 a step to craft, 3 to train."""
        return 2.0 * self.steps + 3

    def loss(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Stats]:
        """Mean cross-entropy of the attacked images; figures: how many of them are right."""
        with crafting(net, self.craft_batchnorm):
            attacked = self.attack(net, x, y, generator)
        logits = net(attacked)
        return F.cross_entropy(logits, y), {"robust": hits(logits.detach(), y)}

    def attack(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """The last iterate of PGD."""
        start = self.threat.uniform_start(x, generator) if self.random_start else x
        return self.ascent(net, x, y, start, LOSSES[self.ascends])
