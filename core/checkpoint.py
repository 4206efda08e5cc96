"""Files from which a run goes on exactly: tensors and plain values, whole or not there at all, and checked when read.

One safetensors file; its header carries, as JSON, the tree in which the tensors hang. A file is written beside, flushed,
and renamed, so that no half-written one ever bears its name; names are unique and files never change. There is no "latest":
who keeps a checkpoint keeps its path and its SHA-256, and `load` refuses a file that does not match (a flipped bit in a
weight would otherwise load in silence).
"""

import hashlib
import json
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from core.errors import CorruptCheckpoint
from core.files import write_whole


class Saved(NamedTuple):
    """Where a checkpoint is and what its bytes hash to."""

    path: Path
    sha256: str


def save(folder: Path, name: str, state: dict[str, Any]) -> Saved:
    """Write a tree of dicts, lists, tuples, tensors and JSON values to a new file `folder/name-<unique>.safetensors`."""
    tensors: dict[str, Tensor] = {}
    tree = _encode(state, tensors)
    data = safetensors.torch.save(tensors, {"tree": json.dumps(tree, allow_nan=False)})
    path = folder / f"{name}-{uuid.uuid4().hex[:12]}.safetensors"
    write_whole(path, data)
    return Saved(path, hashlib.sha256(data).hexdigest())


def load(path: Path, sha256: str) -> dict[str, Any]:
    """What `save` was given. A file that is missing, or not the one with this digest, raises `CorruptCheckpoint`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CorruptCheckpoint(str(path), str(error)) from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise CorruptCheckpoint(str(path), f"its SHA-256 is {found}, not {sha256}")
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        tree: dict[str, Any] = _decode(json.loads(header["__metadata__"]["tree"]), safetensors.torch.load(data))
    except (SafetensorError, ValueError, KeyError) as error:
        raise CorruptCheckpoint(str(path), f"it cannot be read: {error}") from error
    return tree


def _encode(value: Any, tensors: dict[str, Tensor]) -> Any:
    """A JSON tree in which tensors, tuples and dicts with other keys than strings are tagged objects."""
    if isinstance(value, Tensor):
        tensors[str(len(tensors))] = value.detach().cpu().contiguous().clone()
        return {"$tensor": str(len(tensors) - 1)}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _encode(item, tensors) for key, item in value.items()}
    if isinstance(value, dict):
        return {"$pairs": [[key, _encode(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        items = [_encode(item, tensors) for item in value]
        return items if isinstance(value, list) else {"$tuple": items}
    return value


def _decode(tree: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, list):
        return [_decode(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if "$tensor" in tree:
        return tensors[tree["$tensor"]]
    if "$tuple" in tree:
        return tuple(_decode(item, tensors) for item in tree["$tuple"])
    if "$pairs" in tree:
        return {key: _decode(item, tensors) for key, item in tree["$pairs"]}
    return {key: _decode(item, tensors) for key, item in tree.items()}
