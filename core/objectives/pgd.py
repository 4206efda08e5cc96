"""Adversarial training: the cross-entropy of images that projected gradient descent has moved within the threat's ball.

Madry et al. 2018 (arXiv 1706.06083); the thesis's equation 4.1, with 10 steps of 2/255 from a random start at eps 8/255.
The EnResNet code crafts on the network in training mode, so that its batch norm sees ten extra batches a step and moves
its running statistics with them: `craft_batchnorm: train`. The default crafts in evaluation mode, where images do not
influence one another through the batch norm.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from core.ascent import LOSSES, ascend
from core.family import Exact
from core.objectives.base import Objective, Stats, hits
from core.threat import Radius, Threat, usual_step

Craft = Literal["eval", "train", "train_frozen_stats"]


class Pgd(Objective):
    """Adversarial training with PGD (Madry et al. 2018, arXiv 1706.06083; thesis, eq. 4.1), on attacked images alone."""

    name: Literal["pgd"] = "pgd"
    eps: Radius | None = None
    """Radius; the threat's if left out."""
    steps: Annotated[int, Field(ge=1, le=1000)] = 10
    """Gradient steps (thesis: 10)."""
    step: Annotated[Exact, Field(ge=0, le=1)] | None = None
    """Length of a step; 2.5 eps / steps if left out (2/255 for 10 steps at 8/255, the thesis's)."""
    random_start: bool = True
    """Whether to start at a uniform point of the ball, or at the image."""
    ascends: Literal["ce", "margin"] = Field("ce", alias="loss")
    """What the steps ascend."""
    craft_batchnorm: Craft = "eval"
    """Batch norm while crafting: running statistics; the batch's, moving the running ones (paper); or without moving."""

    def within(self, threat: Threat) -> Self:
        """eps and step filled in."""
        eps = threat.eps if self.eps is None else self.eps
        step = usual_step(eps, self.steps) if self.step is None else self.step
        return self.model_copy(update={"eps": eps, "step": step})

    @property
    def passes(self) -> float:
        """2 a step to craft, 3 to train."""
        return 2.0 * self.steps + 3

    def loss(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Stats]:
        """Mean cross-entropy of the attacked images; figures: how many of them are right."""
        with crafting(net, self.craft_batchnorm):
            attacked = self.attack(net, x, y, generator)
        logits = net(attacked)
        return F.cross_entropy(logits, y), {"robust": hits(logits.detach(), y)}

    def attack(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """The last iterate of PGD."""
        assert self.eps is not None, "within(threat) comes first"
        assert self.step is not None, "within(threat) comes first"
        threat = Threat(eps=self.eps)
        start = threat.uniform_start(x, generator) if self.random_start else x
        *_, last = ascend(net, x, y, start, threat, float(self.step), self.steps, LOSSES[self.ascends])
        return last.detach()


@contextmanager
def crafting(net: nn.Module, batchnorm: Craft) -> Iterator[None]:
    """The network as the crafting sees it, and afterwards as it was."""
    norms = [module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.training, norm.momentum) for norm in norms]
    for norm in norms:
        norm.training = norm.training and batchnorm != "eval"
        norm.momentum = 0.0 if batchnorm == "train_frozen_stats" else norm.momentum
    try:
        yield
    finally:
        for norm, (training, momentum) in zip(norms, before, strict=True):
            norm.training, norm.momentum = training, momentum
