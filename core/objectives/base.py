"""What an objective is, the rule that it leaves the network as it found it, and what those share that craft images."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from core.ascent import PerImageLoss, ascend
from core.family import Plugin
from core.threat import Norm, Radius, Step, Threat, usual_step

Craft = Literal["eval", "train", "train_frozen_stats"]
Stats = dict[str, Tensor]


class Objective(Plugin):
    """The loss of a training step. Members give `loss`."""

    @abstractmethod
    def loss(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Stats]:
        """The loss of a batch, to be differentiated, and per-batch figures: sums over the images, on the device.

        x: (B, C, H, W) in [0, 1]; y: (B,); `generator` is the only source of randomness. `net` is in training mode before
        and after, and no parameter's gradient is touched.
        """

    def within(self, threat: Threat) -> Self:
        """These settings with what they leave open taken from the job's threat."""
        return self

    @property
    def passes(self) -> float:
        """Cost of a training step, in forward passes an image: 3 for a forward and a full backward."""
        return 3.0


class Crafted(Objective):
    """An objective that trains on images which it first moves within the threat's ball, by projected gradient ascent."""

    norm: Norm | None = None
    """Norm of the ball; the threat's if left out."""
    eps: Radius | None = None
    """Radius; the threat's if left out."""
    steps: Annotated[int, Field(ge=1, le=1000)] = 10
    """Gradient steps (thesis: 10)."""
    step: Step | None = None
    """Length of a step; 2.5 eps / steps if left out (2/255 for 10 steps at 8/255, the thesis's)."""
    craft_batchnorm: Craft = "eval"
    """Batch norm while crafting: running statistics; the batch's, moving the running ones (EnResNet); or without moving."""

    def within(self, threat: Threat) -> Self:
        """norm, eps and step filled in."""
        eps = threat.eps if self.eps is None else self.eps
        step = usual_step(eps, self.steps) if self.step is None else self.step
        return self.model_copy(update={"norm": self.norm or threat.norm, "eps": eps, "step": step})

    @property
    def threat(self) -> Threat:
        """The ball, once `within` has filled in its radius."""
        assert self.norm, "within(threat) comes first"
        assert self.eps is not None, "within(threat) comes first"
        return Threat(norm=self.norm, eps=self.eps)

    def ascent(self, net: nn.Module, x: Tensor, y: Tensor, start: Tensor, loss: PerImageLoss) -> Tensor:
        """The last iterate of projected gradient ascent on `loss`, (B, C, H, W)."""
        assert self.step is not None, "within(threat) comes first"
        *_, last = ascend(net, x, y, start, self.threat, float(self.step), self.steps, loss)
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


def hits(logits: Tensor, y: Tensor) -> Tensor:
    """How many images are classified right, as a tensor on the device."""
    return (logits.argmax(1) == y).sum()
