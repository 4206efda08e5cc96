"""A server program as the launcher's own child: what Postgres and Valkey have in common.

No TCP, no root, no daemon: the child runs in the foreground, as an account that may do nothing else, behind a socket that
no other user can reach, and it ends with the launcher however that ends.
"""

import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import ClassVar, Self

from local.errors import ServerError
from local.folder import DataFolder

Process = subprocess.Popen[bytes]
CHILD = Path(__file__).with_name("child.py")
LOG = "log"
START_PATIENCE = 60.0  # seconds; the recovery after a crash is part of a start
STOP_PATIENCE = 30.0  # seconds; the last checkpoint is part of a stop


class Server(ABC):
    """One server with its data in `folder`. After a crash call `start` again: the data and the URL stay."""

    name: ClassVar[str]
    farewell: ClassVar[signal.Signals]  # asks the server for an orderly end
    not_yet: ClassVar[type[Exception]]  # what a connection raises while the server is not ready

    def __init__(self, folder: Path) -> None:
        self.folder = DataFolder(folder)
        self._process: Process | None = None
        self._log_start = 0

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect, while the server is started."""

    @abstractmethod
    def _launch(self) -> Process:
        """Prepare the data and `_spawn` the server."""

    @abstractmethod
    def _greet(self) -> None:
        """Connect as a client does; raise `not_yet` while that cannot be."""

    @property
    def pid(self) -> int:
        """The process id of the server's first process."""
        assert self._process is not None, "start the server first"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server's process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> Path:
        """Where the server's output goes."""
        return self.folder.path / LOG

    def start(self) -> None:
        """See that the server runs, and return when it answers."""
        if self.running:
            return
        try:
            self.folder.claim()
            with self.folder.vacated():
                self.folder.renew_runtime()
                self._log_start = self._log_size()
                self._process = self._launch()
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server in good order, and let other launchers have the folder."""
        if self._process is not None:
            self._process.send_signal(self.farewell)
            try:
                self._process.wait(STOP_PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self.folder.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _spawn(
        self, command: list[str], cwd: Path, user: int | None = None, stdin: int = subprocess.DEVNULL
    ) -> Process:
        """Start a child, from a thread that stays with it: to the kernel, a parent dies when the thread that forked ends."""
        born: Future[Process] = Future()
        become = [CHILD, user or self.folder.account, int(self.farewell), os.getpid(), *command]
        Thread(target=self._fork_and_stay, args=(born, become, cwd, stdin), daemon=True).start()
        return born.result()

    def _fork_and_stay(self, born: Future[Process], script: list[object], cwd: Path, stdin: int) -> None:
        try:
            process = self._fork(script, cwd, stdin)
        except BaseException as error:
            born.set_exception(error)
            return
        born.set_result(process)
        with suppress(ChildProcessError):  # the other thread collected it first, as it should: WNOWAIT
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    def _fork(self, script: list[object], cwd: Path, stdin: int) -> Process:
        log = self.folder.open_file(LOG, os.O_WRONLY | os.O_APPEND)
        try:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", *map(str, script)],
                cwd=cwd,
                env=environment(),
                stdin=stdin,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in a terminal is for the launcher
                pass_fds=[self.folder.server_lock],
            )
        finally:
            os.close(log)

    def _run(self, command: list[str], cwd: Path, user: int | None = None, stdin: str = "") -> None:
        """Run a preparing program to its end."""
        process = self._spawn(command, cwd, user, subprocess.PIPE)
        process.communicate(stdin.encode())
        if process.returncode != 0:
            raise self._failure(f"{Path(command[0]).name} failed")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_PATIENCE
        while True:
            try:
                return self._greet()
            except self.not_yet as error:
                if not self.running or time.monotonic() > deadline:
                    raise self._failure(str(error)) from error
            time.sleep(0.02)

    def _failure(self, why: str) -> ServerError:
        with open(self.folder.open_file(LOG, os.O_RDONLY), errors="replace") as log:
            log.seek(min(self._log_start, self._log_size()))  # it may have begun again since
            tail = "".join(log.readlines()[-15:])
        return ServerError(f"{self.name} did not start in {self.folder.path}: {why}\nThe end of its {LOG}:\n{tail}")

    def _log_size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0


def environment() -> dict[str, str]:
    """What a server inherits: no PGPORT, no PGDATA and no secret of the launcher."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}
