"""An ONNX file as a network: rebuilt in torch and compared with onnxruntime, or onnxruntime itself, without gradients."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from google.protobuf.message import DecodeError
from torch import Tensor, nn

from core.errors import NetworkMissing, NetworkUnfit
from core.foreign.blackbox import BlackBox
from core.foreign.onnx.graph import Graph, fixed_batch, in_batches, pixels_of
from core.foreign.onnx.node import Unsupported

TOLERANCE = 1e-4
"""Largest difference of a logit between the rebuilt network and onnxruntime, on the images compared."""


class Runtime:
    """A model run by onnxruntime on the CPU: pixels to its one output."""

    def __init__(self, model: onnx.ModelProto) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = torch.get_num_threads()
        content = model.SerializeToString()
        self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self.input, self.batch = pixels_of(model).name, fixed_batch(model)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, classes), on the device of `x`."""
        return in_batches(self._run, x, self.batch)

    def _run(self, x: Tensor) -> Tensor:
        pixels = np.ascontiguousarray(x.detach().cpu().numpy())
        return torch.from_numpy(self.session.run(None, {self.input: pixels})[0]).to(x.device)


def load(path: Path, images: Tensor, tolerance: float = TOLERANCE) -> tuple[nn.Module, str]:
    """The network of a file, and in words how far it is from onnxruntime on `images` (B, C, H, W), in [0, 1].

    Where an operator is unknown, or a logit differs by more than the tolerance, it is a `BlackBox`.
    """
    model = _read(path)
    runtime = _runtime(path, model, images)
    try:
        net = Graph(model).to(images.device).eval()
        with torch.no_grad():
            worst = float((net(images) - runtime(images)).abs().max())
    except Unsupported as unknown:
        return _blind(runtime, path, f"{unknown} cannot be rebuilt in torch")
    except (RuntimeError, IndexError, TypeError, ValueError) as error:
        return _blind(runtime, path, f"rebuilding it in torch fails ({' '.join(str(error).split())[:200]})")
    found = f"rebuilt in torch, a logit differs from onnxruntime's by at most {worst:.2g} on {len(images)} images"
    if not worst <= tolerance:  # NaN is no agreement
        return _blind(runtime, path, f"{found}; {tolerance:.2g} is allowed")
    return net, found


def _blind(runtime: Runtime, path: Path, why: str) -> tuple[nn.Module, str]:
    return BlackBox(runtime, str(path), why), why


def _read(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise NetworkMissing(str(path), f"{path} is not a file")
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
        pixels_of(model)
    except (DecodeError, OSError, onnx.checker.ValidationError) as error:
        problem = f"it is no whole ONNX file ({' '.join(str(error).split())[:200]})"
        raise NetworkUnfit(str(path), problem, "Export it again.") from error
    except ValueError as error:
        raise NetworkUnfit(str(path), f"it {error}", "Export the part from pixels to logits.") from error
    return model


def _runtime(path: Path, model: onnx.ModelProto, images: Tensor) -> Runtime:
    """onnxruntime's session, once it has taken some images."""
    _shaped(path, model, images)
    try:
        runtime = Runtime(model)
        runtime(images[:1])
    except Exception as error:  # onnxruntime's errors have no common base
        problem = f"onnxruntime cannot run it ({' '.join(str(error).split())[:300]})"
        raise NetworkUnfit(str(path), problem, "It must run there on images in fp32.") from error
    return runtime


def _shaped(path: Path, model: onnx.ModelProto, images: Tensor) -> None:
    """The input must be of fp32 and of the images' shape, as far as the file says."""
    kind = pixels_of(model).type.tensor_type
    if kind.elem_type != onnx.TensorProto.FLOAT:
        name = onnx.TensorProto.DataType.Name(kind.elem_type)
        raise NetworkUnfit(str(path), f"its input is of type {name}", "Export it with pixels in fp32, [0, 1].")
    given = [dim.dim_value or None for dim in kind.shape.dim]
    wanted = [None, *images.shape[1:]]
    if given and (len(given) != 4 or any(g and w and g != w for g, w in zip(given, wanted, strict=True))):
        shape = " x ".join(str(size or "?") for size in given)
        right = " x ".join(str(size or "B") for size in wanted)
        raise NetworkUnfit(str(path), f"it takes inputs of {shape}", f"The images here are {right}.")
