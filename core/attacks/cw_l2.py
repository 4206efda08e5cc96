"""C&W in l2: the smallest perturbation that fools, weighed against a margin whose weight is searched for.

Carlini and Wagner 2017 (arXiv 1608.04644), section VI-A: over w, in the tanh space of the images, Adam minimises

    ||image(w) - x||^2 + c max(kappa - (max over k != y of z_k - z_y), 0)

(f_6, untargeted); c starts at `c`, grows tenfold until something fools, and is then bisected, for each image on its own.
Of all iterates that fool with the confidence kappa, the one nearest to the image is the result. Unlike the authors' code, pixels
of exactly 0 or 1 can move (core/attacks/tanh_space.py), and no search is aborted early: the abortion there looks at a whole
batch, so that images would influence one another. The gradient of the margin comes from `core.ascent.gradient`: on an
`Expectation` it is the mean of the draws', and an iterate fools if the mean logits do.

`steps_from` yields the nearest images so far whatever their distance; the base's `search` projects them into the ball, so that
an image counts as broken if its distance is within eps (or if it still fools when it has been drawn back). `nearest` gives
images and distances as they are.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from core.ascent import gradient, margin
from core.attacks.base import Attack, untouched
from core.attacks.tanh_space import TanhSpace
from core.device import kept_rng
from core.threat import Norm, length


class CwL2(Attack):
    """Carlini and Wagner's attack in l2 (2017, arXiv 1608.04644, section VI-A), with the binary search over its constant."""

    norms: ClassVar[tuple[Norm, ...]] = ("l2",)

    name: Literal["cw_l2"] = "cw_l2"
    steps: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Steps of Adam for each c."""
    lr: Annotated[float, Field(gt=0, le=10)] = 0.01
    """Rate of Adam, in tanh space."""
    c: Annotated[float, Field(gt=0, le=1e10)] = 1e-3
    """The first weight of the margin against the squared distance."""
    search_steps: Annotated[int, Field(ge=1, le=100)] = 9
    """Weights that are tried."""
    kappa: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """Confidence: how far a wrong class must be ahead, in logits."""

    @classmethod
    def cheap(cls) -> dict[str, object]:
        """Few steps, long ones, and a weight that fools at once."""
        return {"steps": 20, "lr": 0.1, "c": 10.0, "search_steps": 2}

    def steps_from(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """The nearest images that fool so far, unprojected; the image itself where none does."""
        for nearest in self._search(net, x, y):
            yield nearest.image

    def nearest(self, net: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest images found that fool, (B, C, H, W), and their l2 distances, (B,): infinite where none was found."""
        with untouched(net), kept_rng():
            *_, found = self._search(net, x, y)
        return found.image, found.distance

    def _search(self, net: nn.Module, x: Tensor, y: Tensor) -> Iterator["Nearest"]:
        nearest, weight = Nearest(x), Weight(torch.full((len(x),), self.c, device=x.device))
        for _ in range(self.search_steps):
            fooled = torch.zeros(len(x), dtype=torch.bool, device=x.device)
            for candidate, fools in self._descent(net, x, y, weight.c):
                nearest.show(candidate, fools)
                fooled |= fools
                yield nearest
            weight.next(fooled)

    def _descent(self, net: nn.Module, x: Tensor, y: Tensor, c: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The iterates of Adam from the image, each with which of them fool."""
        space, w = TanhSpace(x), torch.zeros_like(x)
        adam = torch.optim.Adam([w], self.lr)
        for _ in range(self.steps):
            image = space.image(w)
            pixels, _, logits = gradient(net, image, y, self._hinge)
            ahead = margin(logits, y)
            yield image, (ahead >= self.kappa) & (ahead > 0)
            w.grad = (2 * (image - x) + c.view(-1, 1, 1, 1) * pixels) * space.slope(w)
            adam.step()

    def _hinge(self, logits: Tensor, y: Tensor) -> Tensor:
        return (self.kappa - margin(logits, y)).clamp_min(0)

    @property
    def minimal(self) -> bool:
        """It looks for the smallest."""
        return True

    @property
    def length(self) -> int:
        """Steps for each c."""
        return self.steps

    @property
    def tries(self) -> int:
        """One a weight."""
        return self.search_steps

    @property
    def passes(self) -> float:
        """2 a step."""
        return 2.0 * self.steps * self.search_steps


class Nearest:
    """Of the candidates shown that fool, the one nearest to each image in l2."""

    def __init__(self, x: Tensor) -> None:
        self.x, self.image = x, x.clone()
        self.distance = torch.full((len(x),), torch.inf, device=x.device)

    def show(self, candidate: Tensor, fools: Tensor) -> None:
        """Keep `candidate` where it fools and is nearer than all before. (B, C, H, W), (B,)."""
        distance = length(candidate - self.x).flatten()
        better = fools & (distance < self.distance)
        self.image = torch.where(better.view(-1, 1, 1, 1), candidate, self.image)
        self.distance = torch.where(better, distance, self.distance)


class Weight:
    """The constant c of each image: ten times as large until it fools, then halfway between too small and large enough."""

    def __init__(self, c: Tensor) -> None:
        self.c = c
        self.lower, self.upper = torch.zeros_like(c), torch.full_like(c, torch.inf)

    def next(self, fooled: Tensor) -> None:
        """The next c, given which images were fooled under the present one. (B,)."""
        self.upper = torch.where(fooled, torch.minimum(self.upper, self.c), self.upper)
        self.lower = torch.where(fooled, self.lower, torch.maximum(self.lower, self.c))
        self.c = torch.where(self.upper.isinf(), 10 * self.c, (self.lower + self.upper) / 2)
