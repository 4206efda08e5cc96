"""How many images a network gets right, clean or under attack: one fixed batch at a time, with noise that is never reused.

Batches are fixed and in order, since under batch-wide noise the images of a batch influence one another.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from core.attacks.base import Attack
from core.datasets.base import Split
from core.device import Key, generator
from core.noise import reseed


class Trial:
    """An attack (or none) on a split. Iterate over it to run it: it yields the share done, so that the caller can report,
    or leave. Then `right` tells for each judging draw and each image whether the network was right: (draws, n).

    The key names the trial. Attack and judge draw their noise from different streams of it. `crafted_on` is the network
    that the attack sees, where that is another.
    """

    def __init__(
        self,
        net: nn.Module,
        split: Split,
        attack: Attack | None,
        size: int,
        key: tuple[Key, ...],
        draws: int = 1,
        crafted_on: nn.Module | None = None,
    ) -> None:
        self.net, self.split, self.attack, self.size, self.key, self.draws = net, split, attack, size, key, draws
        self.crafted_on = crafted_on or net
        self.judged: list[Tensor] = []

    def __iter__(self) -> Iterator[float]:
        for start in range(0, len(self.split), self.size):
            x, y = self.split.batch(start, self.size)
            attacked = x
            for turn, attacked in enumerate(self._search(x, y, start)):  # noqa: B007 (the last one is what counts)
                whole = self.attack.turns(len(y)) if self.attack else 1
                yield (start + len(y) * min(1.0, (turn + 1) / whole)) / len(self.split)
            self.judged.append(self._judge(attacked, y, start))
            yield (start + len(y)) / len(self.split)

    def _search(self, x: Tensor, y: Tensor, start: int) -> Iterator[Tensor]:
        if self.attack:
            reseed(self.crafted_on, *self.key, "attack", start)
            yield from self.attack.search(self.crafted_on, x, y, generator(x.device, *self.key, "search", start))

    @torch.no_grad()
    def _judge(self, x: Tensor, y: Tensor, start: int) -> Tensor:
        judged = []
        for draw in range(self.draws):
            reseed(self.net, *self.key, "judge", start, draw)
            judged.append(self.net(x).argmax(1) == y)
        return torch.stack(judged).cpu()

    @property
    def right(self) -> Tensor:
        """(draws, images done so far) booleans, on the CPU."""
        return torch.cat(self.judged, 1) if self.judged else torch.zeros(self.draws, 0).bool()

    @property
    def accuracy(self) -> float:
        """The share of images right so far, averaged over the judging draws."""
        return float(self.right.float().mean()) if self.judged else 0.0


class Interval(NamedTuple):
    """A range that holds the true value with 95 % confidence."""

    low: float
    high: float


def wilson(right: int, images: int) -> Interval:
    """Wilson's 95 % interval of a share (Wilson 1927): over images, for one fixed network."""
    z = 1.959964
    share, scale = right / images, 1 + z * z / images
    centre = (share + z * z / (2 * images)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / images + z * z / (4 * images * images))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))
