"""Networks whose evaluation goes wrong in a known way, and their honest twins: what an audit has to tell apart.

Each flaw has been met in published defences or in our own mistakes. A flaw is planted in a small network of two convolutions,
which is then trained for real; the twin is the same network without it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.ascent import ascend, cross_entropy
from core.datasets.base import Split
from core.device import generator, kept_rng, seed_of
from core.models.enresnet import FeynmanKacNoise
from core.modes import evaluating
from core.noise import reseed
from core.threat import Threat

Build = Callable[[], nn.Module]
BATCH = 64


class Small(nn.Module):
    """Two 5x5 convolutions of stride 2 and two linear layers; after each convolution the same activation, ReLU or another."""

    def __init__(self, channels: int = 1, active: nn.Module | None = None, size: int = 28, width: int = 16) -> None:
        super().__init__()
        side = ((size - 3) // 2 - 3) // 2
        self.conv1, self.conv2 = nn.Conv2d(channels, width, 5, 2), nn.Conv2d(width, 32, 5, 2)
        self.norm = nn.BatchNorm2d(32)
        self.active = active or nn.ReLU()
        self.head = nn.Sequential(nn.Linear(32 * side * side, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, size, size) to (B, 10)."""
        x = self.active(self.conv1(x))
        x = self.active(self.norm(self.conv2(x)))
        head: Tensor = self.head(x.flatten(1))
        return head


class Behind(nn.Module):
    """A network behind a change of its logits, made once it is trained."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.change = Small(), change

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, 28, 28) to (B, 10)."""
        logits: Tensor = self.net(x)
        return logits if self.training else self.change(logits)


class Thermometer(nn.Module):
    """Each pixel as `levels` channels of 0 and 1 (Buckman et al. 2018): which thresholds it is above."""

    def __init__(self, levels: int = 16) -> None:
        super().__init__()
        self.net = Small(levels)
        self.register_buffer("thresholds", torch.arange(levels).view(1, -1, 1, 1) / levels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, 28, 28) to (B, 10)."""
        logits: Tensor = self.net((x > self.thresholds).float())
        return logits


class Quantised(Small):
    """Pixels rounded to nine grey values."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, 28, 28) to (B, 10)."""
        return super().forward((x * 8).round() / 8)


class Rounded(nn.Module):
    """ReLU in steps of a quarter: the features, not the pixels, are quantised."""

    def forward(self, x: Tensor) -> Tensor:
        """Element by element."""
        return (F.relu(x) * 4).round() / 4


class Resized(Small):
    """Each batch at a random size between 20 and 28, padded at random with zeros (Xie et al. 2018, arXiv 1711.01991)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, 28, 28) to (B, 10)."""
        size = int(torch.randint(20, 29, ()))
        top, left = (int(torch.randint(29 - size, ())) for _ in range(2))
        small = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
        return super().forward(F.pad(small, [left, 28 - size - left, top, 28 - size - top]))


class Detached(nn.Module):
    """The sum of two networks, of which one passes no gradient to the pixels; it has learned the most."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.unseen = Small(), Small()

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, 28, 28) to (B, 10)."""
        logits: Tensor = 0.1 * self.seen(x) + self.unseen(x.detach())
        return logits


class Winners(nn.Module):
    """k-winners-take-all (Xiao, Zhong, Zheng 2020, arXiv 1905.10510): all but the largest values of an image are zero."""

    def __init__(self, one_in: int = 100) -> None:
        super().__init__()
        self.one_in = one_in

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        flat = x.flatten(1)
        least = flat.topk(flat.shape[1] // self.one_in, 1).values[:, -1:]
        return (flat * (flat >= least)).view_as(x)


class HalfPrecise(nn.Module):
    """Pixels that pass a scale of 5e37 in bf16: a gradient below 2e-3 is then less than its smallest number, and zero."""

    def __init__(self, kind: torch.dtype = torch.bfloat16) -> None:
        super().__init__()
        self.net, self.kind = Small(), kind

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, 28, 28) to (B, 10)."""
        logits: Tensor = self.net(((x.to(self.kind) * 5e37) * 2e-38).float())
        return logits


class Shifting(Small):
    """Batch norm that stays in training mode, so that a batch is normalised by its own images."""

    def train(self, mode: bool = True) -> "Shifting":
        """Everything but the batch norm obeys."""
        super().train(mode)
        self.norm.train()
        return self


@dataclass(frozen=True)
class Case:
    """A flaw: the network that has it, the one that has not, and the check that is to catch it."""

    name: str
    flawed: Build
    honest: Build
    caught_by: str
    epochs: int = 3


def noisy(coefficient: float) -> Build:
    """Feynman-Kac noise behind both convolutions."""
    return lambda: Small(active=nn.Sequential(nn.ReLU(), FeynmanKacNoise(coefficient, "batch")))


CASES = (
    Case("saturated_softmax", lambda: Behind(lambda z: (50 * z).softmax(1)), Small, "zero_gradients"),
    Case("logits_times_1e4", lambda: Behind(lambda z: 1e4 * z), Small, "zero_gradients"),
    Case("quantised_input", Quantised, Small, "zero_gradients"),
    Case("thermometer_input", Thermometer, Small, "zero_gradients"),
    Case("rounded_features", lambda: Small(active=Rounded()), Small, "zero_gradients"),
    Case("random_resizing", Resized, Small, "repeatable"),
    Case("detached_branch", Detached, Small, "black_box_only"),
    Case("winners_take_all", lambda: Small(active=Winners(), width=32), lambda: Small(width=32), "binarisation"),
    Case("batchnorm_in_training", Shifting, Small, "repeatable"),
    Case("bf16_underflow", HalfPrecise, lambda: HalfPrecise(torch.float32), "zero_gradients"),
    Case("noise_of_2", noisy(2.0), noisy(0.1), "eot_gradients"),
)


def trained(
    build: Build, split: Split, epochs: int, seed: int, steps: int = 0, eps: Fraction = Fraction(0), natural: int = 0
) -> nn.Module:
    """The network after some epochs of Adam at 2e-3, in evaluation mode.

    With `steps` of PGD on attacked images, but for the first `natural` epochs.
    """
    with kept_rng():
        torch.manual_seed(seed_of(seed, "planted"))
        net, threat = build().train(), Threat(eps=eps)
        adam = torch.optim.Adam(net.parameters(), 2e-3)
        batches = count()
        for epoch in range(epochs):
            order = torch.randperm(len(split), generator=generator("cpu", "order", seed, epoch))
            for some in order.split(BATCH)[: len(split) // BATCH]:
                x, y = split.chosen(some, "none", generator("cpu", seed))
                reseed(net, seed, next(batches))
                attacked = _attacked(net, x, y, threat, steps if epoch >= natural else 0)
                adam.zero_grad()
                F.cross_entropy(net(attacked), y).backward()  # type: ignore[no-untyped-call]
                adam.step()
    return net.eval()


def _attacked(net: nn.Module, x: Tensor, y: Tensor, threat: Threat, steps: int) -> Tensor:
    if not steps:
        return x
    with evaluating(net):
        start = threat.uniform_start(x, generator("cpu", "start", int(torch.randint(2**31, ()))))
        *_, last = ascend(net, x, y, start, threat, 2.5 * float(threat.eps) / steps, steps, cross_entropy)
    return last
