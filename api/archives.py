"""What the archives of adversarial images show of one image: who broke it, how far it was moved, and a picture of it."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import matplotlib.image
import numpy as np
from numpy.typing import NDArray

from core.witness import Archive

LEAST_PIXELS = 112
"""A picture is enlarged, pixel by pixel, until it is at least so wide."""
BETWEEN = 8
"""Clear columns between two pictures."""


READING = Lock()


@dataclass(frozen=True)
class Worst:
    """The worst candidate of an image: its class, who made it, in which share of the draws it is right, how far it lies."""

    label: int
    by: str | None
    right: float
    distance: float


def read(path: Path) -> Archive:
    """An archive; a file that is kept by its hash never changes, so the newest two stay in memory. One is read at a time."""
    with READING:
        return _read(path)


@lru_cache(maxsize=2)
def _read(path: Path) -> Archive:
    return Archive(path)


@lru_cache(maxsize=2)
def worst(archive: Archive) -> list[Worst]:
    """The worst candidates, in order."""
    moved = archive.about.threat.distance(archive.adversarial, archive.x.float() / 255).tolist()
    names: Sequence[str | None] = (None, *archive.about.attacks[1:])
    columns = (archive.y.tolist(), archive.by.tolist(), archive.right.tolist(), moved)
    return [Worst(label, names[by], right, far) for label, by, right, far in zip(*columns, strict=True)]


def picture(archive: Archive, number: int) -> bytes:
    """An image clean, adversarial, and their difference, side by side, as PNG.

    The difference is amplified so that a pixel moved by eps is white or black, one not moved is grey.
    """
    clean = archive.x[number].numpy().astype(np.float32) / 255  # (C, H, W)
    attacked = archive.adversarial[number].numpy()
    eps = float(archive.about.threat.eps) or 1.0
    three = [_enlarged(one) for one in (clean, attacked, 0.5 + (attacked - clean) / (2 * eps))]
    gap = np.zeros((three[0].shape[0], BETWEEN, 4))
    out = io.BytesIO()
    matplotlib.image.imsave(out, np.concatenate([three[0], gap, three[1], gap, three[2]], 1), format="png")
    return out.getvalue()


def _enlarged(image: NDArray[Any]) -> NDArray[Any]:
    """(C, H, W) of grey or colour to (H, W, 4) in [0, 1], opaque, each pixel as a square."""
    times = -(-LEAST_PIXELS // image.shape[2])
    colours = np.broadcast_to(image.clip(0, 1), (3, *image.shape[1:]))
    opaque = np.concatenate([colours, np.ones((1, *image.shape[1:]))]).transpose(1, 2, 0)
    return opaque.repeat(times, 0).repeat(times, 1)
