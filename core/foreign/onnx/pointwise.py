"""ONNX operators that treat every number alike, and those that reduce some axes (onnx.ai/onnx/operators).

Each takes the node and its inputs, of which some may be None where the node leaves them out.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from core.foreign.onnx.node import Node, Unsupported

Operator = Callable[..., "Tensor | tuple[Tensor, ...]"]


def _one(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda node, x: function(x)


def _two(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda node, a, b: function(a, b)


def _folded(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    def fold(node: Node, first: Tensor, *rest: Tensor) -> Tensor:
        for other in rest:
            first = function(first, other)
        return first

    return fold


def divide(node: Node, a: Tensor, b: Tensor) -> Tensor:
    """a / b; of integers, without the remainder."""
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def mean(node: Node, *inputs: Tensor) -> Tensor:
    """The mean of the inputs, element by element."""
    return sum(inputs[1:], inputs[0]) / len(inputs)


def clip(node: Node, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """Within [low, high], which are attributes before opset 11; no bound where one is left out."""
    if node.opset < 11:
        return x.clamp(node.get("min", -math.inf), node.get("max", math.inf))
    return x if low is None and high is None else torch.clamp(x, low, high)


def leaky_relu(node: Node, x: Tensor) -> Tensor:
    """x, or alpha x where x is negative."""
    return F.leaky_relu(x, node.get("alpha", 0.01))


def prelu(node: Node, x: Tensor, slope: Tensor) -> Tensor:
    """x, or slope x where x is negative; the slope is broadcast to x."""
    return torch.where(x >= 0, x, slope * x)


def elu(node: Node, x: Tensor) -> Tensor:
    """x, or alpha (exp x - 1) where x is negative."""
    return F.elu(x, node.get("alpha", 1.0))


def selu(node: Node, x: Tensor) -> Tensor:
    """gamma times x, or gamma alpha (exp x - 1) where x is negative."""
    alpha, gamma = node.get("alpha", 1.6732632423543772), node.get("gamma", 1.0507009873554805)
    return torch.where(x > 0, gamma * x, gamma * alpha * torch.expm1(x.clamp(max=0)))


def hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    """alpha x + beta within [0, 1]."""
    return torch.as_tensor(node.get("alpha", 0.2) * x + node.get("beta", 0.5)).clamp(0, 1)


def gelu(node: Node, x: Tensor) -> Tensor:
    """x times the normal distribution function at x."""
    return torch.as_tensor(F.gelu(x, approximate=node.get("approximate", "none")))


def softmax(node: Node, x: Tensor) -> Tensor:
    """Over one axis; before opset 13 over all axes from `axis` on, taken as one."""
    return _over_classes(node, x, torch.softmax)


def log_softmax(node: Node, x: Tensor) -> Tensor:
    """The logarithm of `softmax`."""
    return _over_classes(node, x, torch.log_softmax)


def _over_classes(node: Node, x: Tensor, function: Callable[[Tensor, int], Tensor]) -> Tensor:
    if node.opset >= 13:
        return function(x, node.get("axis", -1))
    return function(x.flatten(node.get("axis", 1)), -1).reshape(x.shape)


def reduction(function: Callable[[Tensor, tuple[int, ...], bool], Tensor]) -> Operator:
    """An operator that reduces the axes of its attribute or second input; all of them where none is given."""

    def reduce(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
        given = node.get("axes") if axes is None else axes.tolist()
        if not given and node.get("noop_with_empty_axes", 0):
            return x
        return function(x, tuple(given or range(x.ndim)), bool(node.get("keepdims", 1)))

    return reduce


def dropout(node: Node, x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None) -> Tensor:
    """x itself: nothing is dropped outside training."""
    if training is not None and bool(training):
        raise Unsupported("Dropout in training mode")
    return x


POINTWISE: dict[str, Operator] = {
    "Abs": _one(torch.abs),
    "Add": _two(torch.add),
    "Ceil": _one(torch.ceil),
    "Clip": clip,
    "Div": divide,
    "Dropout": dropout,
    "Elu": elu,
    "Equal": _two(torch.eq),
    "Erf": _one(torch.erf),
    "Exp": _one(torch.exp),
    "Floor": _one(torch.floor),
    "Gelu": gelu,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": _one(F.hardswish),
    "Identity": _one(lambda x: x),
    "LeakyRelu": leaky_relu,
    "Log": _one(torch.log),
    "LogSoftmax": log_softmax,
    "Max": _folded(torch.maximum),
    "Mean": mean,
    "Min": _folded(torch.minimum),
    "Mul": _two(torch.mul),
    "Neg": _one(torch.neg),
    "PRelu": prelu,
    "Pow": _two(torch.pow),
    "Reciprocal": _one(torch.reciprocal),
    "ReduceMax": reduction(torch.amax),
    "ReduceMean": reduction(torch.mean),
    "ReduceMin": reduction(torch.amin),
    "ReduceSum": reduction(torch.sum),
    "Relu": _one(torch.relu),
    "Round": _one(torch.round),
    "Selu": selu,
    "Sigmoid": _one(torch.sigmoid),
    "Sign": _one(torch.sign),
    "Softmax": softmax,
    "Softplus": _one(F.softplus),
    "Sqrt": _one(torch.sqrt),
    "Sub": _two(torch.sub),
    "Sum": _folded(torch.add),
    "Tanh": _one(torch.tanh),
    "Where": lambda node, condition, a, b: torch.where(condition, a, b),
}
