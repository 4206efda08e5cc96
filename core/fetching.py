"""Fetching a dataset: by one process at a time for a data folder, with a note beside the data of how it goes.

While a fetch runs, a file in `.fetches` is locked (flock): the lock goes with the process that holds it, whatever ends it.
Progress, the last error and the time of the end are in a JSON file beside the lock, written whole. Others who want the same
dataset wait for the lock, and then find it there.
"""

import fcntl
import time
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

from pydantic import BaseModel, ConfigDict

from core.datasets.base import Dataset, sound
from core.errors import DatasetUnavailable
from core.files import write_whole

NOTES = ".fetches"
INTERRUPTED = "interrupted: the process that fetched it is gone"
MIRRORED = "a fetch from a mirror, whose address may be nobody else's business, has failed"
SECONDS_BETWEEN_NOTES = 1.0


class OnDisk(BaseModel):
    """What is on disk of a dataset."""

    model_config = ConfigDict(use_attribute_docstrings=True, frozen=True)

    state: Literal["absent", "fetching", "present", "failed"]
    """`present`: all files are there, whose bytes a fetch and each job check; `failed`: the last fetch has failed."""
    file: str | None = None
    """What is being downloaded."""
    bytes: int = 0
    """So many of it have arrived; of what is present, the size of the files."""
    total: int | None = None
    """Bytes of what is being downloaded, if its place tells."""
    error: str | None = None
    """Why the last fetch has failed."""
    at: datetime | None = None
    """When the last fetch has ended; of one under way, its last sign of life."""


def on_disk(dataset: Dataset, root: Path) -> OnDisk:
    """What can be told without reading the files. A failed fetch counts until they are there and changed since."""
    note = _noted(dataset, root)
    if note and note.state == "fetching":
        if _under_way(dataset, root):
            return note
        if _noted(dataset, root) != note:
            return on_disk(dataset, root)  # it has just ended
        note = note.model_copy(update={"state": "failed", "error": INTERRUPTED})
    found = _found(dataset, root)
    at = note.at if note else None
    if note and note.state == "failed" and (found is None or (at and found[1] < at.timestamp())):
        return note
    return OnDisk(state="present", bytes=found[0], at=at) if found else OnDisk(state="absent")


def _found(dataset: Dataset, root: Path) -> tuple[int, float] | None:
    """The bytes of all files, and when the newest has changed, a renaming included; None unless all are there."""
    try:
        stats = [(dataset.place(root) / file.path).stat() for file in dataset.files]
    except FileNotFoundError:
        return None
    return sum(one.st_size for one in stats), max(one.st_ctime for one in stats)


def wait_for(dataset: Dataset, root: Path) -> BinaryIO:
    """The lock of a dataset's fetches, when whoever has it is through; it is let go by closing it."""
    file = _lock(dataset, root)
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def take(dataset: Dataset, root: Path) -> BinaryIO | None:
    """The same lock, if nobody has it."""
    file = _lock(dataset, root)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _lock(dataset: Dataset, root: Path) -> BinaryIO:
    """The lock's file; `DatasetUnavailable` where the data folder cannot be written."""
    path = _beside(dataset, root, "lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")
    except OSError as error:
        remedy = "Whoever fetches must be able to write there."
        raise DatasetUnavailable(dataset.name, f"{path} cannot be written ({error})", remedy) from error


def fetch(dataset: Dataset, root: Path, held: BinaryIO, mirror: str | None = None) -> Generator[OnDisk]:
    """Download what is missing or damaged under a lock that is held, and let it go at the end; yields how it goes.

    The first that is yielded says whether anything is to be done: `present` or `fetching`. Raises what `Dataset.fetch` does.
    """
    with held:
        if sound(dataset.place(root), dataset.files):
            yield _present(dataset, root)
            return
        yield _note(dataset, root, OnDisk(state="fetching", at=_now()))
        try:
            yield from _downloading(dataset, root, mirror)
        except Exception as error:
            told = MIRRORED if mirror else str(error) or type(error).__name__
            _note(dataset, root, OnDisk(state="failed", error=told, at=_now()))
            raise
        yield _present(dataset, root)


def _downloading(dataset: Dataset, root: Path, mirror: str | None) -> Iterator[OnDisk]:
    """Every chunk, and a note each second."""
    noted = time.monotonic()
    for name, done, size in dataset.fetch(root, mirror):
        now = OnDisk(state="fetching", file=name, bytes=done, total=size or None, at=_now())
        if time.monotonic() - noted >= SECONDS_BETWEEN_NOTES:
            _note(dataset, root, now)
            noted = time.monotonic()
        yield now


def _under_way(dataset: Dataset, root: Path) -> bool:
    """Whether somebody holds the lock."""
    try:
        with _beside(dataset, root, "lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _present(dataset: Dataset, root: Path) -> OnDisk:
    _note(dataset, root, OnDisk(state="present", at=_now()))
    return on_disk(dataset, root)


def _note(dataset: Dataset, root: Path, now: OnDisk) -> OnDisk:
    write_whole(_beside(dataset, root, "json"), now.model_dump_json().encode())
    return now


def _noted(dataset: Dataset, root: Path) -> OnDisk | None:
    """The last note; None if there is none that can be read, as from another version of Sparring."""
    try:
        return OnDisk.model_validate_json(_beside(dataset, root, "json").read_bytes())
    except (OSError, ValueError):
        return None


def _beside(dataset: Dataset, root: Path, ending: str) -> Path:
    return root / NOTES / f"{dataset.name}.{ending}"


def _now() -> datetime:
    return datetime.now(UTC)
