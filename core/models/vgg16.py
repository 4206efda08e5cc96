"""VGG16 with batch norm for small images: thirteen 3x3 convolutions and one linear layer.

Simonyan and Zisserman 2015 (arXiv 1409.1556), configuration D, in the form in which the pruning papers use it on CIFAR
(Li et al. 2017, arXiv 1608.08710; Liu et al. 2019, arXiv 1810.05270): batch norm after each convolution, 2x2 max-pooling
after the first four groups, the average over what is left, one linear layer. 14.72 M parameters at 10 classes, which is
without conv biases: batch norm takes any constant out again (with them it would be 14.73 M). The thesis's 69.0 % of dead
input channels are 2,563 of this network's 3,715.
Unlike Li et al., there is no hidden linear layer. Pooling rounds odd sizes up, so that images below 32 x 32 pass too.
"""

from itertools import pairwise
from typing import Annotated, Literal, cast

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from core.channels import Tie
from core.family import AS_TUPLE
from core.models.base import Model, he_initialise

WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
Widths = Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=13, max_length=13), AS_TUPLE]
POOLED = (1, 3, 6, 9)
"""The convolutions behind which an image is halved: the last of the first four groups."""


class Vgg(nn.Module):
    """The network; see the module."""

    def __init__(self, widths: tuple[int, ...], num_classes: int, channels: int) -> None:
        super().__init__()
        self.gather: nn.Module = nn.Identity()
        pairs = pairwise((channels, *widths))
        self.convs = nn.ModuleList(nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False) for inputs, outputs in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.fc = nn.Linear(widths[-1], num_classes)
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, num_classes)."""
        x = self.gather(x)
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = F.relu(norm(conv(x)))
            if number in POOLED:
                x = F.max_pool2d(x, 2, ceil_mode=True)
        return cast(Tensor, self.fc(x.mean((2, 3))))


class Vgg16(Model):
    """VGG16 with batch norm for small images (Simonyan and Zisserman 2015, arXiv 1409.1556): 14.72 M parameters."""

    name: Literal["vgg16"] = "vgg16"
    widths: Widths = WIDTHS
    """Channels of the thirteen convolutions, so that a pruned shape can be trained from scratch (Liu et al. 2019); Li et
    al.'s VGG-16-A has 32, 64, 128, 128 and nine times 256."""

    @classmethod
    def cheap(cls) -> dict[str, object]:
        """Eight channels everywhere."""
        return {"widths": [8] * len(WIDTHS)}

    def build(self, num_classes: int, channels: int) -> nn.Module:
        """The network with He's initialisation."""
        return Vgg(self.widths, num_classes, channels)

    def ties(self) -> tuple[Tie, ...]:
        """The image, and the outputs of each convolution: the next one reads them, the linear layer those of the last."""
        readers = [*(f"convs.{number}" for number in range(1, len(WIDTHS))), "fc"]
        inside = [Tie(reader, producer=f"convs.{n}", norm=f"norms.{n}") for n, reader in enumerate(readers)]
        return (Tie("convs.0", gather="gather"), *inside)
