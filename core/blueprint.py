"""All that is needed to build a network's shape again: the model's settings, classes, channels, and what compaction kept."""

from typing import Annotated, Protocol

from pydantic import Field
from torch import nn

from core.channels import Keep, Tie, remove
from core.family import OneOf, Settings


class Architecture(Protocol):
    """What a blueprint needs of a member of `core.models`."""

    def create(self, num_classes: int, channels: int, seed: int) -> nn.Module:
        """A seeded network."""

    def ties(self) -> tuple[Tie, ...]:
        """Who shares a channel index."""


class Blueprint(Settings):
    """The shape of a network, without its weights."""

    model: Annotated[Architecture, OneOf("core.models")]
    """The model."""
    num_classes: int
    """Number of logits."""
    channels: int
    """Channels of the images."""
    keep: Keep = Field(default_factory=dict)
    """The channels that compaction kept."""

    def build(self, seed: int = 0) -> nn.Module:
        """A network of this shape with fresh weights."""
        return remove(self.model.create(self.num_classes, self.channels, seed), self.model.ties(), self.keep)
