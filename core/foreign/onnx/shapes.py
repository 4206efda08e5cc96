"""ONNX operators that move numbers without changing them, and those that compute shapes (onnx.ai/onnx/operators)."""

import math

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor

from core.foreign.onnx.node import Node, Unsupported
from core.foreign.onnx.pointwise import Operator

MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def tensor(stored: onnx.TensorProto) -> Tensor:
    """A tensor of the file, as torch's."""
    return torch.from_numpy(np.array(numpy_helper.to_array(stored)))


def constant(node: Node) -> Tensor:
    """The tensor in the node itself."""
    for name, kind in (("value_float", torch.float32), ("value_floats", torch.float32)):
        if name in node.attributes:
            return torch.tensor(node.get(name), dtype=kind)
    for name in ("value_int", "value_ints"):
        if name in node.attributes:
            return torch.tensor(node.get(name), dtype=torch.int64)
    if "value" not in node.attributes:
        raise Unsupported(f"Constant with {', '.join(node.attributes)}")
    return tensor(node.get("value"))


def filled(node: Node, shape: Tensor) -> Tensor:
    """One number, zero unless said, in a shape."""
    value = tensor(node.get("value")) if "value" in node.attributes else torch.zeros(1)
    return value.to(shape.device).expand(shape.tolist()).clone()


def shape_of(node: Node, x: Tensor) -> Tensor:
    """The shape, or a part of it."""
    return torch.tensor(x.shape[node.get("start", 0) : node.get("end")], dtype=torch.int64, device=x.device)


def reshape(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    """Another shape; 0 keeps an axis, -1 takes what is left."""
    wanted = shape.tolist()
    if not node.get("allowzero", 0):
        wanted = [x.shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    return x.reshape(wanted)


def flatten(node: Node, x: Tensor) -> Tensor:
    """A matrix: the axes before `axis`, and the rest."""
    axis = node.get("axis", 1)
    return x.reshape(math.prod(x.shape[:axis]), -1)


def transpose(node: Node, x: Tensor) -> Tensor:
    """The axes in another order; the reverse one unless said."""
    return x.permute(node.get("perm") or tuple(reversed(range(x.ndim))))


def concat(node: Node, *inputs: Tensor) -> Tensor:
    """One behind the other."""
    return torch.cat(inputs, node.get("axis"))


def split(node: Node, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    """Pieces of the given sizes, or as many alike as the node has outputs."""
    axis, given = node.get("axis", 0), node.get("split") if sizes is None else sizes.tolist()
    return torch.split(x, given or -(-x.shape[axis] // len(node.outputs)), axis)


def cut(node: Node, x: Tensor, *inputs: Tensor | None) -> Tensor:
    """ONNX's Slice: from starts to ends on some axes, in steps that may go backwards."""
    names = ("starts", "ends", "axes", "steps")
    given = [node.get(name) for name in names] if node.opset < 10 else [_listed(one) for one in inputs]
    starts, ends, axes, steps = [*given, None, None][:4]
    assert starts is not None, "the checker has seen to it"
    assert ends is not None, "the checker has seen to it"
    for axis, start, end, step in zip(
        axes or range(len(starts)), starts, ends, steps or [1] * len(starts), strict=True
    ):
        places = range(x.shape[axis])[start:end:step]
        x = x.index_select(axis, torch.tensor(places, dtype=torch.int64, device=x.device))
    return x


def _listed(x: Tensor | None) -> list[int] | None:
    return None if x is None else x.tolist()


def gather(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    """The entries of one axis at `indices`, whose shape takes the axis's place."""
    axis = node.get("axis", 0) % x.ndim
    chosen = x.index_select(axis, (indices % x.shape[axis]).flatten().long())
    return chosen.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def squeeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Without some axes of size 1; without all of them unless said."""
    given = node.get("axes") if axes is None else axes.tolist()
    return x.squeeze() if given is None else x.squeeze(tuple(given))


def unsqueeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """With new axes of size 1, counted in the result."""
    given = node.get("axes") if axes is None else axes.tolist()
    for axis in sorted(axis % (x.ndim + len(given)) for axis in given):
        x = x.unsqueeze(axis)
    return x


def expand(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    """Broadcast against a shape, both ways."""
    return x.expand(np.broadcast_shapes(x.shape, shape.tolist()))


def cast(node: Node, x: Tensor) -> Tensor:
    """Another type of number."""
    kind = onnx.helper.tensor_dtype_to_np_dtype(node.get("to"))
    return x.to(torch.from_numpy(np.zeros(1, kind)).dtype)


def pad(
    node: Node, x: Tensor, pads: Tensor | None = None, value: Tensor | None = None, axes: Tensor | None = None
) -> Tensor:
    """More at the ends of some axes: a number, a mirror image, the edge again, or what is at the other end."""
    widths = node.get("pads") if pads is None else pads.tolist()
    fill = node.get("value", 0.0) if value is None else value.item()
    both = [(0, 0)] * x.ndim
    of = list(range(x.ndim)) if axes is None else axes.tolist()
    for axis, low, high in zip(of, widths[: len(of)], widths[len(of) :], strict=True):
        both[axis] = (low, high)
    mode = MODES[node.get("mode", "constant")]
    if mode == "constant":
        return F.pad(x, [end for pair in reversed(both) for end in pair], value=fill)
    if any(pair != (0, 0) for pair in both[:2]):
        raise Unsupported(f"Pad of batch or channels with mode {node.get('mode')!r}")
    return F.pad(x, [end for pair in reversed(both[2:]) for end in pair], mode)


SHAPES: dict[str, Operator] = {
    "Cast": cast,
    "Concat": concat,
    "ConstantOfShape": filled,
    "Expand": expand,
    "Flatten": flatten,
    "Gather": gather,
    "Pad": pad,
    "Reshape": reshape,
    "Shape": shape_of,
    "Slice": cut,
    "Split": split,
    "Squeeze": squeeze,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
