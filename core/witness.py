"""Archives of adversarial images: what a strict number rests on, so that nobody has to trust our attacks.

One compressed numpy file (.npz), readable without Sparring. `about` is a JSON text; the arrays are, for n images in order:

    x            (n, C, H, W) uint8    the clean test images
    y            (n,)         int64    their labels
    adversarial  (n, C, H, W) float32  in [0, 1], the worst candidate of each: where no attack was worse, the clean image
    by           (n,)         int64    which attack made it, a number in `about.attacks`; 0 is none
    right        (n,)         float32  the share of judging draws in which the network was right: 0 or 1 without noise
"""

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field

from core.candidates import Candidates
from core.datasets.base import Split
from core.errors import UnreadableArchive
from core.family import Settings
from core.files import write_whole
from core.threat import Threat

ARRAYS = ("x", "y", "adversarial", "by", "right")


class About(Settings):
    """What the images of an archive are."""

    label: str
    """The attack, or `worst_case` for the worst of all."""
    network: str
    """Which of the job's networks was attacked: `trained`, or an exported file."""
    dataset: str
    """Name of the dataset."""
    threat: Threat
    """The ball that all images lie in."""
    attacks: tuple[str, ...]
    """Names for the numbers in `by`."""
    accuracy: float
    """The printed number, in [0, 1]."""
    draws: Annotated[int, Field(ge=1)]
    """Judging draws."""
    frozen: tuple[float, ...]
    """Of a network whose noise spans a batch: the constants that its layers went by instead, in order."""


def write(path: Path, about: About, images: Split, worst: Candidates) -> None:
    """Write an archive, whole or not at all; the same content gives the same bytes."""
    values = (images.x, images.y, worst.images, worst.by, worst.right)
    arrays = {name: value.cpu().contiguous().numpy() for name, value in zip(ARRAYS, values, strict=True)}
    data = io.BytesIO()
    np.savez_compressed(data, allow_pickle=False, about=np.array(json.dumps(about.model_dump(mode="json"))), **arrays)
    write_whole(path, data.getvalue())


class Archive:
    """An archive, read: `about`, and the arrays as tensors."""

    def __init__(self, path: Path) -> None:
        with _reading(path) as file:
            self.about = About.model_validate_json(str(file["about"]))
            self.x, self.y, self.adversarial, self.by, self.right = (torch.from_numpy(file[name]) for name in ARRAYS)
            self._check()

    def _check(self) -> None:
        """That the arrays are those of the module's documentation."""
        n, shape = len(self.y), self.x.shape
        if len(shape) != 4 or shape != self.adversarial.shape or not n:
            raise ValueError("x and adversarial should be (n, C, H, W), n above 0")
        if any(one.shape != (n,) for one in (self.y, self.by, self.right)) or shape[0] != n:
            raise ValueError(f"y, by and right should hold one value for each of {shape[0]} images")
        types = tuple(one.dtype for one in (self.x, self.y, self.adversarial, self.by, self.right))
        if types != (torch.uint8, torch.int64, torch.float32, torch.int64, torch.float32):
            raise ValueError("the arrays should be uint8, int64, float32, int64, float32")
        if not bool(((self.by >= 0) & (self.by < len(self.about.attacks))).all()):
            raise ValueError("by should be numbers of attacks")
        if not bool(((self.right >= 0) & (self.right <= 1)).all()):
            raise ValueError("right should be shares from 0 to 1")


def shares(path: Path) -> list[float]:
    """`right` of an archive, read without its images."""
    with _reading(path) as file:
        return [float(share) for share in file["right"]]


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    """The arrays of a file; whatever is wrong with them is an `UnreadableArchive`."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            yield file
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UnreadableArchive(str(path), str(error)) from error
