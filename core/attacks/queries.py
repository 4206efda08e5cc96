"""What black boxes share that ask a network about whole populations of candidates: they attack a few images together.

Under batch-wide noise the candidates of one forward pass influence one another.
"""

from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from core.attacks.base import Attack
from core.counting import about

CHUNK = 512
"""Candidates a forward pass: as many images are attacked together as bring no more than these."""


class Queries(Attack):
    """A black box whose steps each ask about a population of candidates of every image."""

    @property
    @abstractmethod
    def asked(self) -> int:
        """Candidates of an image in one forward pass."""

    @abstractmethod
    def steps_together(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """`steps_from` for the few images that are attacked together: yields after each of `length` steps."""

    def steps_from(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """A few images after the other: those done, and the state of those under attack."""
        result = x.clone()
        for start in range(0, len(x), self.together):
            some = slice(start, start + self.together)
            for attacked in self.steps_together(about(net, some), x[some], y[some], generator):
                result[some] = attacked
                yield result

    @property
    def black_box(self) -> bool:
        """Logits alone."""
        return True

    @property
    def together(self) -> int:
        """Images attacked at once."""
        return max(1, CHUNK // self.asked)

    def turns(self, images: int) -> int:
        """One a step and a group of images."""
        return self.length * -(-images // self.together)
