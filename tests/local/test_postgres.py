"""What holds for the embedded Postgres alone."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
import sqlalchemy

from local import postgres
from local.binary import find
from local.errors import ServerError
from local.postgres import Postgres
from local.server import CHILD
from witness import crash, end, eventually, kill, notes, processes_in, sql, write

PROGRAM = find(postgres.PROGRAM, "")
NO_PORT = {"listen_addresses": "", "unix_socket_directories": "."}


def pid_file(folder: Path) -> Path:
    """The pid file that a killed Postgres leaves."""
    with Postgres(folder) as server:
        write(server, "kept")
        crash(server)
    return folder / "data" / "postmaster.pid"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A running Postgres, for tests that only look at it."""
    with Postgres(tmp_path_factory.mktemp("running") / "server") as server:
        yield server


def test_sqlalchemy_connects_with_the_url(server):
    engine = sqlalchemy.create_engine(server.url, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        query = "SELECT current_database(), current_user, getdatabaseencoding(), datcollate FROM pg_database LIMIT 1"
        assert connection.exec_driver_sql(query).one() == ("sparring", "sparring", "UTF8", "C")


def test_checksums_are_on_and_tcp_is_off(server):
    for name, value in {"data_checksums": "on", "listen_addresses": "", "password_encryption": "scram-sha-256"}.items():
        assert sql(server, f"SHOW {name}") == [(value,)]


def test_the_password_is_asked_for_and_stands_only_in_its_private_file(server):
    path = server.folder.path
    password = (path / "password").read_text()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.url.replace("+psycopg", "").replace(password, "guess"))
    lines = [Path(f"/proc/{pid}/cmdline").read_text() for pid in processes_in(path)]
    assert len(lines) > 1
    assert not [line for line in lines if password in line]
    assert (path / "password").stat().st_mode & 0o777 == 0o600
    assert password not in (path / "log").read_text()


def test_the_launchers_environment_is_not_the_servers(folder, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("PGPORT", "1")
    with Postgres(folder) as server:
        assert sql(server, "SHOW TimeZone") == [("UTC",)]


def test_a_start_of_an_existing_database_takes_under_three_seconds(folder):
    with Postgres(folder):
        pass
    started = time.monotonic()
    with Postgres(folder):
        assert time.monotonic() - started < 3


def test_a_stop_does_not_wait_for_clients(folder):
    server = Postgres(folder)
    server.start()
    with psycopg.connect(server.url.replace("+psycopg", "")) as idle:
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < 3
        idle.close()


def test_a_half_written_pid_file_does_not_stop_a_start(folder):
    file = pid_file(folder)
    for text in ("", "garbage\x00\n", "12", "-1\n/nowhere\n"):
        file.write_text(text)
        with Postgres(folder) as server:
            assert notes(server) == ["kept"]


def test_a_pid_file_that_names_somebody_elses_process_does_not_stop_a_start(folder):
    file = pid_file(folder)
    other = subprocess.Popen(["sleep", "60"], user=file.stat().st_uid)
    file.write_text(f"{other.pid}\n" + file.read_text().split("\n", 1)[1])
    with Postgres(folder) as server:
        assert notes(server) == ["kept"]
    assert other.poll() is None
    other.kill()
    other.wait()


def test_an_initdb_killed_half_way_does_not_hinder_the_next_start(folder, launch):
    launcher = launch(Postgres)
    eventually(lambda: (folder / "new" / "base" / "1").exists())
    kill(*processes_in(folder))
    end(launcher)
    assert not (folder / "data").exists()
    assert list((folder / "new").iterdir())
    with Postgres(folder) as server:
        write(server, "here")
    assert not (folder / "new").exists()


def test_a_query_that_outlives_a_killed_postgres_does_not_hinder_the_next_start(folder, monkeypatch):
    monkeypatch.setattr("local.folder.GRACE", 0.5)
    with Postgres(folder) as server:
        with psycopg.connect(server.url.replace("+psycopg", "")) as connection:
            busy = connection.info.backend_pid
            connection.pgconn.send_query(b"DO $$ BEGIN LOOP END LOOP; END $$")
            time.sleep(0.2)
            crash(server)
            server.start()
            connection.close()
        assert busy not in processes_in(folder)
        write(server, "here")


def test_a_postgres_that_somebody_started_by_hand_is_not_joined_by_a_second(folder):
    with Postgres(folder) as server:
        write(server, "kept")
    become = [CHILD, server.folder.account, int(server.farewell), os.getpid()]
    by_hand = [sys.executable, *become, PROGRAM, "-D", "/proc/self/cwd", *postgres.options(NO_PORT)]
    process = subprocess.Popen(map(str, by_hand), cwd=folder / "data", stderr=subprocess.DEVNULL)
    file = folder / "data" / "postmaster.pid"
    eventually(lambda: file.exists() and "ready" in file.read_text())
    with pytest.raises(ServerError, match=r"pre-existing shared memory block .* is still in use"):
        Postgres(folder).start()
    process.terminate()
    process.wait()


def test_an_installation_in_a_closed_folder_works(folder, tmp_path, monkeypatch):
    for tree in postgres.TREES:
        shutil.copytree(PROGRAM.parents[3] / tree, tmp_path / tree)
    monkeypatch.setattr("local.binary.find", lambda program, advice: tmp_path / program)
    with Postgres(folder) as server:
        write(server, "here")
        assert server.folder.sockets.stat().st_mode & 0o777 == 0o700
