"""Which channels are alive, and removing the dead ones for real.

A convolution's input channel is dead where its whole slice w[:, c] is exactly zero: whatever arrives there changes nothing.
`alive` finds, for each tie of the model (who shares a channel index), the channels that its consumer reads; `remove` cuts
the others out of every layer of the tie. Where the channels are the image's or a residual stream's, which others read too,
they stay in place and are gathered before the consumer.

The same `keep`, applied to a fresh network of the same settings, gives the same small shapes: that is how a compact model
is loaded again.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.events import LayerChannels

Keep = dict[str, list[int]]
"""The channels kept, by the name of the layer that reads them."""


@dataclass(frozen=True)
class Tie:
    """One channel index that several layers share; layers are named as in `named_modules`.

    `consumer` reads the channels. `producer`'s outputs are the channels, or it is None where they are the image's or a
    residual stream's, which others read too: then the channels are gathered at `gather`, an identity in the whole
    network. `norm` is the per-channel layer in between, if any. `area` is the number of features a channel has become by
    the time a linear consumer reads it.
    """

    consumer: str
    producer: str | None = None
    gather: str | None = None
    norm: str | None = None
    area: int = 1

    def within(self, prefix: str) -> "Tie":
        """The same tie in a network that holds this one under `prefix`."""
        return Tie(
            f"{prefix}.{self.consumer}",
            self.producer and f"{prefix}.{self.producer}",
            self.gather and f"{prefix}.{self.gather}",
            self.norm and f"{prefix}.{self.norm}",
            self.area,
        )


class Gather(nn.Module):
    """Pick channels of the input."""

    index: Tensor

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, len(index), H, W)."""
        return x.index_select(1, self.index)


def alive(net: nn.Module, ties: tuple[Tie, ...]) -> Keep:
    """For each tie that has dead channels, the living ones; at least one is kept, so that every shape stays legal."""
    keep = {}
    for tie in ties:
        used = _reads(net.get_submodule(tie.consumer), tie.area)
        if not used.all():
            used[0] |= not used.any()
            keep[tie.consumer] = used.nonzero().flatten().tolist()
    return keep


def _reads(layer: nn.Module, area: int) -> Tensor:
    """Which channels a consumer reads: (channels,) booleans."""
    weight = layer.get_parameter("weight").detach()
    return (
        weight.flatten(2).ne(0).any(2).any(0)
        if weight.ndim == 4
        else weight.view(len(weight), -1, area).ne(0).any(2).any(0)
    )


def remove(net: nn.Module, ties: tuple[Tie, ...], keep: Keep) -> nn.Module:
    """Cut every tie named in `keep` down to the channels it lists, in place; returns the network."""
    for tie in ties:
        if tie.consumer in keep:
            index = torch.tensor(keep[tie.consumer], device=next(net.parameters()).device)
            _cut(net, tie, index)
    return net


def _cut(net: nn.Module, tie: Tie, index: Tensor) -> None:
    _take_inputs(net.get_submodule(tie.consumer), index, tie.area)
    if tie.norm:
        _take_outputs(net.get_submodule(tie.norm), index)
    if tie.producer:
        _take_outputs(net.get_submodule(tie.producer), index)
    if tie.gather:
        net.set_submodule(tie.gather, Gather(index))


def _take_inputs(layer: nn.Module, index: Tensor, area: int) -> None:
    if isinstance(layer, nn.Conv2d):
        layer.weight = _kept(layer.weight, index, 1)
        layer.in_channels = len(index)
    elif isinstance(layer, nn.Linear):
        features = (index[:, None] * area + torch.arange(area, device=index.device)).flatten()
        layer.weight = _kept(layer.weight, features, 1)
        layer.in_features = len(features)


def _take_outputs(layer: nn.Module, index: Tensor) -> None:
    if isinstance(layer, nn.Conv2d):
        layer.weight = _kept(layer.weight, index, 0)
        layer.out_channels = len(index)
    elif isinstance(layer, nn.BatchNorm2d):
        layer.weight = _kept(layer.weight, index, 0)
        layer.num_features = len(index)
        for buffer in (layer.running_mean, layer.running_var):
            if buffer is not None:
                buffer.set_(buffer.index_select(0, index))  # type: ignore[call-overload]
    bias = getattr(layer, "bias", None)
    if isinstance(bias, nn.Parameter):
        layer.bias = _kept(bias, index, 0)


def _kept(parameter: Tensor, index: Tensor, axis: int) -> nn.Parameter:
    kept = parameter.detach().index_select(axis, index)
    layout = torch.channels_last if kept.ndim == 4 else torch.contiguous_format
    return nn.Parameter(kept.contiguous(memory_format=layout))


@torch.no_grad()
def kill(net: nn.Module, tie: Tie, dead: Tensor) -> None:
    """Make zero, in place, all that `remove` cuts with the channels `dead`, (channels,) booleans: what their consumer reads
    of them, their scale and shift in the norm, the producer's filters with their biases."""
    reads = net.get_submodule(tie.consumer).get_parameter("weight")
    (reads if reads.ndim == 4 else reads.view(len(reads), -1, tie.area))[:, dead] = 0
    for name in filter(None, (tie.norm, tie.producer)):
        for p in net.get_submodule(name).parameters():
            p[dead] = 0


def layers(net: nn.Module) -> list[LayerChannels]:
    """The input channels of every convolution, in order: how many are alive, of how many."""
    found = []
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            used = _reads(module, 1)
            found.append(LayerChannels(layer=name, alive=int(used.sum()), total=len(used)))
    return found


def convolutions(net: nn.Module) -> list[nn.Parameter]:
    """The weights of all convolutions, first layer and 1x1 shortcuts included: what the thesis's methods make sparse."""
    return [module.get_parameter("weight") for module in net.modules() if isinstance(module, nn.Conv2d)]


def weights(net: nn.Module) -> list[nn.Parameter]:
    """The weights of all convolutions and linear layers, in order."""
    return [module.get_parameter("weight") for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
