"""A backup under load, restored to an empty machine: every row of its moment, every file right."""

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, Table, event, func, select, text
from sqlalchemy.orm import Session

from core.events import CheckpointSaved
from core.files import sha256
from local.postgres import Postgres
from made import ALL, CPU, queue
from migrations import restore
from store import artifacts, backup, feed, jobs, records, team, tokens, workers
from store.database import Base, engine, transaction
from store.settings import settings
from store.tables import Artifact, Checkpoint, Job
from worker.recorder import Recorder


class Elsewhere:
    """Another machine: a Postgres of its own, without a table, and an empty folder of files."""

    def __init__(self, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.url, self.folder, self.monkeypatch = url, folder, monkeypatch

    def restore(self, backup: Path) -> str:
        """Restore there, in a process of its own, and look for files there from now on; returns what it said."""
        there = {"SPARRING_DATABASE_URL": self.url, "SPARRING_FILES": str(self.folder)}
        command = [sys.executable, "-m", "migrations.restore", str(backup)]
        done = subprocess.run(command, env=os.environ | there, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.monkeypatch.setenv("SPARRING_FILES", str(self.folder))
        settings.cache_clear()
        return done.stdout


@pytest.fixture
def elsewhere(servers, tmp_path: Path, monkeypatch) -> Iterator[Elsewhere]:
    with Postgres(tmp_path / "other") as other:
        yield Elsewhere(other.url, tmp_path / "other-files", monkeypatch)
        engine(other.url).dispose()
        monkeypatch.undo()
        settings.cache_clear()


@pytest.fixture
def files(servers, tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("SPARRING_FILES", str(tmp_path / "files"))
    settings.cache_clear()
    return tmp_path / "files"


def made(folder: Path, name: str) -> tuple[Path, str]:
    path = folder / f"{name}-{uuid.uuid4().hex}"
    path.write_bytes(os.urandom(2000))
    return path, sha256(path)


class Load:
    """Jobs that are submitted, claimed, and run for as long as they are let: checkpoints replaced, artifacts made."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.stop = folder, threading.Event()
        self.failed: list[BaseException] = []
        self.threads = [threading.Thread(target=self._safely, args=(work,)) for work in (self._submit, self._run)]

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()
        assert self.failed == []

    def _safely(self, work: Any) -> None:
        try:
            work()
        except BaseException as error:
            self.failed.append(error)

    def _submit(self) -> None:
        while not self.stop.is_set():
            with transaction() as session:
                queue(session, tokens.user_named(session, "ada"))

    def _run(self) -> None:
        with transaction() as session:
            worker = workers.register(session, "host", 1, [CPU])
        while not self.stop.is_set():
            with transaction() as session:
                claimed = jobs.claim(session, worker)
            if claimed:
                self._attempt(claimed.job_id, claimed.fence)

    def _attempt(self, job_id: uuid.UUID, fence: int) -> None:
        with transaction() as session:
            recorder = Recorder(job_id, fence, jobs.find(session, job_id).last_seq)
        for epoch in range(5):
            path, digest = made(self.folder, "checkpoint")
            recorder.record(CheckpointSaved(phase="train", epoch=epoch, batch=0, path=str(path), sha256=digest))
        path, digest = made(self.folder, "model")
        artifacts.put(path, digest)
        with transaction() as session:
            records.artifact(session, job_id, "model", digest, 2000, {})
            jobs.succeed(session, job_id, fence)


def rows(url: str | None = None) -> dict[str, int]:
    with transaction(url) as session:
        return {
            t.name: session.execute(select(func.count()).select_from(t)).scalar_one()
            for t in Base.metadata.sorted_tables
        }


def unsound(url: str | None = None) -> list[str]:
    with transaction(url) as session:
        named = [(one.sha256, None) for one in session.scalars(select(Artifact))]
        named += [(one.sha256, one.job_id) for one in session.scalars(select(Checkpoint))]
    return [digest for digest, job_id in named if not artifacts.sound(digest, job_id)]


def test_p26_a_backup_under_load_is_all_there_on_an_empty_machine(
    database, files, elsewhere, tmp_path: Path, keep: Callable[..., None]
) -> None:
    folder, copied = tmp_path / "backup", threading.Event()
    (tmp_path / "made").mkdir()
    slow = backup.copied

    def slowly(*arguments: Any) -> bool:
        """Under load the files are copied while the attempt replaces its checkpoints five times."""
        copied.wait(0.01)
        return slow(*arguments)

    with Load(tmp_path / "made"), pytest.MonkeyPatch.context() as patch:
        while rows()["artifacts"] < 5:
            threading.Event().wait(0.05)
        before = set(ids())
        patch.setattr(backup, "copied", slowly)
        assert backup.save(folder) == []
        after = set(ids())
    here = rows()
    told = json.loads((folder / "tables" / backup.MANIFEST).read_text())["rows"]
    assert f"{sum(told.values())} rows restored" in elsewhere.restore(folder)
    assert rows(elsewhere.url) == told
    assert before <= set(ids(elsewhere.url)) <= after
    assert 0 < told["jobs"] < here["jobs"], "it was under load"
    assert told["checkpoints"] > 0
    assert told["artifacts"] >= 5
    wrong, kept = unsound(elsewhere.url), told["artifacts"] + told["checkpoints"]
    keep(not wrong, f"{kept - len(wrong)} of {kept} digests right", files=kept, rows=sum(told.values()))
    with transaction(elsewhere.url) as session:  # each job's events are whole, and the restored service goes on
        for job in session.scalars(select(Job)):
            assert [one.seq for one in feed.read(session, job.id)] == list(range(1, job.last_seq + 1))
        records.checkpoint(session, job.id, 1, {"phase": "train", "epoch": 9, "batch": 0, "sha256": "0" * 64})
        added, newest = queue(session, job.owner_id), team.newest(session)
        assert added.number == told["jobs"] + 1
        team.place(session)
        assert added.id in {one.job_id for one in team.read(session, newest, 10_000, ALL)}


def ids(url: str | None = None) -> list[uuid.UUID]:
    with transaction(url) as session:
        return list(session.scalars(select(Job.id)))


def test_the_next_backup_into_the_folder_copies_new_files_only(database: Session, ada, files, tmp_path: Path) -> None:
    def model(name: str) -> str:
        path, digest = made(tmp_path, name)
        artifacts.put(path, digest)
        records.artifact(database, job.id, name, digest, 2000, {})
        database.commit()
        return digest

    job, folder = queue(database, ada), tmp_path / "backup"
    first = model("a")
    backup.save(folder)
    kept = backup.kept((first, None), folder / "files")
    was = kept.stat().st_mtime_ns, kept.stat().st_ino
    second = model("b")
    assert backup.save(folder) == []
    assert (kept.stat().st_mtime_ns, kept.stat().st_ino) == was
    assert sha256(backup.kept((second, None), folder / "files")) == second


def test_a_file_that_is_damaged_or_missing_is_said(database: Session, ada, files, tmp_path: Path, capsys) -> None:
    job = queue(database, ada)
    records.artifact(database, job.id, "gone", "a" * 64, 1, {})
    path, digest = made(tmp_path, "x")
    artifacts.put(path, digest)
    records.artifact(database, job.id, "damaged", digest, 1, {})
    database.commit()
    artifacts.place(digest).write_bytes(b"damage")
    assert backup.main(str(tmp_path / "backup")) == 1
    said = capsys.readouterr().err
    assert "a" * 64 in said
    assert digest in said
    assert not backup.kept((digest, None), tmp_path / "backup" / "files").exists()


def test_checkpoints_stay_while_a_backup_is_under_way(database: Session, ada, files, tmp_path: Path) -> None:
    claimed_by = workers.register(database, "host", 1, [CPU])
    job = queue(database, ada)
    claimed = jobs.claim(database, claimed_by)
    database.commit()
    database.refresh(job)
    recorder = Recorder(job.id, claimed.fence, job.last_seq)

    def save(epoch: int) -> str:
        path, digest = made(tmp_path, "checkpoint")
        recorder.record(CheckpointSaved(phase="train", epoch=epoch, batch=0, path=str(path), sha256=digest))
        return digest

    digests = [save(0), save(1)]
    with transaction() as other:
        other.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": backup.LOCK})
        digests.append(save(2))
        assert artifacts.sound(digests[0], job.id)
    digests.append(save(3))
    assert [artifacts.sound(digest, job.id) for digest in digests] == [True, False, True, True]


def test_a_backup_of_an_earlier_version_is_restored_and_brought_forward(
    database: Session, ada, files, elsewhere, tmp_path: Path
) -> None:
    """As an earlier version would have written it: without the tables and columns that came later."""
    queue(database, ada)
    database.commit()
    folder, later = tmp_path / "backup", {("events", "position"), ("attempts", "refused"), ("results", "outcomes")}

    def table(now: Table) -> Any:
        return SimpleNamespace(name=now.name, columns=[c for c in now.columns if (now.name, c.name) not in later])

    there = [now for now in Base.metadata.sorted_tables if now.name not in ("webhooks", "deliveries")]
    then = SimpleNamespace(sorted_tables=[table(now) for now in there])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backup, "Base", SimpleNamespace(metadata=then))
        backup.save(folder)
    path = folder / "tables" / backup.MANIFEST
    path.write_text(path.read_text().replace('"revision": "0007"', '"revision": "0003"'))
    elsewhere.restore(folder)
    with transaction(elsewhere.url) as session:
        (event,) = feed.read(session, session.scalars(select(Job.id)).one())
        assert (event.kind, event.position) == ("state_changed", 1)


@contextmanager
def hasty(engine: Engine) -> Iterator[None]:
    """Postgres ends every transaction that is idle for a second, unless it says otherwise; a file takes longer."""
    copied = backup.copied

    def begin(connection: Connection) -> None:
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '1s'"))

    def slowly(*arguments: Any) -> bool:
        threading.Event().wait(1.5)
        return copied(*arguments)

    event.listen(engine, "begin", begin)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backup, "copied", slowly)
        yield
    event.remove(engine, "begin", begin)


def test_files_may_take_longer_than_a_transaction_may_be_idle(
    database: Session, ada, files, elsewhere, tmp_path: Path, monkeypatch
) -> None:
    path, digest = made(tmp_path, "model")
    artifacts.put(path, digest)
    records.artifact(database, queue(database, ada).id, "model", digest, 2000, {})
    database.commit()
    with hasty(engine()):
        assert backup.save(tmp_path / "backup") == []
    monkeypatch.setenv("SPARRING_DATABASE_URL", elsewhere.url)
    monkeypatch.setattr(restore, "engine", lambda: engine(elsewhere.url))
    settings.cache_clear()
    with hasty(engine(elsewhere.url)):
        _, damaged = restore.restore(tmp_path / "backup")
    assert damaged == []
    assert rows(elsewhere.url) == rows()


def test_nothing_is_restored_over_what_is_there(database: Session, ada, files, tmp_path: Path, capsys) -> None:
    backup.save(tmp_path / "backup")
    assert restore.main(str(tmp_path / "backup")) == 2
    assert "has tables already" in capsys.readouterr().err
    assert restore.main(str(tmp_path)) == 2
    assert "no whole backup" in capsys.readouterr().err
