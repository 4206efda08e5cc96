"""Layers that draw: each from a stream of its own that a key starts, so that noise can be repeated, renewed or silenced.

Training, every attack step, selection and judging seed the network with keys that name their purpose, and so never share a
draw (see `core.device.seed_of`).
"""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from core.device import Key, kept_rng, seed_of


class Stochastic(nn.Module):
    """A layer that adds randomness drawn from a stream of its own, which `reseed` starts and `silent` stops."""

    def __init__(self) -> None:
        super().__init__()
        self.stream: torch.Generator | None = None
        self.silent = False
        self.joint = False  # whether the images of a batch influence one another in it
        self.frozen: Tensor | None = None  # the `context` it goes by, instead of each batch's own

    def context(self, x: Tensor) -> Tensor:
        """What a joint layer takes from its whole input (B, C, H, W): its standard deviation, a scalar."""
        return x.float().std()

    def draw(self, like: Tensor) -> Tensor:
        """Standard normal noise of the shape (B, C, H, W), type and device of `like`, laid out channels last.

        Drawn in fp32 as (B, H, W, C) and permuted: on a CPU, filling a channels_last tensor in place is eight times slower.
        """
        if self.stream is None or self.stream.device != like.device:
            raise RuntimeError("a random network must be seeded before use: core.noise.reseed(net, ...)")
        b, c, h, w = like.shape
        noise = torch.randn(b, h, w, c, generator=self.stream, device=like.device)
        return noise.permute(0, 3, 1, 2).to(like.dtype)


def stochastic_layers(net: nn.Module) -> list[Stochastic]:
    """The random layers of a network; none makes it deterministic."""
    return [module for module in net.modules() if isinstance(module, Stochastic)]


def reseed(net: nn.Module, *key: Key) -> None:
    """Start the noise of every random layer anew from `key`. Nothing happens to a deterministic network."""
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    for number, layer in enumerate(stochastic_layers(net)):
        if layer.stream is None or layer.stream.device != device:
            layer.stream = torch.Generator(device=device)
        layer.stream.manual_seed(seed_of(number, *key))


def joint_layers(net: nn.Module) -> list[Stochastic]:
    """The random layers in which the images of a batch influence one another."""
    return [layer for layer in stochastic_layers(net) if layer.joint and layer.frozen is None]


@torch.no_grad()
def frozen(net: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """A copy of a seeded network whose joint layers go by constants, the means of their contexts over `batches`.

    Each image is then its own problem: nothing that an attack does to one changes another's logits.
    """
    alone = copy.deepcopy(net)
    seen: dict[nn.Module, list[Tensor]] = {layer: [] for layer in joint_layers(alone)}
    hooks = [
        layer.register_forward_pre_hook(lambda layer, inputs: seen[layer].append(layer.context(*inputs)))
        for layer in joint_layers(alone)
    ]
    for x in batches:
        alone(x)
    for hook in hooks:
        hook.remove()
    for layer in joint_layers(alone):
        layer.frozen = torch.stack(seen[layer]).mean()
    return alone


@contextmanager
def silent(net: nn.Module) -> Iterator[None]:
    """The network without its noise: the deterministic twin of a random one."""
    layers = stochastic_layers(net)
    before = [layer.silent for layer in layers]
    for layer in layers:
        layer.silent = True
    try:
        yield
    finally:
        for layer, was in zip(layers, before, strict=True):
            layer.silent = was


class Quiet(nn.Module):
    """The deterministic twin of a random network, sharing its weights."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, classes), without noise."""
        with silent(self.net):
            return torch.as_tensor(self.net(x))


class Expectation(nn.Module):
    """A random network as an attacker should see it: called, the mean logits of `draws` draws.

    `core.ascent.gradient` averages the gradients of the draws instead (expectation over transformation; Athalye et al. 2018,
    arXiv 1707.07397): the mean of the losses' gradients, not the gradient at the mean of the logits.
    """

    def __init__(self, net: nn.Module, draws: int) -> None:
        super().__init__()
        self.net, self.draws = net, draws

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, classes)."""
        return torch.stack([torch.as_tensor(self.net(x)) for _ in range(self.draws)]).mean(0)


class Fixed(nn.Module):
    """A random network under one draw: the same noise in every call on a batch of the same size, so a deterministic function."""

    def __init__(self, net: nn.Module, *key: Key) -> None:
        super().__init__()
        self.net, self.key = net, key

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, classes)."""
        reseed(self.net, *self.key)
        return torch.as_tensor(self.net(x))


class Foreign(Stochastic):
    """A network that draws from torch's global generators, as one random layer with a stream: each call seeds them from it.

    So what is not made of our random layers can be seeded by key, averaged and judged like what is. Silent, it repeats one draw.
    Noise from other generators than torch's is beyond its reach.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, classes); the global generators are left as they were."""
        if self.stream is None:
            raise RuntimeError("a random network must be seeded before use: core.noise.reseed(net, ...)")
        seed = 0 if self.silent else int(torch.randint(2**62, (), generator=self.stream, device=self.stream.device))
        with kept_rng():
            torch.manual_seed(seed)
            return torch.as_tensor(self.net(x))
