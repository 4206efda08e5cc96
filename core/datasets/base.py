"""What a dataset is: fixed splits of bytes that stay on the device, checked files, and how to fetch them."""

import gzip
import hashlib
import http.client
import io
import tarfile
import urllib.request
import zlib
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from core.device import generator
from core.errors import DatasetUnavailable
from core.family import Plugin
from core.files import sha256, write_whole

Augment = Literal["none", "flip", "crop", "crop_flip"]
Images = tuple[Tensor, Tensor]
PAD = 4
LARGEST = 1 << 29
"""Bytes of a download, and of a file unpacked: several times what the largest dataset has, and what memory there must be."""
MIRROR = "Check the network, or name another place with --mirror"


class File(NamedTuple):
    """A file of a dataset: its place below the data folder and the SHA-256 of its bytes."""

    path: str
    sha256: str


class Source(NamedTuple):
    """Where files come from: the official address of one gzip file, or of one tar.gz archive, and what it holds."""

    url: str
    files: tuple[File, ...]


@dataclass(frozen=True)
class Split:
    """Images as bytes (n, C, H, W) and labels (n,), on one device."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def prefix(self, images: int | None) -> "Split":
        """The first `images` of them; all if None."""
        return Split(self.x[:images], self.y[:images])

    def to(self, device: torch.device | str) -> "Split":
        """The same on another device."""
        return Split(self.x.to(device), self.y.to(device))

    def batch(self, start: int, size: int) -> Images:
        """Images in [0, 1] and labels from `start` on, in order; channels_last."""
        return pixels(self.x[start : start + size]), self.y[start : start + size]

    def chosen(self, indices: Tensor, augment: Augment, stream: torch.Generator) -> Images:
        """Images in [0, 1] and labels at `indices`, augmented with draws from `stream`; channels_last."""
        x = self.x[indices]
        if "crop" in augment:
            x = random_crop(x, stream)
        if "flip" in augment:
            flip = torch.rand(len(x), generator=stream, device=x.device) < 0.5
            x = torch.where(flip.view(-1, 1, 1, 1), x.flip(3), x)
        return pixels(x), self.y[indices]


def pixels(x: Tensor) -> Tensor:
    """Bytes to [0, 1], channels_last."""
    return x.float().div_(255).contiguous(memory_format=torch.channels_last)


def random_crop(x: Tensor, stream: torch.Generator) -> Tensor:
    """Each image shifted by up to 4 pixels in both directions, zeros coming in: RandomCrop(padding=4), batched."""
    b, _, h, w = x.shape
    down, right = torch.randint(2 * PAD + 1, (2, b, 1), generator=stream, device=x.device)
    rows = (down + torch.arange(h, device=x.device))[:, :, None]  # (B, H, 1)
    columns = (right + torch.arange(w, device=x.device))[:, None, :]  # (B, 1, W)
    image = torch.arange(b, device=x.device)[:, None, None]
    return F.pad(x, [PAD] * 4)[image, :, rows, columns].permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Splits:
    """What a job sees: training, validation and test images, and a digest of the files they come from."""

    train: Split
    validation: Split
    test: Split
    digest: str

    def to(self, device: torch.device | str) -> "Splits":
        """The same on another device."""
        return Splits(self.train.to(device), self.validation.to(device), self.test.to(device), self.digest)


class Dataset(Plugin):
    """Images in the official files. Members give `read`, and say what the files are."""

    shape: ClassVar[tuple[int, int, int]]
    num_classes: ClassVar[int]
    train_size: ClassVar[int]
    test_size: ClassVar[int]
    sources: ClassVar[tuple[Source, ...]]

    validation: Annotated[int, Field(ge=0, le=1_000_000)] = 5000
    """Training images set apart for validation."""
    split_seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Which images those are; the same for every seed of a job."""
    images: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Train on so many of the remaining images only; all if left out."""
    augment: Augment = "none"
    """Random shifts by up to 4 pixels, mirror images, both, or none, in training."""

    @abstractmethod
    def read(self, root: Path) -> tuple[Images, Images]:
        """Training and test images, (n, C, H, W) bytes and (n,) labels, from files already checked."""

    @property
    def train_images(self) -> int:
        """How many images are trained on."""
        rest = self.train_size - self.validation
        return rest if self.images is None else min(self.images, rest)

    def load(self, root: Path) -> Splits:
        """The splits. A missing or damaged file raises `DatasetUnavailable`."""
        root = self.place(root)
        self.check(root)
        (x, y), test = self.read(root)
        order = torch.randperm(len(y), generator=generator("cpu", "split", self.split_seed))
        held, kept = order[: self.validation], order[self.validation :][: self.images]
        digest = hashlib.sha256("".join(file.sha256 for file in self.files).encode()).hexdigest()
        return Splits(Split(x[kept], y[kept]), Split(x[held], y[held]), Split(*test), digest)

    def place(self, root: Path) -> Path:
        """The folder that the files' paths start from: the data folder, unless they are shipped with Sparring."""
        return root

    @property
    def files(self) -> tuple[File, ...]:
        """All files."""
        return tuple(file for source in self.sources for file in source.files)

    def check(self, root: Path) -> None:
        """Raise `DatasetUnavailable` unless every file is there with the right bytes."""
        for file in self.files:
            path = root / file.path
            if not path.is_file():
                raise self._unusable(f"{path} is missing")
            if sha256(path) != file.sha256:
                raise self._unusable(f"{path} is damaged: its SHA-256 is not {file.sha256}")

    def fetch(self, root: Path, mirror: str | None = None) -> Iterator[tuple[str, int, int]]:
        """Download what is missing or damaged; yields (file, bytes so far, bytes in all or 0).

        `mirror` replaces everything before the last part of the official addresses. What arrives with a wrong SHA-256 is
        not kept and raises `DatasetUnavailable`, as does an address that does not answer. Who may not be alone: `core.fetching`.
        """
        root = self.place(root)
        for source in self.sources:
            if sound(root, source.files):
                continue
            name = source.url.rpartition("/")[2]
            url = f"{mirror.rstrip('/')}/{name}" if mirror else source.url
            data = bytearray()
            for size in self._download(url, data):
                yield name, len(data), size
            try:
                contents = list(_unpacked(name, bytes(data), source.files))
            except (OSError, EOFError, KeyError, zlib.error, tarfile.TarError) as error:
                raise self._unusable(f"{url} gave something else than {name} ({error})", MIRROR) from error
            for file, content in zip(source.files, contents, strict=True):
                if hashlib.sha256(content).hexdigest() != file.sha256:
                    raise self._unusable(f"{url} gave a {file.path} with a wrong SHA-256", MIRROR)
                write_whole(root / file.path, content)

    def _download(self, url: str, data: bytearray) -> Iterator[int]:
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 (a fixed address, or the operator's mirror)
                size = int(answer.headers.get("Content-Length") or 0)
                while chunk := answer.read(1 << 18):
                    data += chunk
                    if len(data) > LARGEST:
                        raise ValueError(f"it is larger than {LARGEST >> 20} MiB")
                    yield size
        except (
            OSError,
            ValueError,
            http.client.HTTPException,
        ) as error:  # ValueError: no address; cut off in the middle
            raise self._unusable(f"{url} cannot be fetched ({error})", MIRROR) from error

    def _unusable(self, problem: str, remedy: str | None = None) -> DatasetUnavailable:
        return DatasetUnavailable(self.name, problem, remedy or f"To get it: sparring data fetch {self.name}")


def sound(root: Path, files: tuple[File, ...]) -> bool:
    """Whether every file is there, with the right bytes."""
    return all((root / file.path).is_file() and sha256(root / file.path) == file.sha256 for file in files)


def _unpacked(name: str, data: bytes, files: tuple[File, ...]) -> Iterator[bytes]:
    """The content of each file, in order: of a gzip file itself, of a tar archive the members of the same names."""
    if not name.endswith(".tar.gz"):
        content = gzip.GzipFile(fileobj=io.BytesIO(data)).read(LARGEST + 1)
        if len(content) > LARGEST:
            raise OSError(f"unpacked it is larger than {LARGEST >> 20} MiB")
        yield content
        return
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for file in files:
            member = archive.extractfile(file.path)
            yield member.read() if member else b""
