"""What an objective is, and the rule that it leaves the network as it found it."""

from abc import abstractmethod
from typing import Self

import torch
from torch import Tensor, nn

from core.family import Plugin
from core.threat import Threat

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


def hits(logits: Tensor, y: Tensor) -> Tensor:
    """How many images are classified right, as a tensor on the device."""
    return (logits.argmax(1) == y).sum()
