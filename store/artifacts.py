"""Files kept by what they contain: models, archives, checkpoints. A file's name is the SHA-256 of its bytes.

What anyone may fetch is kept once for all jobs, and stays until neither a row nor a job that has not ended names it: then
retention removes it. A job's checkpoints are its own, in a folder of their own,
so that removing one cannot take another job's. Nothing is ever changed in place: whoever puts a file replaces one that
may have been damaged. No name that a user chose becomes part of a path.
"""

import os
import re
import shutil
import uuid
from pathlib import Path

from core.files import sha256
from store.settings import settings

DIGEST = re.compile(r"[0-9a-f]{64}")


def put(path: Path, digest: str, job_id: uuid.UUID | None = None) -> None:
    """Keep a file whose bytes hash to `digest`, on disk and not in a cache; the file itself goes."""
    target = place(digest, job_id)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{digest}.{uuid.uuid4().hex[:8]}")
    try:
        shutil.move(path, beside)  # a copy, if it lies on another disk
        _flush(beside)
        beside.rename(target)
    finally:
        beside.unlink(missing_ok=True)
    _flush(target.parent)


def _flush(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def place(digest: str, job_id: uuid.UUID | None = None) -> Path:
    """Where the file with these bytes is, or would be; with a job, the checkpoint of that job."""
    if not DIGEST.fullmatch(digest):
        raise ValueError(f"not a SHA-256: {digest!r}")
    folder = settings().files
    return folder / "checkpoints" / str(job_id) / digest if job_id else folder / digest[:2] / digest


def sound(digest: str, job_id: uuid.UUID | None = None) -> bool:
    """Whether the file is there and has the right bytes."""
    path = place(digest, job_id)
    return path.is_file() and sha256(path) == digest


def remove(digest: str, job_id: uuid.UUID) -> None:
    """Forget a checkpoint that no row of its job refers to any more."""
    place(digest, job_id).unlink(missing_ok=True)


def remove_all(job_id: uuid.UUID) -> None:
    """Remove the checkpoints of a job that is no more."""
    shutil.rmtree(settings().files / "checkpoints" / str(job_id), ignore_errors=True)
