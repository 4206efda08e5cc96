"""Weights as safetensors, with the blueprint in the header: no code, nothing pickled (huggingface/safetensors)."""

import json
from pathlib import Path
from typing import Literal

import safetensors
import safetensors.torch
from torch import Tensor, nn

from core.blueprint import Blueprint
from core.exporters.base import Exporter
from core.files import write_whole


class Safetensors(Exporter):
    """The weights as safetensors, with what is needed to build the network again in the header."""

    name: Literal["safetensors"] = "safetensors"

    def write(self, net: nn.Module, blueprint: Blueprint, path: Path) -> None:
        """All parameters and buffers."""
        write_whole(path, packed(net.state_dict(), blueprint))

    def read(self, path: Path) -> nn.Module:
        """The network, in evaluation mode on the CPU."""
        net = blueprint_in(path).build()
        net.load_state_dict(safetensors.torch.load_file(path))
        return net.eval()


def packed(tensors: dict[str, Tensor], blueprint: Blueprint) -> bytes:
    """The bytes of a file with these tensors; metadata `blueprint`, as JSON.

    It is the only key: the library writes several in random order, and the same network must give the same bytes.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data: bytes = safetensors.torch.save(plain, {"blueprint": json.dumps(blueprint.model_dump(mode="json"))})
    return data


def blueprint_in(path: Path) -> Blueprint:
    """The blueprint in a file's header."""
    with safetensors.safe_open(path, "pt") as file:
        return Blueprint.model_validate_json(file.metadata()["blueprint"])
