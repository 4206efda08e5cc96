"""A wrong clock: PROMISES_CLOCK seconds are added to the time of day, as Python tells it to this process."""

import os
import time


def shift() -> None:
    """Make the clock wrong, if that is asked for."""
    seconds = float(os.environ.get("PROMISES_CLOCK", "0"))
    if not seconds or hasattr(time, "promises_right"):
        return
    right, right_ns = time.time, time.time_ns
    time.time = lambda: right() + seconds
    time.time_ns = lambda: right_ns() + int(seconds * 1e9)
    time.promises_right = right  # type: ignore[attr-defined]
