"""A tenth of Fashion-MNIST that Sparring ships: 7,000 + 1,000 pictures, 700 and 100 a class. For demos and tests.

Made by `core/datasets/sample/make.py` from the official files (Xiao et al. 2017, arXiv 1708.07747; MIT licence). Numbers on
it are not numbers on Fashion-MNIST.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from core.datasets.base import File, Source
from core.datasets.mnist import NAMES, IdxDataset

DIGESTS = (
    "71e2dada5d793cc13313e6fae66cbdae4fa8daa11aa0607100dc94d7c0923cc6",
    "8a4d355ada7e7d9458c78743c1593644ecf5ec217007aecef33e7fa1f74883b0",
    "1d883f3966f98d7fc5011e0ff22f6e190d3b994ad0583bfd53c4b120eb39f754",
    "4f81dd80fbbee90c38545ee999e120b1c191bf127f0aa516f21ef7e023d316a9",
)


class FashionMnistSample(IdxDataset):
    """A class-balanced tenth of Fashion-MNIST, shipped with Sparring: 7,000 training and 1,000 test images."""

    train_size = 7_000
    test_size = 1_000
    sources = (Source("", tuple(File(f"{name}.gz", digest) for name, digest in zip(NAMES, DIGESTS, strict=True))),)

    name: Literal["fashion_mnist_sample"] = "fashion_mnist_sample"
    validation: Annotated[int, Field(ge=0, le=6_999)] = 1_000
    """Training images set apart for validation."""

    def place(self, root: Path) -> Path:
        """The folder beside this file."""
        return Path(__file__).parent / "sample"
