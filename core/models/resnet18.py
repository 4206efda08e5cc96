"""Pre-activation ResNet18 for small images: four stages of two blocks, widths 64-128-256-512.

He et al. 2016 (arXiv 1603.05027) with the 3x3 stem that CIFAR takes, made of the blocks of `resnet`: 11.17 M parameters at
10 classes. The thesis's 45.8 % of dead input channels are 1,760 of this network's 3,843 (stem 3, stages 256, 512, 1,024
and 2,048, the 1x1 shortcuts included).
Unlike common copies without it, there is a final batch norm, as the pre-activation paper has.
"""

from typing import Literal

from pydantic import Field
from torch import nn

from core.channels import Tie
from core.models.base import Model
from core.models.resnet import PreActResNet, block_ties

STAGES, PER_STAGE = 4, 2


class ResNet18(Model):
    """Pre-activation ResNet18 for small images (He et al. 2016, arXiv 1603.05027): 11.17 M parameters."""

    name: Literal["resnet18"] = "resnet18"
    width: int = Field(64, ge=1, le=512)
    """Channels of the first stage; each further stage has twice as many. ResNet18 has 64."""

    @classmethod
    def cheap(cls) -> dict[str, object]:
        """An eighth of the channels."""
        return {"width": 8}

    def build(self, num_classes: int, channels: int) -> nn.Module:
        """The network with He's initialisation."""
        return PreActResNet(tuple(self.width * 2**stage for stage in range(STAGES)), PER_STAGE, num_classes, channels)

    def ties(self) -> tuple[Tie, ...]:
        """The image, the stream as each block reads it, and the inside of each block."""
        return block_ties(STAGES, PER_STAGE)
