"""Auto-PGD: projected gradient ascent with momentum, whose steps are halved where they no longer help.

Croce and Hein 2020 (arXiv 2003.01690), section 3, algorithm 1, with the constants and the start of AutoAttack's code: from a
random point at distance eps,

    z      = Proj(x_k + eta s(grad f(x_k)))
    x_k+1  = Proj(x_k + alpha (z - x_k) + (1 - alpha) (x_k - x_k-1))

with eta = 2 eps at first. At checkpoints an image's eta is halved, and it goes on from its best point, if since the last one
(1) at most rho of the steps raised f, or (2) eta was not halved then and the largest f has not changed.

Unlike the code, the first checkpoint compares the first step with the start (the code compares it with 0). As in the
code, the point that is left for the best one remains what the next step's f is compared with.
"""

from collections.abc import Iterator
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from core.ascent import LOSSES, PerImageLoss, gradient
from core.attacks.runs import Runs
from core.threat import Threat

ALPHA = 0.75
RHO = 0.75
FIRST, LESS, LEAST = 22, 3, 6
"""Steps to the first checkpoint, how many fewer to each next one, and how many at least; per cent of all steps."""


class Apgd(Runs):
    """Auto-PGD on a loss, from random starts."""

    steps: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Gradient steps of a run."""
    restarts: Annotated[int, Field(ge=1, le=1000)] = 1
    """Random starts; each attacks only the images that the earlier ones left."""

    @classmethod
    def cheap(cls) -> dict[str, object]:
        """A few steps."""
        return {"steps": 5}

    def run(
        self, number: int, net: nn.Module, x: Tensor, y: Tensor, clean: Tensor, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """A start and its iterates."""
        yield from ascend(net, x, y, start(x, self.threat, generator), self.threat, self.steps, LOSSES[self.ascends])

    @property
    def length(self) -> int:
        """Steps."""
        return self.steps

    @property
    def tries(self) -> int:
        """Starts."""
        return self.restarts

    @property
    def visits(self) -> int:
        """The start and its iterates."""
        return self.steps + 1

    @property
    def passes(self) -> float:
        """One for the clean image, 2 a point; as if no image fell before the last run."""
        return 1.0 + 2 * self.visits * self.tries


def start(x: Tensor, threat: Threat, generator: torch.Generator) -> Tensor:
    """A random point at distance eps from each image, brought into the box. (B, C, H, W)."""
    noise = torch.empty_like(x)
    noise = noise.uniform_(-1, 1, generator=generator) if threat.norm == "linf" else noise.normal_(generator=generator)
    reach = float(threat.eps) / threat.distance(noise, torch.zeros_like(x))
    return threat.project(x + reach.view(-1, 1, 1, 1) * noise, x)


def ascend(
    net: nn.Module, x: Tensor, y: Tensor, start: Tensor, threat: Threat, steps: int, f: PerImageLoss
) -> Iterator[tuple[Tensor, Tensor]]:
    """Algorithm 1: yields `start` and the points after each step, with the network's logits there."""
    pixels, losses, logits = gradient(net, start, y, f)
    yield start, logits
    before = point = best = start
    best_pixels, highest = pixels, losses
    eta, rule = torch.full_like(losses, 2 * float(threat.eps)), Halving(steps, losses)
    for k in range(steps):
        z = threat.project(point + _wide(eta) * threat.direction(pixels), x)
        alpha = ALPHA if k else 1.0
        ahead = threat.project(point + alpha * (z - point) + (1 - alpha) * (point - before), x)
        before, point = point, ahead
        pixels, losses, logits = gradient(net, point, y, f)
        yield point, logits
        better = losses > highest
        highest = torch.where(better, losses, highest)
        best, best_pixels = _where(better, point, best), _where(better, pixels, best_pixels)
        halved = rule.after_step(losses, highest)
        eta = torch.where(halved, eta / 2, eta)
        point, pixels = _where(halved, best, point), _where(halved, best_pixels, pixels)


class Halving:
    """Which images' steps are halved, decided at checkpoints (section 3.1, conditions 1 and 2)."""

    def __init__(self, steps: int, losses: Tensor) -> None:
        self.window, self.less, self.least = (max(share * steps // 100, 1) for share in (FIRST, LESS, LEAST))
        self.taken, self.rises, self.last = 0, torch.zeros_like(losses), losses
        self.highest, self.halved = losses, torch.ones_like(losses, dtype=torch.bool)

    def after_step(self, losses: Tensor, highest: Tensor) -> Tensor:
        """Told f at the new point and the largest f so far, of each image: whose step is halved now. (B,), (B,) -> (B,)."""
        self.taken, self.rises, self.last = self.taken + 1, self.rises + (losses > self.last), losses
        if self.taken < self.window:
            return torch.zeros_like(self.halved)
        stuck = ~self.halved & (highest <= self.highest)
        self.halved, self.highest = (self.rises <= RHO * self.window) | stuck, highest
        self.taken, self.rises = 0, torch.zeros_like(losses)
        self.window = max(self.window - self.less, self.least)
        return self.halved


def _wide(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _where(chosen: Tensor, these: Tensor, those: Tensor) -> Tensor:
    return torch.where(_wide(chosen), these, those)
