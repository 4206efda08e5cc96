"""A network that a job has left, read back from its file: plain safetensors or 8 bits, with the blueprint in the header."""

from pathlib import Path

import safetensors
from safetensors import SafetensorError
from torch import nn

from core.blueprint import Blueprint
from core.errors import Mismatch, UnreadableModel
from core.exporters.int8 import Int8
from core.exporters.safetensors import Safetensors, blueprint_in
from core.files import sha256


def read(path: Path, digest: str | None = None) -> nn.Module:
    """The network, in evaluation mode on the CPU. `UnreadableModel` if the file is not ours, or has other bytes than `digest`."""
    shape_in(path)
    if digest and (found := sha256(path)) != digest:
        raise UnreadableModel(str(path), f"its SHA-256 is {found}, not {digest}")
    try:
        return (Int8() if _in_8_bits(path) else Safetensors()).read(path)
    except (SafetensorError, KeyError, RuntimeError) as error:  # torch's for tensors of another shape
        raise UnreadableModel(str(path), str(error)[:200]) from error


def shape_in(path: Path) -> Blueprint:
    """What the network in a file is, without its weights."""
    try:
        return blueprint_in(path)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:  # TypeError: no metadata at all
        raise UnreadableModel(str(path), str(error).partition("\n")[0][:200]) from error


def _in_8_bits(path: Path) -> bool:
    """Whether some tensor has a scale beside it."""
    with safetensors.safe_open(path, "pt") as file:
        names = set(file.keys())
    return any(name.removesuffix(".scale") in names - {name} for name in names)


def check_images(shape: Blueprint, images: tuple[int, int, int], classes: int, name: str) -> None:
    """Raise `Mismatch` where a network does not take images (C, H, W) of so many classes, which `name` names."""
    allowed = getattr(shape.model, "images", ())
    if (shape.channels, shape.num_classes) != (images[0], classes) or (allowed and images not in allowed):
        sizes = " or ".join("x".join(map(str, size)) for size in allowed) or f"{shape.channels} channels"
        wanted = f"{'x'.join(map(str, images))} and {classes} classes"
        raise Mismatch(f"images of {sizes} and {shape.num_classes} classes", f"{wanted} of {name}")
