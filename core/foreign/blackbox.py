"""A network known by its logits alone: it can be asked, and not differentiated."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from core.errors import NoGradients

NO_BADGE = "black-box only, no badge"
"""What is said of such a network: attacks without gradients may be weak, and nothing here could tell."""


class BlackBox(nn.Module):
    """What maps pixels to logits by other means than torch. `why` says in words how it came to that."""

    def __init__(self, call: Callable[[Tensor], Tensor], name: str, why: str) -> None:
        super().__init__()
        self.call, self.name, self.why = call, name, why
        self.place = nn.Parameter(
            torch.empty(0), requires_grad=False
        )  # libraries ask a parameter where images should lie
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) pixels to (B, classes) logits; `NoGradients` where a gradient to the pixels is asked for."""
        if torch.is_grad_enabled() and x.requires_grad:
            raise NoGradients(self.name, self.why, "an attack with gradients")
        return self.call(x)
