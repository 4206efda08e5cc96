"""The whole service on one machine: Postgres, Valkey, migrations, api, worker. Stops in reverse order.

The same code as in production; only who starts it differs. A database or a broker of one's own is used instead of the
embedded one where SPARRING_DATABASE_URL or SPARRING_BROKER_URL names it.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx
from sqlalchemy.orm import Session

import migrations
from local.errors import ServerError
from local.postgres import Postgres
from local.rotation import rotate
from local.server import Server
from local.valkey import Valkey
from store import tokens
from store.database import transaction

PORT = 8000
READY_SECONDS = 90.0
STOP_SECONDS = 60.0
CLIENT = "client.json"
"""Where the address and the token are kept for `sparring` in the same folder."""
ROOT = Path(__file__).parent.parent


def folders(home: Path) -> dict[str, str]:
    """The settings that name folders, where none of one's own is named."""
    return {f"SPARRING_{folder.upper()}": str(home / folder) for folder in ("files", "data", "work")}


class Part:
    """A program of ours that runs as a child, with its output in a file."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.name, self.command, self.environment, self.log = name, command, environment, log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it gets TERM when we end, however we end."""
        child = Path(__file__).with_name("child.py")
        become = [child, os.geteuid(), int(signal.SIGTERM), os.getpid(), sys.executable, *self.command]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *map(str, become)],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the launcher, which stops its parts in order
            )

    @property
    def running(self) -> bool:
        """Whether it lives."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Ask it to end, and make it end if it does not."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Stack:
    """The service with its data in `home`. `say` is told what a person at a terminal should know."""

    def __init__(self, home: Path, port: int = PORT, say: Callable[[str], None] = print, **settings: str) -> None:
        self.home, self.port, self.say, self.extra = home.resolve(), port, say, settings
        self.stack = ExitStack()
        self.parts: dict[str, Part] = {}
        self.servers: list[Server] = []

    @property
    def url(self) -> str:
        """The address of the api and the dashboard."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start everything, in order; if something fails, stop what runs."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o700)
        self.port = self._free_port()
        self.environment = self._environment()
        self.database = self.environment["SPARRING_DATABASE_URL"]
        migrations.upgrade(self.database)
        self.token = self._token()
        api = ["-m", "uvicorn", "api.app:app", "--http", "api.receiving:Receiving", "--host", "127.0.0.1"]
        quiet = ["--no-access-log", "--log-level", "warning"]
        self._add("api", [*api, "--port", str(self.port), *quiet, "--timeout-graceful-shutdown", "2"])
        worker = ["-m", "celery", "-A", "worker.app", "worker", "--loglevel", "info"]
        self._add("worker", [*worker, "--without-mingle", "--without-gossip"])
        self._wait_until_ready()
        self.client_file.touch(mode=0o600)
        self.client_file.chmod(0o600)  # also where it was there before
        self.client_file.write_text(json.dumps({"url": self.url, "token": self.token}))

    def _environment(self) -> dict[str, str]:
        """The settings of api and worker; starts the embedded servers that no setting replaces."""
        found = {name: value for name, value in os.environ.items() if not name.startswith("SPARRING_JOB")}
        if "SPARRING_DATABASE_URL" not in found:
            found["SPARRING_DATABASE_URL"] = self._serve(Postgres(self.home / "postgres")).url
        if "SPARRING_BROKER_URL" not in found:
            valkey = Valkey(self.home / "valkey")
            self._serve(valkey)
            found["SPARRING_BROKER_URL"] = valkey.broker_url
        return folders(self.home) | found | {"SPARRING_URL": self.url} | self.extra

    def _serve(self, server: Server) -> Server:
        self.stack.enter_context(server)
        self.servers.append(server)
        return server

    def _add(self, name: str, command: list[str]) -> None:
        part = Part(name, command, self.environment, self.home / f"{name}.log")
        self.parts[name] = part
        self.stack.callback(part.stop)
        part.start()

    def _free_port(self) -> int:
        """The port asked for, or another if it is taken."""
        for port in (self.port, 0):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
                found = int(probe.getsockname()[1])
                if found != self.port and self.port:
                    self.say(f"Port {self.port} is taken; using {found}.")
                return found
        raise ServerError("no free port on 127.0.0.1")

    @property
    def client_file(self) -> Path:
        """The address and the token, for the command line."""
        return self.home / CLIENT

    def _token(self) -> str:
        """A token of this machine's administrator: the one of an earlier start while it is valid, else a new one."""
        kept = json.loads(self.client_file.read_text())["token"] if self.client_file.exists() else ""
        with transaction(self.database) as session:
            return kept if tokens.bearer(session, kept) else self._new_token(session)

    def _new_token(self, session: Session) -> str:
        return tokens.issue(session, tokens.user_named(session, "admin", "admin"), "this machine")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            self._fail_if_ended()
            try:
                if httpx.get(f"{self.url}/api/v1/readyz", timeout=2).status_code == 200 and self._has_worker():
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.2)
        raise ServerError(
            f"the service is not ready after {READY_SECONDS:.0f} s; see {self.home}/api.log and worker.log"
        )

    def _has_worker(self) -> bool:
        headers = {"Authorization": f"Bearer {self.token}"}
        return bool(httpx.get(f"{self.url}/api/v1/workers", headers=headers, timeout=2).json()["items"])

    def _fail_if_ended(self) -> None:
        for part in self.parts.values():
            if not part.running:
                tail = "\n".join(part.log.read_text(errors="replace").splitlines()[-15:])
                raise ServerError(f"the {part.name} did not start; the end of {part.log}:\n{tail}")

    def tend(self) -> None:
        """Start again what has died, and begin again what logs have become too long."""
        for server in self.servers:
            if not server.running:
                self.say(f"{server.name} has ended; starting it again.")
                server.start()
        for part in self.parts.values():
            if not part.running:
                self.say(f"The {part.name} has ended; starting it again.")
                part.start()
        for path in (*(part.log for part in self.parts.values()), *(server.log for server in self.servers)):
            rotate(path)

    def stop(self) -> None:
        """Stop everything in reverse order: running jobs save and leave first."""
        self.stack.close()

    def __enter__(self) -> "Stack":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
