"""`sparring up`: everything on this machine, until Ctrl-C."""

import signal
import threading
from pathlib import Path
from types import FrameType

from local.stack import Stack


def up(home: Path, port: int) -> None:
    """Run the service in the foreground; TERM and Ctrl-C stop it in reverse order."""
    asked = threading.Event()

    def ask(_: int, __: FrameType | None) -> None:
        asked.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    stack = Stack(home, port)
    print("Starting Postgres, Valkey, the api and a worker ...", flush=True)
    with stack:
        print(f"Sparring runs at {stack.url}\nLog in with this token: {stack.token}\nCtrl-C stops it.", flush=True)
        while not asked.wait(0.5):
            stack.tend()
        print("Stopping; a running job saves first ...", flush=True)
    print("Stopped.", flush=True)
