"""A reconstruction of the C&W attack behind the thesis's column A4: an attempt, printed beside it and never ranked.

The EnResNet authors' public script minimises ||delta||^2 + c max(z_y - z_t, 0) (Carlini and Wagner 2017, arXiv 1608.04644, with
f_6 and kappa 0) over the perturbation by Adam, 50 steps of 6e-4 with c = 10, towards one fixed class t, the runner-up on the
clean image, and keeps the iterate of least total loss rather than of success. Nothing bounds the perturbation, but 50 steps of
6e-4 add up to 0.03, nearly eps. The script then multiplies what it found by 0.031, which leaves almost nothing: here, as
the published numbers seem to want it, there is no multiplier. Unlike the script's one image at a time, a batch is attacked
together; Adam is element-wise, so the images go their own ways (but for the noise of a whole batch).
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from core.attacks.base import Attack


class CwReference(Attack):
    """C&W as the EnResNet authors' script has it, without its multiplier (after Carlini and Wagner 2017, arXiv 1608.04644)."""

    name: Literal["cw_reference"] = "cw_reference"
    steps: Annotated[int, Field(ge=1, le=10_000)] = 50
    """Steps of Adam."""
    lr: Annotated[float, Field(gt=0, le=1)] = 6e-4
    """Its rate, in pixel units: about the length of a step in each pixel."""
    c: Annotated[float, Field(gt=0, le=1e6)] = 10.0
    """Weight of the margin against the squared distance."""

    @classmethod
    def cheap(cls) -> dict[str, object]:
        """A few long steps."""
        return {"steps": 5, "lr": 6e-3}

    def steps_from(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """The images of least total loss so far."""
        with torch.no_grad():
            clean = net(x)
        truth = F.one_hot(y, clean.shape[1]).bool()
        target = F.one_hot(clean.masked_fill(truth, -torch.inf).argmax(1), clean.shape[1]).bool()
        delta = torch.zeros_like(x, requires_grad=True)
        adam = torch.optim.Adam([delta], self.lr)
        least, best = torch.full((len(x),), torch.inf, device=x.device), x
        for _ in range(self.steps):
            with torch.enable_grad():
                logits = net(x + delta)
                losses = delta.square().sum((1, 2, 3)) + self.c * (logits[truth] - logits[target]).clamp_min(0)
                (delta.grad,) = torch.autograd.grad(losses.sum(), delta)
            better = losses.detach() < least
            least = torch.where(better, losses.detach(), least)
            best = torch.where(better.view(-1, 1, 1, 1), (x + delta).detach(), best)
            adam.step()
            yield best

    @property
    def minimal(self) -> bool:
        """It trades distance for success."""
        return True

    @property
    def length(self) -> int:
        """Steps."""
        return self.steps

    @property
    def passes(self) -> float:
        """One for the target, 2 a step."""
        return 2.0 * self.steps + 1
