"""How many images a network gets right, clean or under attack: one fixed batch at a time, with noise that is never reused.

Batches are fixed and in order, since under batch-wide noise the images of a batch influence one another.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from core.attacks.base import Attack
from core.datasets.base import Split
from core.device import Key, generator
from core.noise import reseed


class Trial:
    """An attack (or none) on a split. Iterate over it to run it: it yields the share done, so that the caller can report,
    or leave. Then `right` tells for each judging draw and each image whether the network was right: (draws, n).

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

    def __iter__(self) -> Iterator[float]:
        for start in range(self.judged, len(self.split), self.size):
            x, y = self.split.batch(start, self.size)
            attacked = x
            for turn, attacked in enumerate(self._search(x, y, start)):  # noqa: B007 (the last one is what counts)
                whole = self.attack.turns(len(y)) if self.attack else 1
                yield (start + len(y) * min(1.0, (turn + 1) / whole)) / len(self.split)
            self._note(attacked, y, start)
            yield (start + len(y)) / len(self.split)

    def _search(self, x: Tensor, y: Tensor, start: int) -> Iterator[Tensor]:
        if self.attack:
            reseed(self.crafted_on, *self.key, "attack", start)
            yield from self.attack.search(self.crafted_on, x, y, generator(x.device, *self.key, "search", start))

    def _note(self, attacked: Tensor, y: Tensor, start: int) -> None:
        """Judge a batch, and keep what is wanted of it."""
        self.selected = torch.cat([self.selected, self._judge(attacked, y, start, "select", self.selecting)], 1)
        self.kept = torch.cat([self.kept, attacked[: max(0, self.keep - start)].cpu()])
        self.right = torch.cat([self.right, self._judge(attacked, y, start, "judge", self.draws)], 1)

    @torch.no_grad()
    def _judge(self, x: Tensor, y: Tensor, start: int, purpose: str, draws: int) -> Tensor:
        judged = torch.zeros(draws, len(y), dtype=torch.bool)
        for draw in range(draws):
            reseed(self.net, *self.key, purpose, start, draw)
            judged[draw] = (self.net(x).argmax(1) == y).cpu()
        return judged

    @property
    def state(self) -> dict[str, Tensor]:
        """What is known of the images judged so far."""
        return {"right": self.right.clone(), "selected": self.selected.clone(), "kept": self.kept.clone()}

    def go_on(self, state: dict[str, Tensor]) -> None:
        """Take the state of the same trial up: the images in it are not attacked again."""
        self.right, self.selected, self.kept = state["right"], state["selected"], state["kept"]

    @property
    def judged(self) -> int:
        """Images done so far."""
        return self.right.shape[1]

    @property
    def accuracy(self) -> float:
        """The share of images right so far, averaged over the judging draws."""
        return float(self.right.float().mean()) if self.judged else 0.0
