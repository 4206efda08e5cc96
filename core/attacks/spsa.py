"""SPSA: a black box that estimates the gradient by differences in random directions.

Uesato, O'Donoghue, van den Oord, Kohli 2018 (arXiv 1802.05666), section 4.2 and algorithm 1 (simultaneous perturbation
stochastic approximation, Spall 1992): with signs v_i drawn at random and the margin m of the best wrong class,

    g = mean over i of (m(x + delta v_i) - m(x - delta v_i)) / (2 delta) * v_i

Adam ascends it, each iterate is projected, and one forward pass judges it; the best iterate, the image included, is the
result, and on a network without noise the search ends where all its images are fooled. Unlike in the paper, what the network
is asked about is clipped to the box, as everything else that it sees. `delta` and `lr` are the usual ones; the number of
directions and of iterations decides what the attack is worth, and what it costs.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from core.ascent import Best, margin
from core.attacks.queries import Queries
from core.noise import stochastic_layers


class Spsa(Queries):
    """SPSA (Uesato et al. 2018, arXiv 1802.05666): ascent by differences in random directions; uses logits alone."""

    name: Literal["spsa"] = "spsa"
    directions: Annotated[int, Field(ge=1, le=10_000)] = 128
    """Random directions an iteration, each asked about on both sides."""
    iterations: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Steps of Adam."""
    delta: Annotated[float, Field(gt=0, le=1)] = 0.01
    """How far to each side, in pixel units."""
    lr: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Rate of Adam, in pixel units."""

    @classmethod
    def cheap(cls) -> dict[str, object]:
        """A few directions, a few steps."""
        return {"directions": 16, "iterations": 10}

    def steps_together(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """The best images after each iteration."""
        moved, best = x.clone(), Best(x)
        adam = torch.optim.Adam([moved], self.lr)
        certain = not stochastic_layers(net)
        self._judge(best, net, x, y)
        for _ in range(self.iterations):
            if not (certain and best.fooled.all()):
                moved.grad = -self._estimate(net, moved, y, generator)
                adam.step()
                moved.copy_(self.threat.project(moved, x))
                self._judge(best, net, moved, y)
            yield best.image

    @torch.no_grad()
    def _estimate(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """The gradient of the margin. (B, C, H, W)."""
        b, n = len(x), self.directions
        v = 2.0 * torch.randint(2, (b, n, *x.shape[1:]), generator=generator, device=x.device) - 1
        sides = torch.stack([x[:, None] + self.delta * v, x[:, None] - self.delta * v], 1).clamp(0, 1)
        margins = margin(net(sides.flatten(0, 2)), y.repeat_interleave(2 * n)).view(b, 2, n)
        return torch.einsum("bn,bnchw->bchw", margins[:, 0] - margins[:, 1], v) / (2 * self.delta * n)

    @torch.no_grad()
    def _judge(self, best: Best, net: nn.Module, x: Tensor, y: Tensor) -> None:
        logits = net(x)
        best.show(x, logits, y, margin(logits, y))

    @property
    def asked(self) -> int:
        """Both sides of each direction."""
        return 2 * self.directions

    @property
    def length(self) -> int:
        """Steps."""
        return self.iterations

    @property
    def passes(self) -> float:
        """Both sides of each direction, and one look an iteration; one at the image."""
        return float(self.iterations * (2 * self.directions + 1) + 1)
