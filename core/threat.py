"""What the adversary may do: the ball around an image in a norm, and the pixels' box [0, 1]."""

from fractions import Fraction
from typing import Annotated, Literal

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor

from core.family import Exact, Settings

Norm = Literal["linf", "l2"]
Radius = Annotated[Exact, Field(ge=0, le=100)]
Step = Annotated[Exact, Field(ge=0, le=250)]


def usual_step(eps: Fraction, steps: int) -> Fraction:
    """The length of a step where none is given: 2.5 eps / steps (Madry et al. 2018), enough to cross the ball and come back.

    At eps 8/255 that is the thesis's 2/255 for the 10 steps of training and its 1/255 for the 20 steps of IFGSM.
    """
    return Fraction(5, 2) * eps / steps


class Threat(Settings):
    """All images within `eps` of the clean one in the given norm, with pixels in [0, 1]."""

    norm: Norm = "linf"
    """The norm of the ball: of the largest change of a pixel, or Euclidean over all pixels of an image."""
    eps: Radius = Fraction(8, 255)
    """Radius, in pixel units of [0, 1]; at most 1 in l_inf, which is the whole box."""

    @field_validator("eps")
    @classmethod
    def _within_the_box(cls, eps: Fraction, info: ValidationInfo) -> Fraction:
        if info.data.get("norm") == "linf" and eps > 1:
            raise ValueError("must be at most 1 in the norm linf, where 1 is the whole box [0, 1]")
        return eps

    def project(self, candidate: Tensor, x: Tensor) -> Tensor:
        """A point of the ball around `x` and of the box near `candidate`. Both (B, C, H, W).

        In l_inf the nearest one; in l2 the nearest of the ball, then of the box, which leads no farther from `x`.
        """
        eps = float(self.eps)
        if self.norm == "linf":
            return torch.clamp(torch.minimum(torch.maximum(candidate, x - eps), x + eps), 0.0, 1.0)
        delta = candidate - x
        return torch.clamp(x + delta * (eps / length(delta).clamp_min(1e-12)).clamp_max(1.0), 0.0, 1.0)

    def uniform_start(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """A uniform point of the ball around `x`, brought into the box."""
        eps = float(self.eps)
        if self.norm == "linf":
            return self.project(x + torch.empty_like(x).uniform_(-eps, eps, generator=generator), x)
        noise = torch.empty_like(x).normal_(generator=generator)
        share = torch.rand(len(x), 1, 1, 1, generator=generator, device=x.device) ** (1 / x[0].numel())
        return self.project(x + eps * share * self.direction(noise), x)

    def direction(self, gradient: Tensor) -> Tensor:
        """The step of length one in this norm that raises a linear function most: the sign, or the gradient's direction."""
        if self.norm == "linf":
            return gradient.sign()
        return gradient / length(gradient).clamp_min(1e-12)

    def distance(self, candidate: Tensor, x: Tensor) -> Tensor:
        """How far each image was moved, in this norm. (B, C, H, W), (B, C, H, W) -> (B,)."""
        delta = candidate - x
        return delta.abs().flatten(1).amax(1) if self.norm == "linf" else length(delta).flatten()


def length(delta: Tensor) -> Tensor:
    """Euclidean length of each image's change. (B, C, H, W) -> (B, 1, 1, 1)."""
    return delta.square().sum((1, 2, 3), keepdim=True).sqrt()
