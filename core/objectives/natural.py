"""Ordinary training: the cross-entropy of the clean images."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.objectives.base import Objective, Stats, hits


class Natural(Objective):
    """Cross-entropy of the clean images."""

    name: Literal["natural"] = "natural"

    def loss(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Stats]:
        """Mean cross-entropy; figures: how many images are right."""
        logits = net(x)
        return F.cross_entropy(logits, y), {"clean": hits(logits.detach(), y)}
