"""A log that does not grow without bound: what it holds goes to a file beside it, and it begins again.

Its writer holds it open and appends, so the file is emptied and not renamed. What is written in the instant between the copy
and the emptying is lost. The folder may be a server account's: no link in it is followed.
"""

import os
import shutil
from pathlib import Path

LIMIT = 20_000_000
"""Bytes; with what lies beside, a log takes at most a little more than twice as much."""


def rotate(path: Path, limit: int = LIMIT) -> bool:
    """Empty a log that is longer than `limit`, keeping what it held as `.1`; False if it is not, or is not there."""
    try:
        log = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    with open(log, "r+b") as file:
        if os.fstat(log).st_size <= limit:
            return False
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(f"{path}.1", flags, 0o600), "wb") as kept:
            shutil.copyfileobj(file, kept)
        os.ftruncate(log, 0)
    return True
