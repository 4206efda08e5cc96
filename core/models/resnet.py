"""Pre-activation ResNet for small images: 6n + 2 layers, widths 16-32-64.

He et al. 2016 (arXiv 1603.05027) in the form that Wang et al. 2019 (EnResNet, arXiv 1811.10745) use: BN-ReLU-conv blocks
without conv biases; a 1x1 shortcut without batch norm, fed with the pre-activated input, where the shape changes; a final
BN-ReLU, average pool, linear layer. Depth 20 has 272,282 parameters at 10 classes, depth 38 has 563,930.
Unlike the paper, pixels stay in [0, 1]: there is no normalisation layer, as in the EnResNet code.
"""

from typing import Annotated, Literal, cast

import torch.nn.functional as F
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from core.channels import Tie
from core.models.base import Model, he_initialise

WIDTHS = (16, 32, 64)


class Block(nn.Module):
    """x + conv2(act(bn2(conv1(act(bn1(x)))))), with slots where compaction gathers channels, and for noise after the sum.

    Where the shape changes, conv1 and the shortcut read the same activations and may each have dead channels of its own:
    they are gathered one by one, behind bn1. Elsewhere conv1 is alone, and bn1 shrinks with it.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.gather: nn.Module = nn.Identity()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if changes else None
        self.gather_inside: nn.Module = nn.Identity()
        self.gather_around: nn.Module = nn.Identity()
        self.noise: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H/stride, W/stride)."""
        active = F.relu(self.bn1(self.gather(x)))
        residual = self.conv2(F.relu(self.bn2(self.conv1(self.gather_inside(active)))))
        out = (x if self.shortcut is None else self.shortcut(self.gather_around(active))) + residual
        return cast(Tensor, self.noise(out))


class PreActResNet(nn.Module):
    """Stages of `per_stage` blocks, one stage a width; every stage but the first halves the image. See the module."""

    def __init__(self, widths: tuple[int, ...], per_stage: int, num_classes: int, channels: int) -> None:
        super().__init__()
        self.gather: nn.Module = nn.Identity()
        self.conv1 = nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False)
        blocks, inputs = [], widths[0]
        for stage, width in enumerate(widths):
            for number in range(per_stage):
                blocks.append(Block(inputs, width, 2 if stage and not number else 1))
                inputs = width
        self.blocks = nn.Sequential(*blocks)
        self.bn = nn.BatchNorm2d(widths[-1])
        self.fc = nn.Linear(widths[-1], num_classes)
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, num_classes)."""
        x = self.blocks(self.conv1(self.gather(x)))
        return cast(Tensor, self.fc(F.relu(self.bn(x)).mean((2, 3))))


def block_ties(stages: int, per_stage: int) -> tuple[Tie, ...]:
    """Of a `PreActResNet`: the image, the stream as each block reads it, and the inside of each block."""
    found = [Tie("conv1", gather="gather")]
    for number in range(stages * per_stage):
        block = f"blocks.{number}"
        if number and number % per_stage == 0:
            found.append(Tie(f"{block}.conv1", gather=f"{block}.gather_inside"))
            found.append(Tie(f"{block}.shortcut", gather=f"{block}.gather_around"))
        else:
            found.append(Tie(f"{block}.conv1", gather=f"{block}.gather", norm=f"{block}.bn1"))
        found.append(Tie(f"{block}.conv2", producer=f"{block}.conv1", norm=f"{block}.bn2"))
    return tuple(found)


def _six_n_plus_two(depth: int) -> int:
    if (depth - 2) % 6:
        raise ValueError("depth must be 6n + 2: 8, 14, 20, 26, 32, 38, 44, ...")
    return depth


Depth = Annotated[int, Field(ge=8, le=1202), AfterValidator(_six_n_plus_two)]


class ResNet(Model):
    """Pre-activation ResNet of 6n + 2 layers, widths 16-32-64 (He et al. 2016, in the form of the EnResNet paper)."""

    name: Literal["resnet"] = "resnet"
    depth: Depth = 20
    """Number of layers, 6n + 2: 8, 14, 20, 32, 38, 44, 56, 110 ..."""

    @classmethod
    def cheap(cls) -> dict[str, object]:
        """Three blocks."""
        return {"depth": 8}

    def build(self, num_classes: int, channels: int) -> nn.Module:
        """The network with He's initialisation."""
        return PreActResNet(WIDTHS, self._per_stage, num_classes, channels)

    def ties(self) -> tuple[Tie, ...]:
        """The image, the stream as each block reads it, and the inside of each block."""
        return block_ties(len(WIDTHS), self._per_stage)

    @property
    def _per_stage(self) -> int:
        return (self.depth - 2) // 6
