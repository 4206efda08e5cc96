"""A random network in which each image is its own problem: noise whose scale spans a batch goes by constants instead.

The constant of a layer is the mean of its scale over the first batches of *training* images. Strict evaluation and audit use
the same ones, and both keep them in checkpoints: measured anew on a GPU they need not come out to the last bit. The source of
the noise is Wang et al. 2019 (arXiv 1811.10745); the constants are ours, since a published attack on such a network would
change one image by moving another.
"""

import copy
from collections.abc import Sequence

import torch
from torch import nn

from core.datasets.base import Split
from core.errors import Mismatch
from core.noise import frozen, joint_layers, reseed, stochastic_layers

CONTEXT = 8
"""Training batches on which the scales are measured."""


def alone_of(net: nn.Module, train: Split, size: int, seed: int, known: Sequence[float] | None = None) -> nn.Module:
    """The network; where images of a batch influence one another, its copy in which they do not.

    It goes by the constants `known`, or else by those measured on `CONTEXT` batches of `size` images of `train`.
    """
    if not joint_layers(net):
        return net
    if known is not None:
        return with_constants(net, known)
    reseed(net, "strict", "context", seed)
    few = min(len(train), CONTEXT * size)
    return frozen(net, (train.batch(at, size)[0] for at in range(0, few, size)))


def with_constants(net: nn.Module, constants: Sequence[float]) -> nn.Module:
    """The network by these constants, one for each of its joint layers; `Mismatch` if there are more or fewer."""
    layers = joint_layers(net)
    if len(layers) != len(constants):
        raise Mismatch(f"{len(layers)} layers with noise over the batch", f"constants for {len(constants)}")
    if not layers:
        return net
    net = copy.deepcopy(net)
    for layer, constant in zip(joint_layers(net), constants, strict=True):
        layer.frozen = torch.tensor(constant, device=next((p.device for p in net.parameters()), None))
    return net


def constants_of(net: nn.Module) -> list[float]:
    """The constants by which a network goes, in the order of its layers; none where it has no such noise."""
    return [float(layer.frozen) for layer in stochastic_layers(net) if layer.frozen is not None]
