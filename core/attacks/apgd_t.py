"""Targeted Auto-PGD: one run for each of the wrong classes that the clean image is confused with most.

Croce and Hein 2020 (arXiv 2003.01690), equation 7: the ascended loss for a target t is

    -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2)

with z_(i) the i-th largest logit. Which candidate is best is decided by the margin, in which all targets compare.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from core.ascent import PerImageLoss
from core.attacks.apgd import Apgd, ascend, start
from core.attacks.targets import ahead_of_truth, wrong_class


class ApgdT(Apgd):
    """Auto-PGD on the targeted difference of logits ratio, 9 targets of 100 steps (Croce and Hein 2020, arXiv 2003.01690)."""

    name: Literal["apgd_t"] = "apgd_t"
    targets: Annotated[int, Field(ge=1, le=999)] = 9
    """Wrong classes that are aimed at, the likeliest first; all of them where there are fewer."""

    @classmethod
    def cheap(cls) -> dict[str, object]:
        """A few steps towards two classes."""
        return {"steps": 5, "targets": 2}

    def run(
        self, number: int, net: nn.Module, x: Tensor, y: Tensor, clean: Tensor, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """A start towards one target, and its iterates."""
        target = wrong_class(clean, y, number // self.restarts)
        if target is not None:
            begin, f = start(x, self.threat, generator), targeted_dlr(target)
            yield from ascend(net, x, y, begin, self.threat, self.steps, f)

    @property
    def tries(self) -> int:
        """Starts towards all targets."""
        return self.restarts * self.targets

    @property
    def least_classes(self) -> int:
        """It compares the first four."""
        return 4


def targeted_dlr(target: Tensor) -> PerImageLoss:
    """Equation 7 for the classes `target`, (B,): a loss of logits (B, K) and labels (B,), of four classes or more."""
    ahead = ahead_of_truth(target)

    def loss(logits: Tensor, y: Tensor) -> Tensor:
        largest = logits.topk(4, 1).values
        return ahead(logits, y) / (largest[:, 0] - (largest[:, 2] + largest[:, 3]) / 2 + 1e-12)

    return loss
