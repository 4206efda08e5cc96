"""What a network weighs: sparsity with its denominator, parameters, multiplications, bytes, time."""

import time

import torch
from torch import Tensor, nn

from core.channels import convolutions, layers
from core.modes import evaluating
from core.noise import reseed, silent


def weight_sparsity(net: nn.Module) -> float:
    """Exact zeros among all convolution weights, as a share (not among all parameters: the thesis's 80.91 % of ResNet20's
    270,256)."""
    weights = convolutions(net)
    zeros = sum(int((w == 0).sum()) for w in weights)
    return zeros / max(1, sum(w.numel() for w in weights))


def all_weight_sparsity(net: nn.Module) -> float:
    """Exact zeros among the weights of all convolutions and linear layers, as a share (LeNet-5 20-50-500 has 430,500)."""
    layers = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    zeros = sum(int((layer.weight == 0).sum()) for layer in layers)
    return zeros / max(1, sum(layer.weight.numel() for layer in layers))


def channel_sparsity(net: nn.Module) -> float:
    """Dead input channels among the input channels of all convolutions, as a share (ResNet20 on RGB images has 675)."""
    every = layers(net)
    total = sum(layer.total for layer in every)
    return 1 - sum(layer.alive for layer in every) / total if total else 0.0


def macs(net: nn.Module, x: Tensor) -> int:
    """Multiply-accumulates of convolutions and linear layers for one image; `x`: (B, C, H, W), any content."""
    counted = []

    def count(layer: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
        weight = layer.get_parameter("weight")
        counted.append(weight[0].numel() * out[0].numel())

    hooks = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    try:
        with silent(net):
            forward(net, x[:1])
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counted)


def size(net: nn.Module) -> int:
    """Bytes of the parameters and buffers as they are stored."""
    return sum(t.numel() * t.element_size() for t in net.state_dict().values())


def latency(net: nn.Module, x: Tensor, repeats: int = 20) -> float:
    """Seconds of a forward pass of `x`, the median of `repeats` after three to warm up."""
    reseed(net, "latency")
    seconds = []
    for _ in range(repeats + 3):
        start = time.perf_counter()
        forward(net, x)
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        seconds.append(time.perf_counter() - start)
    return sorted(seconds[3:])[repeats // 2]


@torch.no_grad()
def forward(net: nn.Module, x: Tensor) -> Tensor:
    """The logits in evaluation mode; modes are left as found."""
    with evaluating(net):
        return torch.as_tensor(net(x))
