"""Processes by what stands in their environment."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def marked(*marks: str) -> list[int]:
    """The living processes whose environment holds all these marks; NAME= is a mark of whoever has that variable."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            held = path.read_text(errors="replace").split("\0")
        except OSError:  # it ended meanwhile
            continue
        if all(any(one.startswith(mark) if mark.endswith("=") else one == mark for one in held) for mark in marks):
            found.append(int(path.parts[2]))
    return found


class Mourning(threading.Thread):
    """Watches what killed workers leave: how long until no process with the mark of that life is there."""

    def __init__(self) -> None:
        super().__init__(name="mourning", daemon=True)
        self.killed: dict[str, float] = {}
        self.longest = 0.0
        """Seconds that a process has outlived its worker, so far."""
        self.ended = threading.Event()

    def note(self, mark: str) -> None:
        """A worker was killed just now."""
        self.killed[mark] = time.monotonic()

    def run(self) -> None:
        """Look again and again."""
        while not self.ended.wait(0.1):
            for mark, killed in list(self.killed.items()):
                self.longest = max(self.longest, time.monotonic() - killed)
                if not marked(mark):
                    del self.killed[mark]

    def end(self) -> float:
        """Wait until all are gone, for ten seconds at most; returns the longest time."""
        until(lambda: not self.killed or self.longest > 10, 20, "the processes of killed workers to end")
        self.ended.set()
        self.join()
        return self.longest


def until(condition: Callable[[], Any], seconds: float, what: str, pause: float = 0.05) -> Any:
    """Wait for something, which is returned."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(pause)
    return pytest.fail(f"not within {seconds} s: {what}")
