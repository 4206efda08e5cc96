"""Files kept by what they contain: checkpoints, models, archives. A file's name is the SHA-256 of its bytes.

The same bytes are kept once; nothing is ever changed in place. No name that a user chose becomes part of a path.
"""

import re
import shutil
import uuid
from pathlib import Path

from core.files import sha256
from store.settings import settings

DIGEST = re.compile(r"[0-9a-f]{64}")


def put(path: Path, digest: str) -> None:
    """Keep a file whose bytes hash to `digest`; the file itself goes, or is copied where it lies on another disk."""
    target = place(digest)
    if target.exists():
        path.unlink()
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{digest}.{uuid.uuid4().hex[:8]}")
    shutil.move(path, beside)
    beside.rename(target)


def place(digest: str) -> Path:
    """Where the file with these bytes is, or would be."""
    if not DIGEST.fullmatch(digest):
        raise ValueError(f"not a SHA-256: {digest!r}")
    return settings().files / digest[:2] / digest


def sound(digest: str) -> bool:
    """Whether the file is there and has the right bytes."""
    path = place(digest)
    return path.is_file() and sha256(path) == digest


def remove(digest: str) -> None:
    """Forget a file that no row refers to any more."""
    place(digest).unlink(missing_ok=True)
