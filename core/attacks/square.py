"""Square attack: random search with square patches, by logits alone.

Andriushchenko et al. 2020 (arXiv 1912.00049), algorithms 1 to 3, on the margin: a random patch is kept where it raises the
margin. In l_inf the search starts from vertical stripes of +-eps, and a patch sets all pixels of a square to +-eps, one sign
a channel. In l2 it starts from a grid of patterns with a positive and a negative bump, and a patch moves the budget of one
window, and what is unused, to another.

A square covers a share p of the image, halved at fixed queries (`HALVINGS`): the schedule of AutoAttack's code, which is
made for 10,000 queries and is not rescaled to fewer (`resc_schedule=False` there).

Unlike in that code, a square may touch the last row and column (its range ends one too soon); an image's search depends on
no other image, since the patch of a query is drawn once for the batch, in l2 its signs too; and the budget of a window in
l2 is that of each channel, as in the paper. On a random network the search goes on to the end, and single draws of the noise
mislead it, unless it is handed an expectation.
"""

import math
from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from core.ascent import Best, margin
from core.attacks.base import Attack
from core.attacks.runs import everyone, look
from core.counting import about
from core.threat import length

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""The queries after which the share of the image that a square covers is halved."""
Window = tuple[slice, slice, slice, slice]


class Square(Attack):
    """Square attack (Andriushchenko et al. 2020, arXiv 1912.00049): random search with patches; uses logits alone."""

    name: Literal["square"] = "square"
    queries: Annotated[int, Field(ge=2, le=1_000_000)] = 5000
    """How often the network sees each image, the clean one and the start included."""
    p: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Share of the image that the first squares cover."""

    @classmethod
    def cheap(cls) -> dict[str, object]:
        """A few queries."""
        return {"queries": 20}

    @torch.no_grad()
    def steps_from(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """After each query the best candidates so far; where the network is certain, those that fool it are left alone."""
        best, image = Best(x), self._start(x, generator)
        look(best, net, x, y, everyone(x))
        yield best.image
        highest = torch.full((len(x),), -torch.inf, device=x.device)
        for query in range(self.queries - 1):
            some = best.left(net)
            if len(some):
                proposal = self._patched(image[some], x[some], query - 1, generator) if query else image[some]
                logits = torch.as_tensor(about(net, some)(proposal))
                margins = margin(logits, y[some])
                best.show(proposal, logits, y[some], margins, some)
                better = margins > highest[some]
                highest[some] = torch.where(better, margins, highest[some])
                image[some] = torch.where(better.view(-1, 1, 1, 1), proposal, image[some])
            yield best.image

    def _start(self, x: Tensor, generator: torch.Generator) -> Tensor:
        eps, (b, c, h, w) = float(self.threat.eps), x.shape
        if self.threat.norm == "linf":
            return self.threat.project(x + eps * signs((b, c, 1, w), x, generator), x)
        delta, s = torch.zeros_like(x), max(min(h, w) // 5, 1)
        for top in range(h % s // 2, h - s + 1, s):
            for left in range(w % s // 2, w - s + 1, s):
                pattern = bumps(s, x, generator) * signs((b, c, 1, 1), x, generator)
                delta[:, :, top : top + s, left : left + s] = pattern
        return self.threat.project(x + eps * self.threat.direction(delta), x)

    def _patched(self, image: Tensor, x: Tensor, iteration: int, generator: torch.Generator) -> Tensor:
        """The candidates of the search with a new patch, the iterations numbered from 0."""
        side, shorter = math.sqrt(self.share(iteration) * x[0, 0].numel()), min(x.shape[2:])
        if self.threat.norm == "linf":
            place = window(x, min(max(round(side), 1), shorter), generator)
            image = image.clone()
            image[place] += 2 * float(self.threat.eps) * signs((1, x.shape[1], 1, 1), x, generator)
            return self.threat.project(image, x)
        odd = max(round(side), 3) // 2 * 2 + 1
        return self._exchanged(image, x, min(odd, (shorter - 1) // 2 * 2 + 1), generator)

    def _exchanged(self, image: Tensor, x: Tensor, s: int, generator: torch.Generator) -> Tensor:
        """Algorithm 3: the length of a second window, and what is unused, go to a first one of side `s`."""
        eps, delta = float(self.threat.eps), image - x
        first, second = window(x, s, generator), window(x, s, generator)
        both = torch.zeros_like(x[:1])
        both[first] = both[second] = 1
        unused = (eps**2 - length(delta).square()).clamp_min(0)
        available = (channel_length(delta * both).square() + unused / x.shape[1]).sqrt()
        old = delta[first] / channel_length(delta[first]).clamp_min(1e-12)
        new = bumps(s, x, generator) * signs((1, x.shape[1], 1, 1), x, generator) + old
        new = available * new / channel_length(new).clamp_min(1e-12)
        delta[second] = 0
        delta[first] = new
        return self.threat.project(x + eps * self.threat.direction(delta), x)

    def share(self, iteration: int) -> float:
        """The share of the image that a square covers in an iteration, numbered from 0."""
        return self.p * 0.5 ** sum(iteration > halving for halving in HALVINGS)

    @property
    def black_box(self) -> bool:
        """Logits alone."""
        return True

    @property
    def length(self) -> int:
        """Queries."""
        return self.queries

    @property
    def passes(self) -> float:
        """Its queries; as if no image fell before the last one."""
        return float(self.queries)


def signs(shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    """Random signs, +1 or -1."""
    return torch.randint(2, shape, generator=generator, device=like.device, dtype=like.dtype) * 2 - 1


def window(x: Tensor, s: int, generator: torch.Generator) -> Window:
    """A uniform place of a square of side `s` in images (B, C, H, W), in all images and channels."""
    ends = (x.shape[2] - s + 1, x.shape[3] - s + 1)
    top, left = (int(torch.randint(end, (), generator=generator, device=x.device)) for end in ends)
    return slice(None), slice(None), slice(top, top + s), slice(left, left + s)


def bumps(s: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """A pattern of length 1 and side `s`: a positive bump beside a negative one, lying or standing (equation 2). (s, s)."""
    pattern = torch.cat([bump(s // 2, s), -bump(s - s // 2, s)]).to(like)
    pattern = pattern / pattern.square().sum().sqrt()
    return pattern.t() if int(torch.randint(2, (), generator=generator, device=like.device)) else pattern


def bump(h: int, w: int) -> Tensor:
    """The sum of 1 / j^2 from m + 1 to n + 1, with m the distance from the middle and n its largest, to length 1. (h, w)."""
    rows, columns = (torch.arange(h) - h // 2).abs(), (torch.arange(w) - w // 2).abs()
    terms = 1 / torch.arange(1, max(h, w) // 2 + 2).double().square()
    hill = terms.flip(0).cumsum(0).flip(0)[torch.maximum(rows[:, None], columns)]
    return hill / hill.square().sum().sqrt().clamp_min(1e-12)


def channel_length(delta: Tensor) -> Tensor:
    """Euclidean length of each channel. (B, C, H, W) -> (B, C, 1, 1)."""
    return delta.square().sum((2, 3), keepdim=True).sqrt()
