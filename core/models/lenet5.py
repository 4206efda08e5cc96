"""LeNet-5 in the two sizes of the papers: 6-16-120-84 (thesis, Table 4.1) and 20-50-500 (Caffe's, ADMM's)."""

from itertools import pairwise
from typing import Literal, cast

import torch.nn.functional as F
from torch import Tensor, nn

from core.channels import Tie
from core.models.base import Model

HIDDEN = {"6-16-120-84": (6, 16, (120, 84)), "20-50-500": (20, 50, (500,))}


class LeNet(nn.Module):
    """Two 5x5 convolutions with 2x2 max-pooling, then linear layers; ReLU in between.

    The 6-16-120-84 net pads images of 28x28 by 2 (LeCun et al. 1998 give it 32x32 ones); the 20-50-500 net does not.
    So a channel reaches the first linear layer as 25 or 16 features.
    """

    def __init__(self, widths: str, num_classes: int, channels: int) -> None:
        super().__init__()
        first, second, hidden = HIDDEN[widths]
        self.pad = 2 if widths == "6-16-120-84" else 0
        self.gather: nn.Module = nn.Identity()
        self.conv1 = nn.Conv2d(channels, first, 5)
        self.conv2 = nn.Conv2d(first, second, 5)
        sizes = (second * area(widths), *hidden, num_classes)
        self.linears = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, 28, 28) to (B, num_classes)."""
        x = F.pad(self.gather(x), [self.pad] * 4)
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2).flatten(1)
        for linear in self.linears[:-1]:
            x = F.relu(linear(x))
        return cast(Tensor, self.linears[-1](x))


def area(widths: str) -> int:
    """Features that one channel of the second convolution gives to the first linear layer."""
    return 25 if widths == "6-16-120-84" else 16


class LeNet5(Model):
    """LeNet-5 (LeCun et al. 1998) with ReLU and max-pooling, in the two sizes that the pruning papers use."""

    images = ((1, 28, 28),)

    name: Literal["lenet5"] = "lenet5"
    widths: Literal["6-16-120-84", "20-50-500"] = "6-16-120-84"
    """Channels of the two convolutions and units of the hidden layers: 61,706 or 431,080 parameters."""

    def build(self, num_classes: int, channels: int) -> nn.Module:
        """The network with torch's default initialisation."""
        return LeNet(self.widths, num_classes, channels)

    def ties(self) -> tuple[Tie, ...]:
        """The image, and the outputs of the two convolutions."""
        return (
            Tie("conv1", gather="gather"),
            Tie("conv2", producer="conv1"),
            Tie("linears.0", producer="conv2", area=area(self.widths)),
        )
