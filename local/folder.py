"""A server's data folder: private, used by one launcher, left by every process of the server before.

Two locks, since two things are asked. `launcher.lock` is the launcher's alone: a second start is refused at once.
`server.lock` is inherited by the server and all its children: it is free exactly when none of them is left. So nothing
that a pid file says is believed, be it half-written or the number of somebody else's process by now.
"""

import fcntl
import hashlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from local.errors import ServerError

# The user that a server runs as when root starts it. Not `nobody`: other services run as that one, and could then read
# our data. A number without a name, so that nothing is written to /etc/passwd. From 60578-61183, which systemd's table
# of user ids leaves unused (people end at 60000, dynamic users begin at 61184), and below 65536, where the ids of a
# rootless container end.
ACCOUNT = 60_812
LAUNCHER_LOCK = "launcher.lock"
SERVER_LOCK = "server.lock"
GRACE = 10.0  # seconds that a server whose launcher was killed has for its own shutdown


class DataFolder:
    """The folder at `path`, which belongs to `account`, the user that the server runs as."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.account = os.geteuid() or ACCOUNT
        self.runtime: Path | None = None
        self.server_lock = -1
        self._launcher_lock: int | None = None

    @property
    def sockets(self) -> Path:
        """Where the server's socket is: a private folder with a short name, while the server is started."""
        assert self.runtime is not None, "start the server first"
        return self.runtime / "sockets"

    @property
    def programs(self) -> Path:
        """Where a copy of the server's programs may be put, for its account to run."""
        assert self.runtime is not None, "start the server first"
        return self.runtime / "programs"

    def claim(self) -> None:
        """Make the folder if need be, and keep every other launcher out of it until `release`."""
        if self._launcher_lock is None:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._refuse_foreign()
            self.make_private(self.path)
            self._launcher_lock = self._lock_as_launcher()

    def release(self) -> None:
        """Let other launchers in, and leave nothing in /tmp."""
        if self._launcher_lock is not None:
            if self.runtime is not None:
                shutil.rmtree(self.runtime, ignore_errors=True)
            os.close(self._launcher_lock)
            self._launcher_lock = self.runtime = None

    def make_private(self, path: Path) -> None:
        """Give a folder to the server's account, and to nobody else."""
        path.chmod(0o700)
        if os.geteuid() == 0:
            try:
                os.chown(path, self.account, self.account)
            except OSError as error:
                why = f"{path} cannot be given to user {self.account}"
                raise ServerError(f"{why}: start as an ordinary user, or name another folder") from error

    def open_file(self, name: str, flags: int) -> int:
        """Open a file in the folder; never through a link, which a broken-into server could point at a file of root's."""
        return os.open(self.path / name, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def _refuse_foreign(self) -> None:
        owner = self.path.stat().st_uid
        if owner not in (os.geteuid(), self.account):
            who = "root" if owner == ACCOUNT else "that user"
            raise ServerError(f"{self.path} belongs to user {owner}: start as {who}, or name another folder")
        if any(self.path.iterdir()) and not (self.path / LAUNCHER_LOCK).exists():
            raise ServerError(f"{self.path} holds files that are not a server's: name a new or an empty folder")

    def _lock_as_launcher(self) -> int:
        lock = self.open_file(LAUNCHER_LOCK, os.O_RDWR)
        if not locked_within(0, lock):
            holder = os.pread(lock, 20, 0).decode()
            os.close(lock)
            raise ServerError(f"{self.path} is in use by process {holder}: stop it, or name another folder")
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        return lock

    @contextmanager
    def vacated(self) -> Iterator[None]:
        """Wait until no process of an earlier server is left, and hold `server_lock` for the next one to inherit.

        An orphan ends by itself: its launcher's death sent it the signal. What has not ended after `GRACE` seconds (a
        query of a killed Postgres computes on without looking up) is killed; that costs a recovery, and no data.
        """
        self.server_lock = self.open_file(SERVER_LOCK, os.O_RDWR)
        try:
            if not locked_within(GRACE, self.server_lock):
                self._kill_orphans()
                if not locked_within(GRACE, self.server_lock):
                    file = self.path / SERVER_LOCK
                    raise ServerError(f"an earlier server still runs in {self.path}: end what `fuser {file}` lists")
            yield
        finally:
            os.close(self.server_lock)

    def _kill_orphans(self) -> None:
        for fd in Path("/proc").glob("[0-9]*/fd/*"):
            with suppress(OSError):  # it ended meanwhile, or is another user's
                if fd.readlink() == self.path / SERVER_LOCK and (pid := int(fd.parts[2])) != os.getpid():
                    os.kill(pid, signal.SIGKILL)

    def join(self) -> None:
        """Look where a server that another launcher has started keeps its sockets."""
        found = self.path.stat()
        name = hashlib.sha256(f"{self.path} {found.st_dev} {found.st_ino}".encode()).hexdigest()[:12]
        self.runtime = Path("/tmp", f"sparring-{name}")  # noqa: S108  made by mkdir, which follows no link

    def renew_runtime(self) -> None:
        """Make an empty folder for what lives as long as the server, with the private folder of sockets in it.

        In /tmp (not TMPDIR): a socket's address has at most 107 bytes, and the data folder's path may have more. Its name
        follows from the data folder: a restart keeps the URL, and cleans up after a launcher that was killed.
        """
        self.join()
        assert self.runtime is not None
        shutil.rmtree(self.runtime, ignore_errors=True)
        try:
            self.runtime.mkdir(mode=0o700)
        except FileExistsError:
            raise ServerError(f"{self.runtime} is in the way of the sockets: have its owner remove it") from None
        if os.geteuid() == 0:
            self.runtime.chmod(0o711)  # the account must pass; it need not look around
        self.sockets.mkdir()
        self.make_private(self.sockets)


def locked_within(seconds: float, lock: int) -> bool:
    """Try to take a lock for some seconds."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
