"""Makes the sample of Fashion-MNIST that Sparring ships: the first 700 training and 100 test images of each class.

    python core/datasets/sample/make.py DATA     # DATA holds FashionMNIST/raw, as `sparring data fetch fashion_mnist` leaves it

Writes four IDX files, gzipped, beside this script, the same bytes every time, and prints the SHA-256 of each.
"""

import gzip
import hashlib
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
EACH = {"train": 700, "t10k": 100}


def read(path: Path) -> np.ndarray:
    """An IDX file of bytes."""
    data = path.read_bytes()
    shape = np.frombuffer(data, ">i4", count=data[3], offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def write(path: Path, array: np.ndarray) -> None:
    """The same, gzipped without a date."""
    data = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()
    path.write_bytes(gzip.compress(data, 9, mtime=0))
    print(hashlib.sha256(path.read_bytes()).hexdigest(), path.name, len(path.read_bytes()))


for split, each in EACH.items():
    raw = Path(sys.argv[1]) / "FashionMNIST" / "raw"
    images, labels = read(raw / f"{split}-images-idx3-ubyte"), read(raw / f"{split}-labels-idx1-ubyte")
    chosen = np.sort(np.concatenate([np.flatnonzero(labels == label)[:each] for label in range(10)]))
    write(HERE / f"{split}-images-idx3-ubyte.gz", images[chosen])
    write(HERE / f"{split}-labels-idx1-ubyte.gz", labels[chosen])
