"""Checkpoints are whole or not there, come back as they were, and are refused when damaged."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core import checkpoint
from core.errors import CorruptCheckpoint

STATE = {
    "weights": {"a": torch.randn(3, 4), "b": torch.tensor([True, False])},
    "optimizer": {
        "state": {0: {"step": 3, "buf": torch.ones(2, dtype=torch.bfloat16)}},
        "groups": [{"betas": (0.9, 0.999), "lr": None}],
    },
    "epoch": 4,
    "text": "ü",
    "empty": [],
}


def same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return a == b


def test_a_tree_comes_back_as_it_was(tmp_path: Path) -> None:
    saved = checkpoint.save(tmp_path, "train", STATE)
    assert same(checkpoint.load(*saved), STATE)


def test_every_file_has_a_name_of_its_own(tmp_path: Path) -> None:
    paths = {checkpoint.save(tmp_path, "train", STATE).path for _ in range(3)}
    assert len(paths) == 3


def test_channels_last_weights_keep_their_values(tmp_path: Path) -> None:
    w = torch.randn(4, 3, 3, 3).contiguous(memory_format=torch.channels_last)
    assert torch.equal(checkpoint.load(*checkpoint.save(tmp_path, "x", {"w": w}))["w"], w)


@pytest.mark.parametrize("place", ["start", "header", "middle", "end"])
def test_a_flipped_bit_is_noticed(tmp_path: Path, place: str) -> None:
    saved = checkpoint.save(tmp_path, "train", STATE)
    data = bytearray(saved.path.read_bytes())
    at = {"start": 0, "header": 60, "middle": len(data) // 2, "end": len(data) - 1}[place]
    data[at] ^= 1
    saved.path.write_bytes(data)
    with pytest.raises(CorruptCheckpoint, match="its SHA-256 is"):
        checkpoint.load(*saved)


def test_a_cut_file_is_noticed(tmp_path: Path) -> None:
    saved = checkpoint.save(tmp_path, "train", STATE)
    saved.path.write_bytes(saved.path.read_bytes()[:-10])
    with pytest.raises(CorruptCheckpoint, match="its SHA-256 is"):
        checkpoint.load(*saved)


def test_a_missing_file_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(CorruptCheckpoint, match="No such file"):
        checkpoint.load(tmp_path / "gone.safetensors", "0" * 64)


def test_a_file_that_is_no_checkpoint_is_noticed(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "x"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(CorruptCheckpoint, match="it cannot be read"):
        checkpoint.load(path, hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_kill_during_the_write_leaves_whole_files_alone(tmp_path: Path) -> None:
    """A process writes checkpoints until it is killed: whatever bears a checkpoint's name can be read."""
    script = (
        "import sys, torch, pathlib\nfrom core import checkpoint\n"
        "while True:\n"
        f"    saved = checkpoint.save(pathlib.Path({str(tmp_path)!r}), 'x', {{'w': torch.randn(500_000)}})\n"
        "    print(saved.path, saved.sha256, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    first = process.stdout.readline().split()
    for _ in range(5):
        process.stdout.readline()
    process.kill()
    process.communicate()
    assert checkpoint.load(Path(first[0]), first[1])["w"].shape == (500_000,)
    sizes = {path.stat().st_size for path in tmp_path.glob("x-*.safetensors")}
    assert len(sizes) == 1
