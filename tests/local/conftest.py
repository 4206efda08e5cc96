"""Both kinds of embedded server, a folder that only its owner can open, and launchers that may be killed."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.folder import DataFolder
from local.postgres import Postgres
from local.server import Server
from local.valkey import Valkey
from witness import STRANGER, end, eventually, kill, processes_in

CHECKOUT = Path(__file__).parents[2]
LAUNCHER = """
import sys, time
from pathlib import Path
from {module} import {kind}
server = {kind}(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture(params=[Postgres, Valkey])
def kind(request: pytest.FixtureRequest) -> type[Server]:
    return request.param


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder to be, below one that only its owner can open; a test must leave no process behind in it."""
    tmp_path.chmod(0o700)
    yield tmp_path / "server"
    left = processes_in(tmp_path)
    kill(*left)
    assert left == []


@pytest.fixture(scope="module", params=[Postgres, Valkey])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server, for tests that only look at it."""
    with request.param(tmp_path_factory.mktemp("running") / "server") as server:
        yield server


@pytest.fixture
def launch(folder: Path) -> Iterator[Callable[[type[Server]], subprocess.Popen[str]]]:
    """Start a launcher as a process of its own; it prints the server's process id when the server answers."""
    launchers: list[subprocess.Popen[str]] = []

    def start(kind: type[Server]) -> subprocess.Popen[str]:
        code = LAUNCHER.format(module=kind.__module__, kind=kind.__name__)
        command = [sys.executable, "-c", code, str(folder)]
        groups = [STRANGER] if os.geteuid() == 0 else None  # which the server must lose
        launchers.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT, extra_groups=groups),
        )
        return launchers[-1]

    yield start
    for launcher in launchers:
        end(launcher)
        launcher.stdout.close()
    eventually(lambda: not processes_in(folder))
    cleaner = DataFolder(folder)
    cleaner.claim()
    cleaner.renew_runtime()
    cleaner.release()
