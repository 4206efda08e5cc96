"""The supervisor with stand-ins for the attempt's process: what it keeps, what it leaves behind, when it speaks."""

import errno
import os
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core.errors import Reason
from store import jobs, records
from store.schedule import Claim
from store.settings import settings
from worker import supervisor
from worker.supervisor import FAILED, Supervisor

FAILS_AND_LINGERS = f"""
import os, time, uuid
from core.errors import Reason
from store import jobs
from store.database import transaction
print("what went wrong", flush=True)
with transaction() as session:
    jobs.fail(session, uuid.UUID(os.environ["SPARRING_JOB"]), int(os.environ["SPARRING_FENCE"]), Reason.DATA, "no", RETRY)
time.sleep(1.2)
raise SystemExit({FAILED})
"""
STAYS = "import time; print('here', flush=True); time.sleep(60)"
FENCED = f"import time; print('fenced', flush=True); time.sleep(0.6); raise SystemExit({FAILED})"


@pytest.fixture
def work(monkeypatch, tmp_path: Path) -> Path:
    """A folder for attempts, and a heart that beats often."""
    changed = settings().model_copy(update={"work": tmp_path / "work", "heartbeat_seconds": 0.2})
    monkeypatch.setattr(supervisor, "settings", lambda: changed)
    return changed.work


def supervise(claimed: Claim, script: str) -> None:
    watching = Supervisor(claimed)
    watching.command = (sys.executable, "-c", script)
    watching.run()


def files(session: Session, claimed: Claim) -> list[str]:
    session.expire_all()
    return [file.name for file in records.files(session, claimed.job_id)]


@pytest.mark.parametrize("retry", [False, True])
def test_an_attempt_that_recorded_its_failure_leaves_its_log_and_no_folder(
    database: Session, claimed: Claim, work: Path, retry: bool
) -> None:
    """Its process takes a while to end; heartbeats in that while find no job of ours."""
    supervise(claimed, FAILS_AND_LINGERS.replace("RETRY", str(retry)))
    database.expire_all()
    job = jobs.find(database, claimed.job_id)
    assert (job.state, job.deaths) == ("queued" if retry else "failed", 1)
    path, _ = records.file(database, claimed.job_id, "attempt-1.log")
    assert "what went wrong" in path.read_text()
    assert os.listdir(work) == []


def test_a_process_that_dies_leaves_its_log_and_no_folder(database: Session, claimed: Claim, work: Path) -> None:
    supervise(claimed, "import os; print('last words', flush=True); os.kill(os.getpid(), 11)")
    database.expire_all()
    job = jobs.find(database, claimed.job_id)
    assert (job.state, job.reason) == ("queued", Reason.MACHINE)
    assert "SIGSEGV" in job.message
    assert files(database, claimed) == ["attempt-1.log"]
    assert os.listdir(work) == []


@pytest.mark.parametrize("script", [STAYS, FENCED])
def test_a_process_whose_job_was_lost_goes_and_nothing_more_is_written(
    database: Session, claimed: Claim, work: Path, monkeypatch, script: str
) -> None:
    monkeypatch.setattr(supervisor, "PARTING_SECONDS", 2)
    database.execute(text("UPDATE jobs SET lease_until = now() - interval '1 second'"))
    assert jobs.lose(database, claimed.job_id, claimed.fence)
    database.commit()
    supervise(claimed, script)
    assert files(database, claimed) == []
    assert os.listdir(work) == []
    assert jobs.find(database, claimed.job_id).deaths == 0


def test_the_heart_beats_when_it_is_due_and_not_before(
    database: Session, claimed: Claim, work: Path, monkeypatch
) -> None:
    changed = supervisor.settings().model_copy(update={"heartbeat_seconds": 2})
    monkeypatch.setattr(supervisor, "settings", lambda: changed)
    beats, heartbeat = [], jobs.heartbeat

    def heard(*arguments: object) -> str | None:
        beats.append(time.monotonic())
        return heartbeat(*arguments)

    monkeypatch.setattr(jobs, "heartbeat", heard)
    supervise(claimed, "import time; time.sleep(3.3)")
    assert len(beats) == 1


def test_two_attempts_of_a_job_work_in_folders_of_their_own(database: Session, claimed: Claim, work: Path) -> None:
    """On one machine the supervisor of the old one may still be clearing away."""
    old, new = Supervisor(claimed), Supervisor(claimed._replace(fence=claimed.fence + 1))
    for one in (old, new):
        one.folder.mkdir(parents=True)
    old.command = new.command = (sys.executable, "-c", "")
    old.run()
    assert not old.folder.exists()
    assert new.folder.exists()


def deadly(script: str, claimed: Claim, database: Session) -> tuple[str, str | None, str | None]:
    supervise(claimed, script)
    database.expire_all()
    job = jobs.find(database, claimed.job_id)
    return job.state, job.reason, job.message


def test_a_kill_that_was_not_ours_means_that_the_machines_memory_was_full(database, claimed: Claim, work: Path) -> None:
    state, reason, message = deadly("import os; os.kill(os.getpid(), 9)", claimed, database)
    assert (state, reason) == ("queued", Reason.HOST_OOM)
    assert message == "Its process was ended by SIGKILL, as the kernel does when the machine's memory is full."


def hastily(monkeypatch, **changes: float) -> None:
    changed = supervisor.settings().model_copy(update=changes)
    monkeypatch.setattr(supervisor, "settings", lambda: changed)


def test_a_run_that_says_nothing_for_too_long_is_killed_and_tried_again(
    database: Session, claimed: Claim, work: Path, monkeypatch
) -> None:
    hastily(monkeypatch, hung_seconds=1.0)
    state, reason, message = deadly(STAYS, claimed, database)
    assert (state, reason) == ("queued", Reason.HUNG)
    assert message == "It hung: its run said nothing for 1 s."


def test_a_run_that_says_something_now_and_then_does_not_hang(
    database: Session, claimed: Claim, work: Path, monkeypatch
) -> None:
    hastily(monkeypatch, hung_seconds=1.5)
    pulse = work / f"{claimed.job_id}-{claimed.fence}" / supervisor.PULSE
    alive = f"import time, pathlib\nfor _ in range(8):\n pathlib.Path({str(pulse)!r}).touch(); time.sleep(0.5)\nraise SystemExit(3)"
    _, reason, message = deadly(alive, claimed, database)
    assert (reason, message) == (Reason.MACHINE, "Its process ended with status 3; see its log.")


def test_a_run_that_waits_for_the_database_does_not_hang(claimed: Claim, work: Path, monkeypatch) -> None:
    watching = Supervisor(claimed)
    watching.moved -= 5
    monkeypatch.setattr(
        supervisor, "transaction", lambda: (_ for _ in ()).throw(OperationalError("", {}, Exception("away")))
    )
    assert watching._silence(time.monotonic()) >= 5
    assert watching._beat(time.monotonic())
    assert watching._silence(time.monotonic()) < 1


def test_where_no_folder_can_be_made_for_want_of_room_the_job_is_paused(
    database: Session, claimed: Claim, work: Path, monkeypatch
) -> None:
    monkeypatch.setattr(
        Path, "mkdir", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left", "w"))
    )
    state, reason, message = deadly("", claimed, database)
    assert (state, reason) == ("paused", Reason.DISK)
    assert message == "The disk is full (w): No space left. Its last checkpoint is kept; make room, then resume it."


def test_an_attempt_that_cannot_be_started_for_another_reason_has_died(
    database: Session, claimed: Claim, work: Path, monkeypatch
) -> None:
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    state, reason, _ = deadly("", claimed, database)
    assert (state, reason) == ("queued", Reason.MACHINE)
