"""What retention removes, what it leaves, and that a dry run counts the same and removes nothing."""

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, func, select, text
from sqlalchemy.orm import Session

from core.files import sha256
from made import CPU, queue
from store import artifacts, backup, jobs, records, requests, retention, tokens, webhooks, workers
from store.database import Base, engine, transaction
from store.settings import settings
from store.tables import Artifact, Checkpoint, Job, Slot, Worker


@pytest.fixture
def folders(servers, tmp_path: Path, monkeypatch) -> Iterator[Path]:
    """Folders of our own, in which every file is old at once."""
    for name in ("files", "work"):
        monkeypatch.setenv(f"SPARRING_{name.upper()}", str(tmp_path / name))
    monkeypatch.setenv("SPARRING_ORPHAN_DAYS", "1e-12")
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


def put(folder: Path, job_id: uuid.UUID | None = None, size: int = 1000) -> str:
    path = folder / "made"
    path.write_bytes(os.urandom(size))
    digest = sha256(path)
    artifacts.put(path, digest, job_id)
    return digest


def checkpoint(session: Session, folder: Path, job: Job) -> str:
    digest = put(folder, job.id)
    records.checkpoint(session, job.id, 1, {"phase": "train", "epoch": 1, "batch": 0, "sha256": digest})
    return digest


def counts() -> dict[str, int]:
    with transaction() as session:
        rows = {
            t.name: session.execute(select(func.count()).select_from(t)).scalar_one()
            for t in Base.metadata.sorted_tables
        }
    found = [path for folder in (settings().files, settings().work) for path in folder.rglob("*") if path.is_file()]
    return rows | {"files": len(found)}


def swept(dry_run: bool = False) -> dict[str, tuple[int, int, int]]:
    return {one.kind: (one.rows, len(one.paths), one.bytes) for one in retention.sweep(dry_run)}


def ended(session: Session, ada: uuid.UUID, days: float) -> Job:
    job = queue(session, ada)
    jobs.cancel(session, job.id)
    session.execute(text(f"UPDATE jobs SET ended_at = now() - interval '{days} days' WHERE id = :id"), {"id": job.id})
    return job


def furnish(session: Session, folder: Path, ada: uuid.UUID) -> dict[str, str]:
    """One thing of every kind that goes, and beside it one that stays."""
    old, recent, waiting = ended(session, ada, 31), ended(session, ada, 29), queue(session, ada)
    found = {
        name: checkpoint(session, folder, job) for name, job in (("old", old), ("recent", recent), ("waiting", waiting))
    }
    found |= {"unsaved": put(folder, waiting.id), "orphan": put(folder), "model": put(folder)}
    records.artifact(session, old.id, "model", found["model"], 1000, {})
    for key, hours in (("new", 23), ("stale", 25)):
        requests.remember(session, ada, key, b"1" * 32, {})
        age = f"UPDATE idempotency_keys SET created_at = now() - interval '{hours} hours' WHERE key = '{key}'"
        session.execute(text(age))
    hook = webhooks.add(session, ada, None, "https://example.org", ["job.failed"])
    for days in (31, 29):
        webhooks.test(session, hook).created_at = func.now() - func.make_interval(0, 0, 0, days)
    for name in ("valid", "expired", "revoked", "lately"):
        tokens.log_in(session, tokens.issue(session, ada, name))
    session.flush()
    for column, name, days in (
        ("expires_at", "expired", 91),
        ("revoked_at", "revoked", 91),
        ("revoked_at", "lately", 89),
    ):
        session.execute(text(f"UPDATE tokens SET {column} = now() - interval '{days} days' WHERE name = '{name}'"))
    for host, days in (("gone", 91), ("alive", 89), ("used", 91)):
        worker = workers.register(session, host, 1, [CPU])
        session.flush()
        if host == "used":
            assert jobs.claim(session, worker)
        session.execute(text(f"UPDATE workers SET seen_at = now() - interval '{days} days' WHERE host = '{host}'"))
    session.execute(text("UPDATE jobs SET lease_until = now() + interval '1 hour' WHERE state = 'running'"))
    held, dropped = settings().work / f"{waiting.id}-1", settings().work / f"{waiting.id}-0"
    for path in (held, dropped):
        path.mkdir(parents=True)
        (path / "file").write_bytes(b"x" * 100)
    session.commit()
    return found


def test_what_nobody_needs_goes_and_the_rest_stays_and_a_dry_run_says_so_before(
    database: Session, ada, folders
) -> None:
    digests = furnish(database, folders, ada)
    before = counts()
    told = swept(dry_run=True)
    assert counts() == before
    assert (
        swept()
        == told
        == {
            "checkpoints of ended jobs": (1, 0, 0),
            "answers kept for repeated requests": (1, 0, 0),
            "deliveries of webhooks": (1, 0, 0),
            "browser sessions": (2, 0, 0),
            "tokens": (2, 0, 0),
            "slots of workers never seen again": (1, 0, 0),
            "workers without attempts, never seen again": (1, 0, 0),
            "files that no row names": (0, 1, 1000),
            "checkpoints that no row names": (0, 2, 2000),
            "folders of attempts that do not run": (0, 1, 100),
        }
    )
    after = counts()
    gone = {
        "checkpoints": 1,
        "idempotency_keys": 1,
        "deliveries": 1,
        "sessions": 2,
        "tokens": 2,
        "slots": 1,
        "workers": 1,
        "files": 4,
    }
    assert after == {name: count - gone.get(name, 0) for name, count in before.items()}
    with transaction() as session:
        assert {one.sha256 for one in session.scalars(select(Checkpoint))} == {digests["recent"], digests["waiting"]}
        for one in session.scalars(select(Checkpoint)):
            assert artifacts.sound(one.sha256, one.job_id)
        assert all(artifacts.sound(one.sha256) for one in session.scalars(select(Artifact)))
        assert set(session.scalars(select(Worker.host))) == {"alive", "used"}
        assert (
            session.scalars(select(Slot).join(Worker, Worker.id == Slot.worker_id).where(Worker.host == "used"))
            .one()
            .job_id
        )
    assert swept() == dict.fromkeys(told, (0, 0, 0))


def test_a_file_that_is_just_being_put_is_left_alone(database: Session, ada, folders, monkeypatch) -> None:
    monkeypatch.setenv("SPARRING_ORPHAN_DAYS", "0.001")
    settings.cache_clear()
    digest = put(folders)
    path = artifacts.place(digest)
    os.utime(path, (0, 0))  # as old as its writer says; the renaming was now
    assert swept()["files that no row names"] == (0, 0, 0)
    assert path.exists()


def test_a_file_that_is_put_again_while_others_are_removed_stays(database: Session, ada, folders, monkeypatch) -> None:
    monkeypatch.setenv("SPARRING_ORPHAN_DAYS", str(1 / 86_400))
    settings.cache_clear()
    job, found = queue(database, ada), retention._files
    database.commit()
    path = folders / "made"
    path.write_bytes(b"found again")
    digest = sha256(path)
    artifacts.put(path, digest)
    other, time_to_age = put(folders), 1.2
    time.sleep(time_to_age)

    def meanwhile(session: Session) -> Iterator[retention.Swept]:
        yield from list(found(session))
        path.write_bytes(b"found again")
        artifacts.put(path, digest)
        records.artifact(database, job.id, "model", digest, 11, {})
        database.commit()

    monkeypatch.setattr(retention, "_files", meanwhile)
    assert swept()["files that no row names"][1] == 2
    assert artifacts.sound(digest)
    assert not artifacts.sound(other)


def test_no_backup_begins_before_the_last_file_is_gone(database: Session, folders, monkeypatch) -> None:
    put(folders)
    remove, free = retention._remove, []

    def looking(path: Path) -> None:
        with transaction() as other:
            asked = text("SELECT pg_try_advisory_xact_lock(:lock)")
            free.append(other.execute(asked, {"lock": backup.LOCK}).scalar())
        remove(path)

    monkeypatch.setattr(retention, "_remove", looking)
    retention.sweep(dry_run=False)
    assert free == [False]


def test_a_file_that_a_job_is_to_judge_stays_until_it_has_ended(database: Session, ada, folders) -> None:
    digest = put(folders)
    job = queue(database, ada, kind="evaluate", network={"job": None, "sha256": digest})
    database.commit()
    assert swept()["files that no row names"] == (0, 0, 0)
    jobs.cancel(database, job.id)
    database.commit()
    assert swept()["files that no row names"] == (0, 1, 1000)
    assert not artifacts.sound(digest)


def test_nothing_is_removed_while_a_backup_is_under_way(database: Session, ada, folders, capsys) -> None:
    digest = put(folders)
    with transaction() as other:
        other.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": backup.LOCK})
        with pytest.raises(retention.BackupUnderWay, match="a backup is under way"):
            retention.sweep(dry_run=False)
        assert retention.main([]) == 1
    assert artifacts.sound(digest)
    assert "a backup is under way" in capsys.readouterr().err


def test_looking_at_files_may_take_longer_than_a_transaction_may_be_idle(
    database: Session, folders, monkeypatch
) -> None:
    put(folders)
    old, begin = retention._old, text("SET LOCAL idle_in_transaction_session_timeout = '1s'")

    def hasty(connection: Connection) -> None:
        connection.execute(begin)

    def slowly(paths: Iterator[Path]) -> list[Path]:
        time.sleep(1.5)
        return old(paths)

    monkeypatch.setattr(retention, "_old", slowly)
    event.listen(engine(), "begin", hasty)
    try:
        assert swept()["files that no row names"][1] == 1
    finally:
        event.remove(engine(), "begin", hasty)


def test_the_command_says_what_and_how_many_bytes(database: Session, folders, capsys) -> None:
    put(folders, size=77)
    assert retention.main(["--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "files that no row names: 1 with 77 bytes\n" in told
    assert retention.main(["--force"]) == 2
    assert retention.main([]) == 0
    assert capsys.readouterr().out == told
