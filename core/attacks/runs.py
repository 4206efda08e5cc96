"""Attacks made of several runs: each run attacks the images that the earlier ones left, and the best candidate is returned.

So AutoAttack's parts treat restarts and target classes (Croce and Hein 2020, arXiv 2003.01690). Unlike in the authors' code an
image that no run fools comes back as the best candidate met, not as the clean one; and on a random network no image is ever
done: a success there may be one of the noise, which only the evaluation's judge can tell.
"""

from abc import abstractmethod
from collections.abc import Iterator
from itertools import chain, islice, repeat

import torch
from torch import Tensor, nn

from core.ascent import LOSSES, Best
from core.attacks.base import Attack
from core.attacks.pgd import Ascended
from core.counting import about


class Runs(Attack):
    """`tries` runs one after the other, each of `visits` candidates. Members give `run`."""

    @abstractmethod
    def run(
        self, number: int, net: nn.Module, x: Tensor, y: Tensor, clean: Tensor, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields at most `visits` candidates with the network's logits there, (B, C, H, W) and (B, K).

        `x`, `y` are the images that are left and `clean` the logits there; the runs are numbered from 0.
        """

    def steps_from(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """The best candidates so far; the first run attacks all images, also those that are wrong already."""
        best = Best(x)
        clean = look(best, net, x, y, everyone(x), self.ascends)
        for number in range(self.tries):
            some = best.left(net) if number else everyone(x)
            seen = about(net, some)
            run = self.run(number, seen, x[some], y[some], clean[some], generator) if len(some) else iter(())
            for point in islice(chain(run, repeat(None)), self.visits):
                if point:
                    candidate, logits = point
                    best.show(candidate, logits, y[some], LOSSES[self.ascends](logits, y[some]), some)
                yield best.image

    @property
    def ascends(self) -> Ascended:
        """The loss that decides which candidate is best where neither or both of two fool."""
        return "margin"

    @property
    @abstractmethod
    def visits(self) -> int:
        """Candidates of a run."""

    def turns(self, images: int) -> int:
        """One a candidate."""
        return self.visits * self.tries


def everyone(x: Tensor) -> Tensor:
    """The indices of all images."""
    return torch.arange(len(x), device=x.device)


@torch.no_grad()
def look(best: Best, net: nn.Module, candidate: Tensor, y: Tensor, some: Tensor, loss: Ascended = "margin") -> Tensor:
    """Let `best` see candidates of the images `some`, judged by a forward pass of their own; the logits there, (B, K)."""
    logits = torch.as_tensor(net(candidate))
    best.show(candidate, logits, y, LOSSES[loss](logits, y), some)
    return logits
