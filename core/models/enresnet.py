"""EnResNet: an ensemble of ResNets with Feynman-Kac noise after every residual block.

Wang, Yuan, Shi, Osher 2019 (arXiv 1811.10745), section 3: a residual network discretises a transport equation; adding
noise to each block discretises a convection-diffusion equation, whose solution (Feynman-Kac) is an average over paths. So:
noise in training and in evaluation, and the mean of the logits of independent members, trained jointly.

The noise of the authors' code is a * std(x) * N(0, I) with a = 0.1 and the standard deviation of the *whole batch's*
tensor: the images of a batch influence one another, and gradients flow through the standard deviation. `noise_std:
sample` takes it per image instead and is a different network; say so where it is reported.
"""

import math
from typing import Annotated, Any, Literal, cast

import torch
from pydantic import AfterValidator, Field, model_validator
from torch import Tensor, nn

from core.channels import Tie
from core.models.base import Model
from core.models.resnet import Block, ResNet
from core.models.resnet18 import ResNet18
from core.noise import Stochastic

RESNET18 = 18
"""The one depth that is not 6n + 2: the members are ResNet18."""
LARGEST = 2404
"""Layers of all members together: two ResNet1202."""


class AddNoise(torch.autograd.Function):
    """x + a std(x) noise, with its gradient in closed form, which saves half the passes over memory that autograd makes.

    With n values in a group, mean m and standard deviation s: d/dx = g + a sum(g noise) / ((n - 1) s) (x - m).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, noise: Tensor, a: float, axes: tuple[int, ...]) -> Tensor:
        """Statistics in fp32 at least (a bf16 standard deviation loses most digits), everything else as x is.

        The standard deviation in two passes: on a CPU, torch's single pass is several times slower.
        """
        wide = x if x.dtype == torch.float64 else x.float()
        mean = wide.mean(axes, keepdim=True)
        std = torch.linalg.vector_norm(wide - mean, dim=axes, keepdim=True) / math.sqrt(x.numel() // mean.numel() - 1)
        ctx.save_for_backward(x, noise, std, mean)
        ctx.a, ctx.axes = a, axes
        return torch.addcmul(x, noise, (a * std).to(x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """The gradient to x."""
        (g,) = gradients
        x, noise, std, mean = ctx.saved_tensors
        n = x.numel() // std.numel()
        slope = ctx.a * (g * noise).sum(ctx.axes, keepdim=True, dtype=std.dtype) / ((n - 1) * std)
        slope = slope.where(std > 0, 0.0)  # at a constant x, where std has no gradient, torch takes zero too
        return torch.addcmul(g, x, slope.to(x.dtype)).sub_((slope * mean).to(x.dtype)), None, None, None


class FeynmanKacNoise(Stochastic):
    """x + a * std(x) * N(0, I), the standard deviation over the batch or over each sample."""

    def __init__(self, coefficient: float, over: Literal["batch", "sample"]) -> None:
        super().__init__()
        self.coefficient = coefficient
        self.axes = (0, 1, 2, 3) if over == "batch" else (1, 2, 3)

        self.joint = over == "batch"

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        if self.silent:
            return x
        if self.frozen is not None:
            return torch.addcmul(x, self.draw(x), (self.coefficient * self.frozen).to(x.dtype))
        return cast(Tensor, AddNoise.apply(x, self.draw(x), self.coefficient, self.axes))  # type: ignore[no-untyped-call]


class Ensemble(nn.Module):
    """The mean of the members' logits."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, num_classes)."""
        return torch.stack([member(x) for member in self.members]).mean(0)


def _a_member(depth: int) -> int:
    if depth != RESNET18 and (depth - 2) % 6:
        raise ValueError("depth must be 18 (ResNet18) or 6n + 2: 8, 14, 20, 26, 32, 38, 44, ...")
    return depth


class EnResNet(Model):
    """Ensemble of pre-activation ResNets with Feynman-Kac noise (Wang et al. 2019, arXiv 1811.10745): a random network."""

    name: Literal["enresnet"] = "enresnet"
    depth: Annotated[int, Field(ge=8, le=1202), AfterValidator(_a_member)] = 20
    """Layers of each member: 6n + 2 (`resnet`), or 18 (`resnet18`)."""
    members: int = Field(2, ge=1, le=20)
    """Number of ResNets whose logits are averaged."""
    noise: float = Field(0.1, ge=0, le=10)
    """Coefficient a of the noise a * std(x) * N(0, I)."""
    noise_std: Literal["batch", "sample"] = "batch"
    """Standard deviation over the whole batch (the authors' code) or over each sample."""

    @model_validator(mode="after")
    def _not_too_large(self) -> "EnResNet":
        if self.depth * self.members > LARGEST:
            raise ValueError(f"depth times members is {self.depth * self.members}; it must be at most {LARGEST}")
        return self

    @classmethod
    def cheap(cls) -> dict[str, object]:
        """Two members of three blocks."""
        return {"depth": 8, "members": 2}

    def build(self, num_classes: int, channels: int) -> nn.Module:
        """The members, each with its own initialisation."""
        return Ensemble([self._member(num_classes, channels) for _ in range(self.members)])

    def _member(self, num_classes: int, channels: int) -> nn.Module:
        net = self._inside.build(num_classes, channels)
        for module in net.modules():
            if self.noise and isinstance(module, Block):
                module.noise = FeynmanKacNoise(self.noise, self.noise_std)
        return net

    def ties(self) -> tuple[Tie, ...]:
        """Those of every member."""
        inside = self._inside.ties()
        return tuple(tie.within(f"members.{number}") for number in range(self.members) for tie in inside)

    @property
    def _inside(self) -> Model:
        """The settings of one member, before the noise."""
        return ResNet18() if self.depth == RESNET18 else ResNet(depth=self.depth)
