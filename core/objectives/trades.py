"""TRADES: the cross-entropy of the clean images, and how far the prediction moves within the threat's ball.

Zhang et al. 2019 (arXiv 1901.08573), equation 5 and algorithm 1: with p(x) the softmax of the logits, the mean over the
images of CE(x, y) + beta KL(p(x) || p(x')), where beta is their 1 / lambda and x' is the last iterate of projected gradient
ascent on that KL from x + 0.001 N(0, I): at x itself the gradient is zero.

Two forward passes, as in the authors' code, so that batch norm sees clean and attacked images as two batches; the gradient
flows through both p(x) and p(x'). Unlike their code, which computes p(x) anew in every step of the ascent and twice for the
loss, each is computed once, and the start is brought into the ball and the box. A network with random layers draws fresh
noise in each pass: p(x) while crafting is one draw, held for the whole ascent, and in the loss p(x) and p(x') are two
others, so that the KL also asks for predictions that do not depend on the draw.
"""

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from core.objectives.base import Crafted, Stats, crafting, hits

NOISE = 0.001
"""Standard deviation of the start around the image (algorithm 1)."""


class Trades(Crafted):
    """TRADES (Zhang et al. 2019, arXiv 1901.08573): accuracy on clean images, traded for steadiness within the ball."""

    name: Literal["trades"] = "trades"
    beta: Annotated[float, Field(ge=0, le=1000)] = 6.0
    """Weight of the KL term, the paper's 1 / lambda: larger is more robust and less accurate (paper: 6 and 1)."""

    @property
    def passes(self) -> float:
        """1 for p(x) and 2 a step to craft, 3 for each of the two passes to train."""
        return 1 + 2.0 * self.steps + 6

    def loss(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Stats]:
        """Mean cross-entropy plus beta times mean KL; figures: how many clean and how many attacked images are right."""
        with crafting(net, self.craft_batchnorm):
            attacked = self.attack(net, x, y, generator)
        clean, moved = net(x), net(attacked)
        loss = F.cross_entropy(clean, y) + self.beta * divergence(clean, moved).mean()
        return loss, {"clean": hits(clean.detach(), y), "robust": hits(moved.detach(), y)}

    def attack(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """x': the last iterate of the ascent on the KL, (B, C, H, W)."""
        with torch.no_grad():
            clean = net(x)
        start = self.threat.project(x + torch.empty_like(x).normal_(0, NOISE, generator=generator), x)
        return self.ascent(net, x, y, start, lambda moved, _: divergence(clean, moved))


def divergence(clean: Tensor, moved: Tensor) -> Tensor:
    """KL(p || q) of each image, sum over k of p_k log(p_k / q_k), from the logits of p and of q. (B, K), (B, K) -> (B,)."""
    return F.kl_div(F.log_softmax(moved, 1), F.log_softmax(clean, 1), reduction="none", log_target=True).sum(1)
