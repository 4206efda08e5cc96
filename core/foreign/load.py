"""A network by the name that people type: `mymodel.py:net`, `net.safetensors`, `net.onnx`; or an object in Python."""

import os
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from core.errors import NetworkMissing, NetworkUnfit
from core.foreign import python, weights
from core.foreign.onnx import file as onnx_file

KINDS = "Give mymodel.py:net, a .safetensors file, a .onnx file or a callable."


def load(target: Any, images: Tensor, num_classes: int, model: Any = None) -> tuple[nn.Module, str, str | None]:
    """The network, its name, and what is to be said of how it was read.

    `images` (B, C, H, W) in [0, 1] are real ones, on the device where the network shall be. `model` is a model member as a
    document, for state dicts alone. Raises `NetworkMissing`, `NetworkUnfit`, `InvalidSpec`.
    """
    name = str(target) if isinstance(target, str | os.PathLike) else _called(target)
    net, words = _read(target, name, images, num_classes, model)
    return net.to(images.device), name, words


def _read(target: Any, name: str, images: Tensor, classes: int, model: Any) -> tuple[nn.Module, str | None]:
    if isinstance(target, str | os.PathLike) and name.endswith(".safetensors"):
        return weights.load(Path(name), model, classes, images.shape[1]), None
    if model is not None:
        raise NetworkUnfit(name, "it brings its architecture", "Leave --model out; it is for safetensors state dicts.")
    if not isinstance(target, str | os.PathLike):
        return python.network(target, name), None
    if name.endswith(".onnx"):
        return onnx_file.load(Path(name), images)
    file, colon, attribute = name.rpartition(":")
    if colon and file.endswith(".py"):
        return python.load(Path(file), attribute), None
    if name.endswith(".py"):
        raise NetworkMissing(name, f"the name of the network in the file is missing; give {name}:net")
    raise NetworkUnfit(name, "it is of no kind that can be read", KINDS)


def _called(target: Any) -> str:
    return str(getattr(target, "__qualname__", type(target).__qualname__))
