"""A network from a safetensors file: one that Sparring exported, or a state dict whose architecture is named."""

from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from core.blueprint import Blueprint
from core.errors import InvalidSpec, NetworkMissing, NetworkUnfit
from core.exporters.int8 import Int8
from core.exporters.safetensors import Safetensors
from core.problems import problems_of

NAME_IT = "Name the architecture: --model resnet, or --model '{name: resnet, depth: 20}'."


def load(path: Path, model: Any, num_classes: int, channels: int) -> nn.Module:
    """The network of a file. `model` is a model member as a document, for files that do not say what they hold."""
    if not path.is_file():
        raise NetworkMissing(str(path), f"{path} is not a file")
    try:
        with safetensors.safe_open(path, "pt") as file:
            ours = "blueprint" in (file.metadata() or {})
        tensors: dict[str, Tensor] = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise NetworkUnfit(str(path), f"it is no safetensors file ({error})", "Save it as safetensors.") from error
    if ours and model is not None:
        raise NetworkUnfit(str(path), "its header says what it holds already", "Leave --model out.")
    return _ours(path, tensors) if ours else _named(path, tensors, model, num_classes, channels)


def _ours(path: Path, tensors: dict[str, Tensor]) -> nn.Module:
    """A file of the exporters: those with weights of 8 bits are read by the one that writes them."""
    exporter = Int8() if any(t.dtype == torch.int8 for t in tensors.values()) else Safetensors()
    try:
        return exporter.read(path)
    except (ValueError, KeyError, RuntimeError) as error:
        problem = f"its tensors are not those of the blueprint in its header ({_short(error)})"
        raise NetworkUnfit(str(path), problem, "Export the network again.") from error


def _named(path: Path, tensors: dict[str, Tensor], model: Any, num_classes: int, channels: int) -> nn.Module:
    if model is None:
        raise NetworkUnfit(str(path), "its header does not say what network its tensors belong to", NAME_IT)
    document = {"model": model, "num_classes": num_classes, "channels": channels}
    try:
        net = Blueprint.model_validate(document).build()
    except ValidationError as error:
        raise InvalidSpec(tuple(problems_of(error, document, Blueprint))) from None
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        raise NetworkUnfit(
            str(path), f"its tensors do not fit the model {model!r}: {_short(error)}", NAME_IT
        ) from error
    return net.eval()


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 400 else f"{text[:400]} ..."
