"""How a worker starts: it waits for the database, or ends; it clears away what an earlier one left and nothing else."""

import importlib
import os
import socket
import subprocess
import uuid
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from made import CPU, queue
from store import attempts, jobs, tokens, workers
from store import database as database_module
from store.settings import settings
from worker.processes import start_time
from worker.supervisor import folder


@pytest.fixture
def app(database: Session, monkeypatch) -> ModuleType:
    """The worker without its threads, on a machine with a processor; its import reads the settings."""
    app = importlib.import_module("worker.app")
    quiet = SimpleNamespace(start=lambda: None)
    monkeypatch.setattr(app, "reaper", quiet)
    monkeypatch.setattr(app, "devices", lambda: [CPU])
    monkeypatch.setattr(app.threading, "Thread", lambda **_: quiet)
    monkeypatch.setattr(database_module.time, "sleep", lambda _: None)
    monkeypatch.setenv(app.WORKER_ID, "nobody")
    database.commit()
    return app


def test_a_worker_that_starts_while_postgres_is_away_waits_and_registers(database: Session, app, monkeypatch) -> None:
    original, away = database_module.transaction, [True, True]

    @contextmanager
    def sometimes(*arguments):
        if away:
            raise OperationalError("connect", {}, Exception(f"refused {away.pop()}"))
        with original(*arguments) as session:
            yield session

    for module in (database_module, app):
        monkeypatch.setattr(module, "transaction", sometimes)
    app.start()
    assert [str(found.id) for found, _ in workers.living(database, 30)] == [os.environ[app.WORKER_ID]]


def test_a_worker_that_cannot_register_ends(app, monkeypatch) -> None:
    def broken(*_: object) -> uuid.UUID:
        raise ProgrammingError("INSERT", {}, Exception("relation workers does not exist"))

    monkeypatch.setattr(workers, "register", broken)
    with pytest.raises(SystemExit, match="does not exist"):
        app.start()


def attempt_of(session: Session, process: "subprocess.Popen[bytes]") -> tuple[uuid.UUID, int]:
    """A running attempt of a worker of this host, with that process and a folder."""
    worker = workers.register(session, socket.gethostname(), 1, [CPU])
    queue(session, tokens.user_named(session, "ada"))
    claimed = jobs.claim(session, worker)
    attempts.started(session, claimed.job_id, claimed.fence, process.pid, start_time(process.pid))
    folder(claimed.job_id, claimed.fence).mkdir(parents=True)
    session.commit()
    return claimed.job_id, claimed.fence


def test_a_second_worker_of_a_host_leaves_the_attempts_of_the_first_alone(database: Session, app) -> None:
    with subprocess.Popen(["sleep", "20"], start_new_session=True) as process:
        key = attempt_of(database, process)
        app.start()
        assert process.poll() is None
        assert folder(*key).exists()
        process.kill()


def test_what_a_lost_worker_of_the_host_left_is_cleared_away(database: Session, app) -> None:
    with subprocess.Popen(["sleep", "20"], start_new_session=True) as process:
        key = attempt_of(database, process)
        database.execute(text("UPDATE jobs SET lease_until = now() - interval '1 second'"))
        database.commit()
        app.start()
        assert process.wait(5) < 0
    assert not folder(*key).exists()
    assert settings().work.exists()
