"""What is done beside a service on one machine: logs that do not grow, a module run with its settings."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from local import rotation, within
from local.postgres import Postgres
from local.rotation import rotate
from store import feed, jobs
from store.database import engine, transaction


def test_a_log_begins_again_when_it_is_too_long_and_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"a" * 101)
        assert rotate(log, 100)
        writer.write(b"b" * 100)
        assert not rotate(log, 100)
        writer.write(b"c")
        assert (log.read_bytes(), (tmp_path / "log.1").read_bytes()) == (b"b" * 100 + b"c", b"a" * 101)
        assert rotate(log, 100)
    assert ((tmp_path / "log.1").read_bytes(), log.read_bytes()) == (b"b" * 100 + b"c", b"")
    assert not rotate(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["log", "log.1"])
def test_no_link_is_followed(tmp_path: Path, name: str) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"x" * 101)
    if name == "log.1":
        (tmp_path / "log").write_bytes(b"y" * 101)
    (tmp_path / name).symlink_to(other)
    with pytest.raises(OSError, match="symbolic links"):
        rotate(tmp_path / "log", 100)
    assert other.read_bytes() == b"x" * 101


def test_the_launcher_looks_after_the_logs_of_its_servers(tmp_path: Path, monkeypatch) -> None:
    from local.stack import Stack

    monkeypatch.setattr("local.stack.rotate", lambda path: rotation.rotate(path, 10))
    with Postgres(tmp_path / "postgres") as server:
        stack = Stack(tmp_path, 0, lambda _: None)
        stack.servers = [server]
        before = server.log.read_bytes()
        assert len(before) > 10
        stack.tend()
        assert (server.log.stat().st_size, server.log.with_name("log.1").read_bytes()) == (0, before)


def said(home: Path, module: str, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPARRING_")}
    command = [sys.executable, "-m", "local.within", str(home), module, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_backup_is_restored_to_a_home_that_is_not_there_yet_and_made_beside_a_service_that_runs(
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with Postgres(first / "postgres") as server:
        import migrations
        from made import queue
        from store import tokens

        migrations.upgrade(server.url)
        with transaction(server.url) as session:
            job_id = queue(session, tokens.user_named(session, "ada")).id
        assert "at revision" in said(first, "store.backup", str(tmp_path / "backup"))
        engine(server.url).dispose()
    assert "rows restored" in said(second, "migrations.restore", str(tmp_path / "backup"))
    assert "files that no row names: 0 with 0 bytes" in said(second, "store.retention", "--dry-run")
    with Postgres(second / "postgres") as server:
        with transaction(server.url) as session:
            assert jobs.find(session, job_id).state == "queued"
            assert len(feed.read(session, job_id)) == 1
        engine(server.url).dispose()


def test_where_no_postgres_can_be_started_it_says_why(tmp_path: Path, monkeypatch, capsys) -> None:
    for name in [name for name in os.environ if name.startswith("SPARRING_")]:
        monkeypatch.delenv(name)
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "mine").write_text("not a server's")
    assert within.main(str(tmp_path), "store.retention") == 5
    assert "holds files that are not a server's" in capsys.readouterr().err
