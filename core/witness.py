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
from pathlib import Path

import numpy as np
import torch

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
    draws: int
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
        try:
            with np.load(path, allow_pickle=False) as file:
                self.about = About.model_validate_json(str(file["about"]))
                self.x, self.y, self.adversarial, self.by, self.right = (
                    torch.from_numpy(file[name]) for name in ARRAYS
                )
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UnreadableArchive(str(path), str(error)) from error
