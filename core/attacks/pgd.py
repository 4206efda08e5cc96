"""PGD: projected gradient ascent from random starts (Madry et al. 2018, arXiv 1706.06083).

The iterated attacks that differ only in start, loss and step (IFGSM, C&W in the l_inf norm) are this attack with other
settings, and inherit its loop.
"""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from core.ascent import LOSSES, Best, ascend
from core.attacks.base import Attack, Keep
from core.threat import Step, Threat, usual_step

Ascended = Literal["ce", "margin", "dlr"]


class GradientAttack(Attack):
    """Projected gradient ascent on a loss, from one or more starts."""

    steps: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Gradient steps from each start."""
    step: Step | None = None
    """Length of a step; 2.5 eps / steps if left out."""
    keep: Keep | None = None
    """The image returned: the best iterate met, the clean image included, or the last one (the papers' rule, and the default
    under the protocol `paper`); of several starts, the best of their last ones."""

    def within(self, threat: Threat, keep: Keep = "best") -> Self:
        """eps, step and keep filled in."""
        filled = super().within(threat, keep)
        assert filled.eps is not None
        step = usual_step(filled.eps, self.steps) if self.step is None else self.step
        return filled.model_copy(update={"step": step, "keep": self.keep or keep})

    def starts(self, x: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """The starting points, each (B, C, H, W)."""
        yield x

    @property
    def ascends(self) -> Ascended:
        """The name of the loss."""
        return "ce"

    @property
    def least_classes(self) -> int:
        """The difference of logits ratio compares the first three."""
        return 3 if self.ascends == "dlr" else 2

    def steps_from(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """The iterates of the one start, or after each iterate the best so far: of all, or of the last ones of the starts."""
        iterates = self.iterates(net, x, y, generator)
        yield from iterates if self.keep == "last" and self.tries == 1 else self.bests(net, x, y, iterates)

    def iterates(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """The iterates of one start after the other."""
        assert self.step is not None, "within(threat) comes first"
        for start in self.starts(x, generator):
            yield from ascend(net, x, y, start, self.threat, float(self.step), self.steps, LOSSES[self.ascends])

    def bests(self, net: nn.Module, x: Tensor, y: Tensor, iterates: Iterator[Tensor]) -> Iterator[Tensor]:
        """The best candidate after each iterate, judged by one forward pass of its own.

        Candidates are the image and all iterates; where the last ones count, only the last iterate of each start.
        """
        best = Best(x)
        if self.keep != "last":
            self.show(best, net, x, y)
        for number, iterate in enumerate(iterates, 1):
            if self.keep != "last" or number % self.steps == 0:
                self.show(best, net, iterate, y)
            yield best.image

    @torch.no_grad()
    def show(self, best: Best, net: nn.Module, candidate: Tensor, y: Tensor) -> None:
        """Let `best` see a candidate."""
        logits = net(candidate)
        best.show(candidate, logits, y, LOSSES[self.ascends](logits, y))

    @property
    def length(self) -> int:
        """Steps."""
        return self.steps

    @property
    def passes(self) -> float:
        """2 a step, and 1 for each candidate that is judged."""
        judged = self.steps if self.keep != "last" else int(self.tries > 1)
        return float(self.tries * (2 * self.steps + judged))


class Pgd(GradientAttack):
    """Projected gradient descent from random starts (Madry et al. 2018, arXiv 1706.06083)."""

    name: Literal["pgd"] = "pgd"
    random_start: bool = True
    """Start at a uniform point of the ball, or at the image."""
    restarts: Annotated[int, Field(ge=1, le=1000)] = 1
    """Number of starts."""
    loss: Ascended = "ce"
    """The loss that is ascended: cross-entropy, the Carlini-Wagner margin, or the difference of logits ratio."""

    @classmethod
    def cheap(cls) -> dict[str, object]:
        """A few steps."""
        return {"steps": 5}

    def starts(self, x: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """`restarts` starting points."""
        for _ in range(self.restarts):
            yield self.threat.uniform_start(x, generator) if self.random_start else x

    @property
    def tries(self) -> int:
        """Starts."""
        return self.restarts

    @property
    def ascends(self) -> Ascended:
        """The loss."""
        return self.loss
