"""An ONNX graph as a torch network whose gradients to the pixels are torch's own.

The package onnx reads files and runs them in numpy, onnxruntime runs them fast; neither gives a gradient to the input, torch
writes ONNX and does not read it, and the libraries that read it into torch need torchvision, which nothing else here
does. What convolutional classifiers need of the format is small: the operators stand in `pointwise`, `layers`, `shapes`.
"""

from collections.abc import Callable
from typing import Any

import onnx
import torch
from onnx import inliner
from torch import Tensor, nn

from core.foreign.onnx.layers import LAYERS
from core.foreign.onnx.node import Node, Unsupported
from core.foreign.onnx.pointwise import POINTWISE, Operator
from core.foreign.onnx.shapes import SHAPES, constant, tensor

OPERATORS: dict[str, Operator] = POINTWISE | LAYERS | SHAPES
OLDEST = 7
"""The first opset that broadcasts as numpy and torch do."""


class Graph(nn.Module):
    """The graph of a model: pixels in, what its one output says out. Raises `Unsupported` where an operator is not known."""

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        if model.functions:
            model = inliner.inline_local_functions(model)
        opset = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0)
        if opset < OLDEST:
            raise Unsupported(f"opset {opset}, older than {OLDEST}")
        graph = model.graph
        self.stored: dict[str, str] = {}
        for stored in graph.initializer:
            self._store(stored.name, tensor(stored))
        self.input, self.output = pixels_of(model).name, graph.output[0].name
        self.batch = fixed_batch(model)
        nodes = [_node(found, opset) for found in graph.node]
        for node in nodes:
            if node.op == "Constant":
                self._store(node.outputs[0], constant(node))
        self.nodes = [node for node in nodes if node.op != "Constant"]
        self._all_known()

    def _store(self, name: str, value: Tensor) -> None:
        """A tensor of the file under a name that torch allows."""
        self.stored[name] = f"stored{len(self.stored)}"
        self.register_buffer(self.stored[name], value)

    def _all_known(self) -> None:
        known = {"", self.input, *self.stored}
        for node in self.nodes:
            if node.op not in OPERATORS:
                raise Unsupported(f"the operator {node.op}")
            if missing := set(node.inputs) - known:
                raise Unsupported(f"what {node.op} takes as {', '.join(sorted(missing))}")
            known |= set(node.outputs if node.op == "Split" else node.outputs[:1])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) pixels to (B, classes)."""
        return in_batches(self._all, x, self.batch)

    def _all(self, x: Tensor) -> Tensor:
        values: dict[str, Tensor | None] = {"": None, self.input: x}
        values |= {name: self.get_buffer(place) for name, place in self.stored.items()}
        for node in self.nodes:
            found = OPERATORS[node.op](node, *(values[name] for name in node.inputs))
            values |= zip(node.outputs, (found,) if isinstance(found, Tensor) else found, strict=False)
        return torch.as_tensor(values[self.output])


def _node(found: onnx.NodeProto, opset: int) -> Node:
    name = found.op_type if found.domain in ("", "ai.onnx") else f"{found.domain}.{found.op_type}"
    attributes = {one.name: _attribute(one) for one in found.attribute}
    return Node(name, tuple(found.input), tuple(found.output), attributes, opset)


def _attribute(found: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(found)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, int | float | onnx.TensorProto | onnx.GraphProto) else list(value)


def pixels_of(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    """The graph's input that is no weight; `ValueError` unless there is one, and one output."""
    stored = {one.name for one in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in stored]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        names = [", ".join(one.name for one in group) for group in (inputs, model.graph.output)]
        raise ValueError(f"has the inputs ({names[0]}) and the outputs ({names[1]}), where one of each is right")
    found: onnx.ValueInfoProto = inputs[0]
    return found


def fixed_batch(model: onnx.ModelProto) -> int | None:
    """The number of images that the graph takes at once; None where any will do."""
    dims = pixels_of(model).type.tensor_type.shape.dim
    return dims[0].dim_value or None if dims else None


def in_batches(call: Callable[[Tensor], Tensor], x: Tensor, size: int | None) -> Tensor:
    """`call` on all images, or on `size` at a time where it takes no other number; the last ones are repeated to fill up."""
    if size is None:
        return call(x)
    parts = torch.split(x, size)
    short = size - len(parts[-1])
    whole = (*parts[:-1], torch.cat([parts[-1], parts[-1][-1:].expand(short, *x.shape[1:])]))
    return torch.cat([call(part) for part in whole])[: len(x)]
