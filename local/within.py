"""`python -m local.within HOME MODULE ARGUMENT...`: a module of ours with the settings of the service whose data are in HOME.

Where that service runs, its database is used; where it does not, its Postgres is started for as long as the module runs. For
what is done beside the service: `store.backup`, `store.retention`, `migrations.restore`.
"""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import psycopg

from local.errors import ServerError
from local.postgres import Postgres
from local.stack import ROOT, folders

NO_BROKER = "redis+socket:///nowhere"
"""No process is without the setting; nothing that is done beside the service rings a bell."""


def run(home: Path, module: str, *arguments: str) -> int:
    """Run the module; returns its exit status."""
    with ExitStack() as stack:
        settings = folders(home) | {"SPARRING_BROKER_URL": NO_BROKER} | os.environ
        if "SPARRING_DATABASE_URL" not in settings:
            settings["SPARRING_DATABASE_URL"] = _database(home, stack)
        command = [
            sys.executable,
            "-m",
            module,
            *(str(Path(word).absolute()) if "/" in word else word for word in arguments),
        ]
        return subprocess.run(command, cwd=ROOT, env=settings).returncode


def _database(home: Path, stack: ExitStack) -> str:
    """The address of the Postgres that runs in HOME, or of one that is started there."""
    server = Postgres(home / "postgres")
    try:
        server.folder.join()
        psycopg.connect(server.url.replace("+psycopg", ""), connect_timeout=5).close()
    except (OSError, psycopg.OperationalError):
        server = Postgres(home / "postgres")
        stack.enter_context(server)
    return server.url


def main(home: str, module: str, *arguments: str) -> int:
    """The exit status of the module; 5 where no Postgres can be started."""
    try:
        return run(Path(home).resolve(), module, *arguments)
    except ServerError as error:
        print(error, file=sys.stderr)
        return 5


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
