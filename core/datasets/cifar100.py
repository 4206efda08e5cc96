"""CIFAR-100: 50,000 + 10,000 photographs, 3 x 32 x 32, of 100 classes (Krizhevsky 2009), in the binary files.

A row has two labels, one of 20 coarse classes and one of 100 fine ones; the fine one counts.
"""

from pathlib import Path
from typing import Literal

from core.datasets.base import Augment, Dataset, File, Images, Source
from core.datasets.cifar10 import read_rows


class Cifar100(Dataset):
    """CIFAR-100, 32 x 32 colour photographs with their fine labels (Krizhevsky 2009)."""

    shape = (3, 32, 32)
    num_classes = 100
    train_size = 50_000
    test_size = 10_000
    # The authors publish a checksum of the archive alone, an MD5 (03b5dce01913d631647c71ecec9e9cb8). The SHA-256 of the
    # files in it are those of the library torchvision-ruby (ankane, datasets/cifar100.rb); its digests of CIFAR-10 are right.
    sources = (
        Source(
            "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            (
                File("cifar-100-binary/train.bin", "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29"),
                File("cifar-100-binary/test.bin", "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"),
            ),
        ),
    )

    name: Literal["cifar100"] = "cifar100"
    augment: Augment = "crop_flip"
    """Random shifts by up to 4 pixels, mirror images, both, or none, in training."""

    def read(self, root: Path) -> tuple[Images, Images]:
        """The training file and the test file."""
        train, test = (root / file.path for file in self.files)
        return read_rows([train], 2), read_rows([test], 2)
