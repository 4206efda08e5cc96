"""How many images a network gets right, clean or under attack: one fixed batch at a time, with noise that is never reused.

Batches are fixed and in order, since under batch-wide noise the images of a batch influence one another.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.attacks.base import Attack
from core.counting import counted
from core.datasets.base import Split
from core.device import Key, generator
from core.noise import reseed

STATE = ("right", "selected", "kept", "predicted", "distance", "queries")


class Trial:
    """An attack (or none) on a split. Iterate over it to run it: it yields the share done, so that the caller can report,
    or leave. Then `right` tells for each judging draw and each image whether the network was right: (draws, n); `predicted`
    which class it said, on a random network most often in the judging draws, the true one where they tie: (n,); `distance`
    how far the image was moved, in the attack's norm: (n,); `queries` how often the attack asked about it
    (core/counting.py): (n,).

    The key names the trial. The attack, `selecting` draws apart from the judge's, and the judge draw their noise from
    different streams of it. `crafted_on` is the network that the attack sees, where that is another. The adversarial images
    of the first `keep` images are kept. `state` is all of this for the batches that are whole; `go_on` takes it up again.
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
        selecting: int = 0,
        keep: int = 0,
    ) -> None:
        self.net, self.split, self.attack, self.size, self.key, self.draws = net, split, attack, size, key, draws
        self.crafted_on = crafted_on or net
        self.selecting, self.keep = selecting, keep
        self.right = torch.zeros(draws, 0, dtype=torch.bool)
        self.selected = torch.zeros(selecting, 0, dtype=torch.bool)
        self.kept = torch.zeros(0, *split.x.shape[1:])
        self.predicted = torch.zeros(0, dtype=torch.int64)
        self.distance = torch.zeros(0)
        self.queries = torch.zeros(0, dtype=torch.int64)

    def __iter__(self) -> Iterator[float]:
        for start in range(self.judged, len(self.split), self.size):
            x, y = self.split.batch(start, self.size)
            attacked, (seen, queries) = x, counted(self.crafted_on, x)
            for turn, attacked in enumerate(self._search(seen, x, y, start)):  # noqa: B007 (the last one is what counts)
                whole = self.attack.turns(len(y)) if self.attack else 1
                yield (start + len(y) * min(1.0, (turn + 1) / whole)) / len(self.split)
            self._note(x, attacked, y, start)
            self.queries = torch.cat([self.queries, queries.round().long().cpu()])
            yield (start + len(y)) / len(self.split)

    def _search(self, seen: nn.Module, x: Tensor, y: Tensor, start: int) -> Iterator[Tensor]:
        if self.attack:
            reseed(seen, *self.key, "attack", start)
            yield from self.attack.search(seen, x, y, generator(x.device, *self.key, "search", start))

    def _note(self, x: Tensor, attacked: Tensor, y: Tensor, start: int) -> None:
        """Judge a batch, and keep what is wanted of it."""
        truth, moved = y.cpu(), self.attack.threat.distance(attacked, x) if self.attack else torch.zeros(len(x))
        selected, judged = (
            self._judge(attacked, start, purpose, draws)
            for purpose, draws in (("select", self.selecting), ("judge", self.draws))
        )
        self.selected = torch.cat([self.selected, selected == truth], 1)
        self.kept = torch.cat([self.kept, attacked[: max(0, self.keep - start)].cpu()])
        self.right = torch.cat([self.right, judged == truth], 1)
        self.predicted = torch.cat([self.predicted, most_said(judged, truth)])
        self.distance = torch.cat([self.distance, moved.cpu()])

    @torch.no_grad()
    def _judge(self, x: Tensor, start: int, purpose: str, draws: int) -> Tensor:
        """The classes that the network says, on the CPU. (B, C, H, W) -> (draws, B)."""
        judged = torch.zeros(draws, len(x), dtype=torch.int64)
        for draw in range(draws):
            reseed(self.net, *self.key, purpose, start, draw)
            judged[draw] = self.net(x).argmax(1).cpu()
        return judged

    @property
    def state(self) -> dict[str, Tensor]:
        """What is known of the images judged so far."""
        return {name: getattr(self, name).clone() for name in STATE}

    def go_on(self, state: dict[str, Tensor]) -> None:
        """Take the state of the same trial up: the images in it are not attacked again."""
        for name in STATE:
            setattr(self, name, state[name])

    @property
    def judged(self) -> int:
        """Images done so far."""
        return self.right.shape[1]

    @property
    def accuracy(self) -> float:
        """The share of images right so far, averaged over the judging draws."""
        return float(self.right.float().mean()) if self.judged else 0.0


def most_said(judged: Tensor, truth: Tensor) -> Tensor:
    """The class said most often, in however few of the draws, the true one where it ties. (draws, n), (n,) -> (n,)."""
    return F.one_hot(torch.cat([judged, judged, truth[None]])).sum(0).argmax(1)
