"""CIFAR-10: 50,000 + 10,000 photographs, 3 x 32 x 32 (Krizhevsky 2009), in the binary files."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch

from core.datasets.base import Augment, Dataset, File, Images, Source

PIXELS = 3 * 32 * 32
"""Bytes of an image: its red, green and blue planes."""


class Cifar10(Dataset):
    """CIFAR-10, 32 x 32 colour photographs (Krizhevsky 2009)."""

    shape = (3, 32, 32)
    num_classes = 10
    train_size = 50_000
    test_size = 10_000
    sources = (
        Source(
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            tuple(
                File(f"cifar-10-batches-bin/{name}.bin", digest)
                for name, digest in (
                    ("data_batch_1", "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
                    ("data_batch_2", "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
                    ("data_batch_3", "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
                    ("data_batch_4", "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
                    ("data_batch_5", "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
                    ("test_batch", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
                )
            ),
        ),
    )

    name: Literal["cifar10"] = "cifar10"
    augment: Augment = "crop_flip"
    """Random shifts by up to 4 pixels, mirror images, both, or none, in training."""

    def read(self, root: Path) -> tuple[Images, Images]:
        """Five training files and the test file."""
        paths = [root / file.path for file in self.files]
        return read_rows(paths[:5], 1), read_rows(paths[5:], 1)


def read_rows(paths: list[Path], labels: int) -> Images:
    """Images (n, 3, 32, 32) as bytes and labels (n,) from files of rows: `labels` bytes, whose last one counts, then pixels."""
    rows = np.concatenate([np.fromfile(path, np.uint8).reshape(-1, labels + PIXELS) for path in paths])
    y = torch.from_numpy(rows[:, labels - 1].astype(np.int64))
    return torch.from_numpy(rows[:, labels:].reshape(-1, 3, 32, 32).copy()), y
