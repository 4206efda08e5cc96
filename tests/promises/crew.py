"""The whole service with several workers, real processes all, whose attempts do a science of milliseconds (`tiny`)."""

import os
import signal
import uuid
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text

from local.server import Server
from local.stack import Part, Stack
from promises.processes import marked
from store.database import engine, transaction
from store.queue import QUEUE, TASK

TESTS = Path(__file__).parents[1]


class Hand(Part):
    """A worker. Each of its lives has a mark in the environment, by which all processes of that life are known."""

    mark = ""

    def start(self) -> None:
        """Start it, in a life of its own."""
        self.mark = f"PROMISES_LIFE={uuid.uuid4().hex}"
        name, _, value = self.mark.partition("=")
        self.environment = self.environment | {name: value}
        super().start()

    @property
    def pid(self) -> int:
        """The process id of its first process."""
        assert self.process, "start it first"
        return self.process.pid

    def signal(self, number: int) -> None:
        """Send all its processes a signal."""
        for pid in marked(self.mark):
            with_pid(pid, number)

    def kill(self) -> None:
        """`kill -9` of the worker; what it has started must end by itself."""
        assert self.process, "start it first"
        self.process.kill()
        self.process.wait()


def with_pid(pid: int, number: int) -> None:
    """Send a signal to a process that may have ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


class Crew(Stack):
    """The service with `size` workers; with wrong clocks theirs are wrong by an hour, every other one the other way."""

    def __init__(self, home: Path, size: int, wrong_clocks: bool = False, **settings: str) -> None:
        super().__init__(home, 0, lambda _: None, **settings)
        self.size, self.wrong_clocks = size, wrong_clocks

    @property
    def hands(self) -> list[Hand]:
        """The workers."""
        return [part for part in self.parts.values() if isinstance(part, Hand)]

    @property
    def postgres(self) -> Server:
        """The database's server."""
        return self.servers[0]

    @property
    def broker(self) -> Server:
        """The broker."""
        return self.servers[1]

    @property
    def traces(self) -> Path:
        """Where the attempts write what they do, whatever the database says."""
        return self.home / "traces"

    def _add(self, name: str, command: list[str]) -> None:
        if name != "worker":
            return super()._add(name, command)
        self.traces.mkdir(exist_ok=True)
        for number in range(self.size):
            self._hire(f"worker-{number}", 3600 * (-1) ** number if self.wrong_clocks else 0)
        return None

    def _has_worker(self) -> bool:
        return self.size == 0 or super()._has_worker()

    def _hire(self, name: str, clock: int) -> None:
        own = {
            "SPARRING_WORK": str(self.home / name),
            "PROMISES_TRACES": str(self.traces),
            "PROMISES_CLOCK": str(clock),
        }
        own |= {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]), "CUDA_VISIBLE_DEVICES": ""}
        command = ["-m", "celery", "-A", "promises.hands", "worker", "-n", f"{name}@%h", "--loglevel", "info"]
        hand = Hand(name, [*command, "--without-mingle"], self.environment | own, self.home / f"{name}.log")
        self.parts[name] = hand
        self.stack.callback(hand.stop)
        hand.start()

    def stop(self) -> None:
        """Stop everything, and let go of the database."""
        if hasattr(self, "database"):
            engine(self.database).dispose()
        super().stop()

    # ---- asking it

    def sql(self, query: str, **values: Any) -> list[Any]:
        """The rows of a statement."""
        with transaction(self.database) as session:
            found = session.execute(text(query), values)
            return list(found.all()) if found.returns_rows else []

    def http(self, timeout: float = 30) -> httpx.Client:
        """A client of the api."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=timeout)

    def submit(self, client: httpx.Client, name: str) -> str:
        """Submit a tiny job (`tiny.Name`) and return its id."""
        answer = client.post("/jobs", json=tiny(name))
        assert answer.status_code == 201, answer.text
        return str(answer.json()["jobs"][0]["id"])

    def state(self, job: str) -> str:
        """The state of a job."""
        return str(self.sql("SELECT state FROM jobs WHERE id = :job", job=job)[0][0])

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        return dict(map(tuple, self.sql("SELECT state, count(*) FROM jobs GROUP BY state")))

    def working(self) -> dict[str, str]:
        """The workers that run a job, by name, and which attempt, as the traces are named."""
        rows = self.sql(
            "SELECT w.pid, j.id || '.' || j.fence FROM jobs j JOIN workers w ON w.id = j.worker_id WHERE j.state = 'running'"
        )
        attempts = dict(map(tuple, rows))
        return {hand.name: attempts[hand.pid] for hand in self.hands if hand.pid in attempts}

    def trace(self, attempt: str) -> str:
        """What an attempt has done so far; nothing if it has not come to its science."""
        path = self.traces / attempt
        return path.read_text() if path.exists() else ""

    def ring(self, times: int) -> None:
        """Ring bells that nobody asked for."""
        from celery import Celery

        with Celery(broker=self.environment["SPARRING_BROKER_URL"]) as app:
            for _ in range(times):
                app.send_task(TASK, queue=QUEUE, ignore_result=True, retry=False)


def tiny(name: str) -> dict[str, Any]:
    """A specification that the api takes and that `tiny` reads by its name."""
    return {
        "name": name,
        "dataset": "fashion_mnist_sample",
        "model": "lenet5",
        "train": {"epochs": 5},
        "resources": {"gpus": 0},
    }


FROZEN, THAWED = signal.SIGSTOP, signal.SIGCONT
