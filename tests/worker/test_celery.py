"""A Celery worker as it runs in production, with attempts that fail at once: slots, logs, an end when told to."""

import base64
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from made import queue
from store import feed, jobs, records, tokens, workers
from store import queue as bell
from store.database import transaction
from store.tables import Slot
from worker.transport import bell as bell_of_our_own


@pytest.fixture
def said(tmp_path_factory) -> Path:
    """What the worker writes to its standard error stream."""
    return tmp_path_factory.mktemp("said") / "log"


@pytest.fixture
def celery(database: Session, tmp_path, said: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker with two slots on the CPU, as somebody starts it who does not know that gossip is of no use."""
    command = [
        sys.executable,
        "-m",
        "celery",
        "--quiet",
        "-A",
        "worker.app",
        "worker",
        "--loglevel",
        "warning",
        "--without-mingle",
    ]
    changed = {"SPARRING_CPU_SLOTS": "2", "SPARRING_HEARTBEAT_SECONDS": "0.2", "SPARRING_WORK": str(tmp_path)}
    changed["SPARRING_REAPER_SECONDS"] = "1"  # the tests' own api sleeps, a worker does not
    changed |= {"SPARRING_LOG_FORMAT": "json", "CUDA_VISIBLE_DEVICES": ""}
    with said.open("wb") as log, subprocess.Popen(command, env=os.environ | changed, stderr=log) as process:
        yield process
        process.kill()


def until(condition: Callable[[Session], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with transaction() as session:
            if condition(session):
                return
        time.sleep(0.05)
    pytest.fail(f"not within {seconds} s: {what}")


def busy(session: Session) -> int:
    return session.execute(select(func.count(func.distinct(Slot.number))).where(Slot.job_id.is_not(None))).scalar()


def test_a_worker_with_two_slots_runs_two_jobs_at_once_and_cleans_up(
    database: Session, celery, tmp_path, said: Path
) -> None:
    """The specification is none, so each attempt fails as soon as torch is there; the logs say so, a JSON object a line."""
    asked = [queue(database, tokens.user_named(database, "ada")).id for _ in range(2)]
    database.commit()
    bell.ring()
    until(lambda session: busy(session) == 2, 30, "two slots taken")
    until(lambda session: all(jobs.find(session, one).state == "failed" for one in asked), 60, "two jobs ended")
    until(lambda session: all(records.files(session, one) for one in asked), 20, "two logs")
    for one in asked:
        path, _ = records.file(database, one, "attempt-1.log")
        (line,) = [line for line in map(json.loads, path.read_text().splitlines()) if "error" in line]
        assert "ValidationError" in line["error"]
        assert (line["job"], line["fence"]) == (str(one), 1)
    until(lambda _: os.listdir(tmp_path) == ["slots"], 5, "no folders left")
    celery.send_signal(signal.SIGTERM)
    assert celery.wait(60) == 0
    lines = [json.loads(line) for line in said.read_text().splitlines() if line.startswith("{")]
    assert any(line["message"].endswith("offers cpu:0 x 2") for line in lines)
    assert not any("run_next" in line["message"] for line in lines)
    begun = [line for line in lines if line["message"].startswith("an attempt begins on cpu:0")]
    assert {line["job"] for line in begun} == set(map(str, asked))
    assert [(line["logger"], line["fence"], len(line["worker"])) for line in begun] == [("worker.tasks", 1, 36)] * 2


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def malformed(trap: str) -> dict[str, bytes]:
    """Items that no bell of ours looks like."""
    pickled = pickle.dumps(Trap(trap))
    coded = base64.b64encode(pickled).decode()
    good = bell_of_our_own()
    return {
        "no JSON": b"ring",
        "pickle": pickled,
        "no object": b"[1, 2]",
        "nothing": b"null",
        "no properties": json.dumps({key: value for key, value in good.items() if key != "properties"}).encode(),
        "a pickled body": json.dumps(good | {"body": coded, "content-type": "application/x-python-serialize"}).encode(),
        "another task": json.dumps(good | {"headers": good["headers"] | {"task": "os.system", "id": 7}}).encode(),
        "headers of another kind": json.dumps(good | {"headers": "spr", "content-encoding": "rot13"}).encode(),
        "deep nesting": b"[" * 100_000,
        "a body that is no base64": json.dumps(good | {"body": "*"}).encode(),
    }


def test_p23_what_is_no_bell_runs_nothing_and_stops_no_worker(database: Session, celery, tmp_path) -> None:
    trap, broker = str(tmp_path / "trap"), feed.connection()
    until(lambda session: bool(workers.living(session, 30)), 60, "a worker")
    items = malformed(trap)
    assert len(items) >= 8
    for item in items.values():
        broker.lpush(bell.QUEUE, item)
    with bell.celery() as app, app.connection() as connection:
        app.events.Dispatcher(connection, hostname="another@host").send("worker-heartbeat", freq=2.0)
    until(lambda _: not broker.exists(bell.QUEUE), 30, "all items taken")
    asked = queue(database, tokens.user_named(database, "ada")).id
    database.commit()
    bell.ring()
    until(lambda session: jobs.find(session, asked).fence > 0, 30, "a job started by the worker that goes on")
    assert celery.poll() is None
    assert not os.path.exists(trap)
    celery.send_signal(signal.SIGTERM)
    celery.wait(60)
    assert broker.hlen("unacked") == 0, "nothing waits for the next worker"
