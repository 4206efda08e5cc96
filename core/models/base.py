"""What a network is: pixels in [0, 1] to logits, with weights that depend on a seed alone."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import nn

from core.channels import Tie
from core.device import kept_rng, seed_of
from core.family import Plugin


class Model(Plugin):
    """A network architecture. Members give `build` and `ties`; the base gives a seeded network."""

    images: ClassVar[tuple[tuple[int, int, int], ...]] = ()
    """The image shapes (C, H, W) that it takes; empty: any of at least 8 x 8."""

    @abstractmethod
    def build(self, num_classes: int, channels: int) -> nn.Module:
        """The network with fresh weights from the global generator: (B, channels, H, W) in [0, 1] to (B, num_classes)."""

    def ties(self) -> tuple[Tie, ...]:
        """Who shares a channel index; empty where nothing can be removed."""
        return ()

    def create(self, num_classes: int, channels: int, seed: int) -> nn.Module:
        """`build` with weights that depend on `seed` alone, in channels_last, the global generator left as it was."""
        with kept_rng():
            torch.manual_seed(seed_of(seed, "init"))
            net = self.build(num_classes, channels)
        return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def parameters(net: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(p.numel() for p in net.parameters())


def he_initialise(net: nn.Module) -> None:
    """Draw the weights of all convolutions anew from N(0, 2 / fan-out) (He et al. 2015, arXiv 1502.01852, eq. 14)."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
