"""FGSM: one step of the gradient's sign (Goodfellow, Shlens, Szegedy 2015, arXiv 1412.6572, section 4)."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from core.ascent import cross_entropy, gradient
from core.attacks.base import Attack


class Fgsm(Attack):
    """Fast gradient sign method (Goodfellow et al. 2015, arXiv 1412.6572): one step of length eps up the cross-entropy.

    Its one candidate is returned even where it is worse than the image.
    """

    name: Literal["fgsm"] = "fgsm"

    def steps_from(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """x + eps sign grad."""
        pixels, _, _ = gradient(net, x, y, cross_entropy)
        yield x + float(self.threat.eps) * self.threat.direction(pixels)

    @property
    def passes(self) -> float:
        """A forward and a backward to the pixels."""
        return 2.0
