"""ONNX operators with weights or windows: convolution, linear layers, normalisation, pooling (onnx.ai/onnx/operators).

Windows are laid as ONNX has it: padding may differ between the two ends of an axis, and `auto_pad` may ask for what keeps
the size. torch pads both ends alike, so the rest is padded by hand.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from core.foreign.onnx.node import Node, Unsupported
from core.foreign.onnx.pointwise import Operator

Pads = list[tuple[int, int]]
CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
MAX_POOL: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE_POOL: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def conv(node: Node, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    """Convolution. (B, C, ...), (M, C / group, ...), (M,) -> (B, M, ...)."""
    strides, dilations = _along(node, "strides", x), _along(node, "dilations", x)
    pads = _pads(node, x, list(w.shape[2:]), strides, dilations)
    x, padding = (x, [low for low, _ in pads]) if _alike(pads) else (_padded(x, pads, 0.0), [0] * len(pads))
    return _of(CONV, x)(x, w, b, strides, padding, dilations, node.get("group", 1))


def max_pool(node: Node, x: Tensor) -> Tensor:
    """The largest number of each window; padding never wins."""
    node.only("storage_order", 0)
    kernel, strides, dilations = node.get("kernel_shape"), _along(node, "strides", x), _along(node, "dilations", x)
    pads = _pads(node, x, kernel, strides, dilations)
    x, padding, ceil = _for_pool(node, x, pads, kernel, -math.inf)
    return _of(MAX_POOL, x)(x, kernel, strides, padding, dilations, ceil)


def average_pool(node: Node, x: Tensor) -> Tensor:
    """The mean of each window, padding counted or not."""
    kernel, strides, dilations = node.get("kernel_shape"), _along(node, "strides", x), _along(node, "dilations", x)
    if any(step != 1 for step in dilations):
        raise Unsupported("AveragePool with dilations")
    pads, counted = _pads(node, x, kernel, strides, dilations), bool(node.get("count_include_pad", 0))
    pool, one = _of(AVERAGE_POOL, x), torch.ones_like(x)
    x, padding, ceil = _for_pool(node, x, pads, kernel, 0.0)
    means = pool(x, kernel, strides, padding, ceil, counted)
    if _fits(pads, kernel) or counted:
        return means
    return means / pool(_padded(one, pads, 0.0), kernel, strides)


def _for_pool(node: Node, x: Tensor, pads: Pads, kernel: list[int], value: float) -> tuple[Tensor, list[int], bool]:
    """The images, what torch shall still pad, and whether windows may hang over the end."""
    ceil = bool(node.get("ceil_mode", 0))
    if _fits(pads, kernel):
        return x, [low for low, _ in pads], ceil
    if ceil:
        raise Unsupported(f"{node.op} with ceil_mode and pads that torch does not have")
    return _padded(x, pads, value), [0] * len(pads), False


def _fits(pads: Pads, kernel: list[int]) -> bool:
    """Whether torch's own pooling pads so."""
    return _alike(pads) and all(2 * low <= size for (low, _), size in zip(pads, kernel, strict=True))


def _alike(pads: Pads) -> bool:
    return all(low == high for low, high in pads)


def _padded(x: Tensor, pads: Pads, value: float) -> Tensor:
    return F.pad(x, [end for pair in reversed(pads) for end in pair], value=value)


def _of(functions: dict[int, Callable[..., Tensor]], x: Tensor) -> Callable[..., Tensor]:
    if x.ndim - 2 not in functions:
        raise Unsupported(f"windows over {x.ndim - 2} axes")
    return functions[x.ndim - 2]


def _along(node: Node, name: str, x: Tensor) -> list[int]:
    return node.get(name) or [1] * (x.ndim - 2)


def _pads(node: Node, x: Tensor, kernel: list[int], strides: list[int], dilations: list[int]) -> Pads:
    """What is added before and behind each axis of the images."""
    auto, axes = node.get("auto_pad", "NOTSET"), len(kernel)
    if auto in ("NOTSET", "VALID"):
        pads = node.get("pads", [0] * 2 * axes) if auto == "NOTSET" else [0] * 2 * axes
        return list(zip(pads[:axes], pads[axes:], strict=True))
    found = []
    for size, width, step, apart in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        whole = max(0, (-(-size // step) - 1) * step + (width - 1) * apart + 1 - size)
        less, more = whole // 2, whole - whole // 2
        found.append((less, more) if auto == "SAME_UPPER" else (more, less))
    return found


def global_average_pool(node: Node, x: Tensor) -> Tensor:
    """(B, C, ...) -> (B, C, 1 ...)."""
    return x.mean(tuple(range(2, x.ndim)), keepdim=True)


def global_max_pool(node: Node, x: Tensor) -> Tensor:
    """(B, C, ...) -> (B, C, 1 ...)."""
    return x.amax(tuple(range(2, x.ndim)), keepdim=True)


def batch_norm(node: Node, x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """With the statistics in the file."""
    node.only("training_mode", 0)
    node.only("spatial", 1)
    return F.batch_norm(x, mean, variance, scale, shift, False, 0.0, node.get("epsilon", 1e-5))


def instance_norm(node: Node, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """With each image's own statistics, channel by channel."""
    return F.instance_norm(x, weight=scale, bias=shift, eps=node.get("epsilon", 1e-5))


def layer_norm(node: Node, x: Tensor, scale: Tensor, shift: Tensor | None = None) -> Tensor:
    """Over all axes from `axis` on."""
    return F.layer_norm(x, x.shape[node.get("axis", -1) :], scale, shift, node.get("epsilon", 1e-5))


def local_response_norm(node: Node, x: Tensor) -> Tensor:
    """Each number over a power of the squares in its neighbouring channels."""
    return F.local_response_norm(
        x, node.get("size"), node.get("alpha", 1e-4), node.get("beta", 0.75), node.get("bias", 1.0)
    )


def gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """alpha a b + beta c, with a and b transposed where asked."""
    a, b = (a.mT if node.get("transA", 0) else a), (b.mT if node.get("transB", 0) else b)
    product: Any = node.get("alpha", 1.0) * (a @ b)
    return torch.as_tensor(product if c is None else product + node.get("beta", 1.0) * c)


LAYERS: dict[str, Operator] = {
    "AveragePool": average_pool,
    "BatchNormalization": batch_norm,
    "Conv": conv,
    "Gemm": gemm,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "InstanceNormalization": instance_norm,
    "LRN": local_response_norm,
    "LayerNormalization": layer_norm,
    "MatMul": lambda node, a, b: torch.matmul(a, b),
    "MaxPool": max_pool,
}
