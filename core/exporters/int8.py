"""Weights in 8 bits, symmetric, one scale an output channel: q = round(w / s), s = max|w| / 127, so |w - s q| <= s / 2.

Krishnamoorthi 2018 (arXiv 1806.08342), sections 2.2 (symmetric) and 3 (weights alone, per channel, after training); the
thesis's conclusion multiplies it with pruning. Zeros stay exact zeros, a channel of zeros has the scale 0, and weights
below s / 2 become zeros. Biases and batch norms stay fp32, and so does computing: what is read back is an fp32 network with
rounded weights. It saves bytes, not multiplications, and it is another network, which a run judges again.

In the file a weight `w` is `w` (int8) and `w.scale` (fp32). Where there is a `w.bitmap` (uint8, one bit a weight, first
weight in the lowest bit), `w` holds only the values that are not zero, in order: an eighth of a byte more for each weight,
one less for each zero. So `smallest` takes it where more than an eighth of a tensor is zero.
"""

import copy
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from core.blueprint import Blueprint
from core.errors import ExportChanged
from core.exporters.base import Exporter
from core.exporters.safetensors import blueprint_in, packed
from core.files import write_whole

LARGEST = 127
SLACK = 1 + 1e-6
"""What rounding in double precision may add to the bound."""
ENTRY = 100
"""About the bytes that one more tensor takes in the header."""


class Int8(Exporter):
    """The weights of convolutions and linear layers in 8 bits (Krishnamoorthi 2018, arXiv 1806.08342), the rest in fp32."""

    name: Literal["int8"] = "int8"
    layout: Literal["dense", "sparse", "smallest"] = "smallest"
    """dense: a byte a weight; sparse: a bit a weight and a byte for each that is not zero; smallest: per tensor, the less."""
    lossy: ClassVar[bool] = True

    def expected(self, net: nn.Module) -> nn.Module:
        """A copy with rounded weights; raises `ExportChanged` where one is not within s / 2 of what it was."""
        rounded = copy.deepcopy(net)
        with torch.no_grad():
            for name in weights(net):
                w = rounded.get_parameter(name)
                w.copy_(self._rounded(name, w))
        return rounded

    def _rounded(self, name: str, w: Tensor) -> Tensor:
        q, s = quantise(w)
        error = (w.detach().cpu().double() - q * _along(s.double(), q)).abs()
        if not bool((error <= _along(s.double(), q) / 2 * SLACK).all()):  # NaN is within nothing
            raise ExportChanged(self.name, f"a weight of {name} is not within half a step of its 8 bits")
        return dequantise(q, s)

    def write(self, net: nn.Module, blueprint: Blueprint, path: Path) -> None:
        """As safetensors."""
        write_whole(path, packed(self.stored(net), blueprint))

    def stored(self, net: nn.Module) -> dict[str, Tensor]:
        """The tensors in the file: 8 bits for the weights, everything else as it is."""
        small = weights(net)
        tensors: dict[str, Tensor] = {}
        for name, tensor in net.state_dict().items():
            tensors |= self._small(name, tensor) if name in small else {name: tensor}
        return tensors

    def _small(self, name: str, w: Tensor) -> dict[str, Tensor]:
        q, s = quantise(w)
        bits, values = gather(q)
        fewer = len(bits) + len(values) + ENTRY < q.numel()
        if self.layout == "sparse" or (self.layout == "smallest" and fewer):
            return {name: values, f"{name}.bitmap": bits, f"{name}.scale": s}
        return {name: q, f"{name}.scale": s}

    def read(self, path: Path) -> nn.Module:
        """The network with rounded fp32 weights, in evaluation mode on the CPU."""
        net, stored = blueprint_in(path).build(), safetensors.torch.load_file(path)
        state = {name: stored[name] for name in net.state_dict()}
        for name in weights(net):
            q = stored[name]
            if f"{name}.bitmap" in stored:
                q = scatter(stored[f"{name}.bitmap"], q, net.get_parameter(name).shape)
            state[name] = dequantise(q, stored[f"{name}.scale"])
        net.load_state_dict(state)
        return net.eval()

    @property
    def suffix(self) -> str:
        """Beside the plain file, not over it."""
        return ".int8.safetensors"


def weights(net: nn.Module) -> set[str]:
    """The names of the weights that become 8 bits: those of convolutions and linear layers."""
    return {f"{name}.weight" for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}


def quantise(w: Tensor) -> tuple[Tensor, Tensor]:
    """Integers (as `w`, int8, in [-127, 127]) and scales (output channels, fp32), on the CPU.

    s is max|w| / 127 rounded *up* to a float, so that no |w| / s exceeds 127 and nothing has to be clipped.
    """
    w = w.detach().cpu().double()
    step = w.flatten(1).abs().amax(1) / LARGEST
    s = step.float()
    s = torch.where(s < step, torch.nextafter(s, torch.tensor(torch.inf)), s)
    q = (w / _along(s.double(), w)).round().nan_to_num()  # 0 / 0 in a channel of zeros
    return q.to(torch.int8).contiguous(), s


def dequantise(q: Tensor, s: Tensor) -> Tensor:
    """The fp32 weights s q."""
    return q.float() * _along(s, q)


def _along(s: Tensor, w: Tensor) -> Tensor:
    """(channels,) shaped so that it multiplies the first axis of `w`."""
    return s.view(-1, *[1] * (w.ndim - 1))


def gather(q: Tensor) -> tuple[Tensor, Tensor]:
    """Which are not zero, eight to a byte, (ceil(n / 8),) uint8; and their values, int8."""
    flat = q.flatten()
    bits = np.packbits(flat.ne(0).numpy(), bitorder="little")
    return torch.from_numpy(bits), flat[flat != 0]


def scatter(bits: Tensor, values: Tensor, shape: torch.Size) -> Tensor:
    """The tensor of which `gather` made `bits` and `values`."""
    q = torch.zeros(shape.numel(), dtype=torch.int8)
    q[torch.from_numpy(np.unpackbits(bits.numpy(), count=shape.numel(), bitorder="little")).bool()] = values
    return q.view(shape)
