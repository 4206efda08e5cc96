"""MNIST: 60,000 + 10,000 handwritten digits, 28 x 28 (LeCun, Cortes, Burges), in IDX files."""

import gzip
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from core.datasets.base import Dataset, File, Images, Source

HOST = "https://ossci-datasets.s3.amazonaws.com/mnist/"


NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx_sources(host: str, folder: str, digests: tuple[str, str, str, str]) -> tuple[Source, ...]:
    """The four gzip files of a dataset in MNIST's form."""
    pairs = zip(NAMES, digests, strict=True)
    return tuple(Source(f"{host}{name}.gz", (File(f"{folder}/{name}", digest),)) for name, digest in pairs)


def read_idx(path: Path) -> Tensor:
    """An IDX file of bytes, gzipped or not: two zeros, type 8, the number of axes, the sizes (big-endian), the bytes."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    shape = np.frombuffer(data, ">i4", count=data[3], offset=4).tolist()
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape).copy())


def read_images(images: Path, labels: Path) -> Images:
    """Images (n, 1, 28, 28) as bytes and labels (n,) from two IDX files."""
    return read_idx(images)[:, None], read_idx(labels).long()


class IdxDataset(Dataset):
    """Ten classes of 28 x 28 grey images in four IDX files."""

    shape = (1, 28, 28)
    num_classes = 10
    train_size = 60_000
    test_size = 10_000

    def read(self, root: Path) -> tuple[Images, Images]:
        """The four files."""
        paths = [root / file.path for file in self.files]
        return read_images(paths[0], paths[1]), read_images(paths[2], paths[3])


class Mnist(IdxDataset):
    """MNIST, 28 x 28 digits (LeCun et al. 1998)."""

    sources = idx_sources(
        HOST,
        "MNIST/raw",
        (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    )

    name: Literal["mnist"] = "mnist"
