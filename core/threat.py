"""What the adversary may do: the ball around an image, and the pixels' box [0, 1]."""

from fractions import Fraction
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from core.family import Exact, Settings

Radius = Annotated[Exact, Field(ge=0, le=1)]


def usual_step(eps: Fraction, steps: int) -> Fraction:
    """The length of a step where none is given: 2.5 eps / steps (Madry et al. 2018), enough to cross the ball and come back.

    At eps 8/255 that is the thesis's 2/255 for the 10 steps of training and its 1/255 for the 20 steps of IFGSM. At most 1.
    """
    return min(Fraction(1), Fraction(5, 2) * eps / steps)


class Threat(Settings):
    """All images within `eps` of the clean one in the given norm, with pixels in [0, 1]."""

    norm: Literal["linf"] = "linf"
    """The norm of the ball."""
    eps: Radius = Fraction(8, 255)
    """Radius, in pixel units of [0, 1]."""

    def project(self, candidate: Tensor, x: Tensor) -> Tensor:
        """The point of the ball around `x` and of the box that is nearest to `candidate`. Both (B, C, H, W)."""
        eps = float(self.eps)
        return torch.clamp(torch.minimum(torch.maximum(candidate, x - eps), x + eps), 0.0, 1.0)

    def uniform_start(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """A uniform point of the ball around `x`, inside the box."""
        noise = torch.empty_like(x).uniform_(-float(self.eps), float(self.eps), generator=generator)
        return self.project(x + noise, x)

    def direction(self, gradient: Tensor) -> Tensor:
        """The step of length one in this norm that raises a linear function most: the sign."""
        return gradient.sign()
