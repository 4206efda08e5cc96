"""A job that takes too much, breaks, hangs or dies ends with its reason, and the next one runs: real processes."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.spec import parse
from made import CPU
from promises.figures import within
from promises.processes import marked
from store import artifacts, jobs, lookup, records, submission, tokens, workers
from store.settings import settings
from store.tables import Job
from worker.supervisor import Supervisor

TINY: dict[str, Any] = {
    "dataset": {"name": "fashion_mnist_sample", "images": 192, "validation": 32},
    "model": "lenet5",
    "train": {"epochs": 2, "batch_size": 64, "select": None, "schedule": {"name": "onecycle"}, "lr": 0.05},
    "evaluate": {"images": 10, "audit": "off", "paper": {"attacks": []}},
    "resources": {"gpus": 0},
}
MAIN = "import sys; from worker.attempt import main; sys.exit(main())"
FEW_BYTES = f"""import resource; import worker.attempt
pages = int(open('/proc/self/statm').read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 400 * 2**20, -1))
{MAIN}"""
"""With torch in memory, 400 MB more."""
HANGS = f"import time; import worker.attempt as a; a.run = lambda *_: iter(lambda: time.sleep(60), 1); {MAIN}"
SEGFAULTS = f"import os; import worker.attempt as a; a.run = lambda *_: os.kill(os.getpid(), 11); {MAIN}"
SMALL_FILES = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)); {MAIN}"


@pytest.fixture
def environment(database: Session, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Settings for the processes: a heart that beats often."""
    monkeypatch.setenv("SPARRING_HEARTBEAT_SECONDS", "0.3")
    monkeypatch.setenv("SPARRING_LEASE_SECONDS", "60")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    settings.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    settings.cache_clear()


def queued(session: Session, **changes: Any) -> Job:
    spec = parse(TINY | changes)
    owner = tokens.user_named(session, "ada", "admin")
    return submission.create(session, owner, [submission.Asked(spec.json_dict(), {}, spec.digest)])[0]


def ran(session: Session, worker: Any, script: str = MAIN) -> Job:
    """The next job, once its attempt in a process of its own has ended."""
    claimed = jobs.claim(session, worker)
    session.commit()
    assert claimed
    watching = Supervisor(claimed)
    watching.command = (sys.executable, "-c", script)
    watching.run()
    session.expire_all()
    job = jobs.find(session, claimed.job_id)
    assert job
    return job


@pytest.fixture
def worker(database: Session, environment: pytest.MonkeyPatch) -> Any:
    return workers.register(database, "host", 1, [CPU])


def the_next_runs(session: Session, worker: Any) -> Job:
    wanted = queued(session, train=TINY["train"] | {"epochs": 1}).id
    done = ran(session, worker)
    assert (done.id, done.state) == (wanted, "succeeded"), done.message
    return done


LARGE: dict[str, Any] = {
    "dataset": {"name": "fashion_mnist_sample", "images": 1500, "validation": 32},
    "model": {"name": "resnet", "depth": 20},
    "train": TINY["train"] | {"batch_size": 1000},
}


def out_of_memory(session: Session, worker: Any) -> float:
    """Run a job that wants too much memory, which it is told and not tried again; returns the seconds that it took."""
    queued(session, **LARGE)
    began = time.monotonic()
    job = ran(session, worker, FEW_BYTES)
    assert (job.state, job.reason, job.deaths) == ("failed", "out_of_memory", 1), job.message
    assert "Not enough memory on cpu" in job.message
    assert "A smaller batch_size needs less" in job.message
    return time.monotonic() - began


WAITED = text("""
SELECT extract(epoch FROM (SELECT min(created_at) FROM events WHERE job_id = :job AND kind = 'phase_started') - max(ended_at))
FROM attempts WHERE job_id <> :job
""")
"""Seconds from the end of the last attempt of another job to the first phase of this one."""


def held() -> int:
    """Descriptors of this process, which watches over attempts, entries of the folder in which they work, their processes."""
    folders = Path("/proc/self/fd"), settings().work
    return sum(len(list(folder.iterdir())) for folder in folders) + len(marked("PROMISES_LIFE=memory"))


def test_p13_jobs_that_want_too_much_memory_end_soon_and_leave_nothing(
    database: Session, worker, environment, times: Callable[[str], int], slack: float, keep: Callable[..., None]
) -> None:
    environment.setenv("PROMISES_LIFE", "memory")
    took, before = [out_of_memory(database, worker)], held()
    took += [out_of_memory(database, worker) for _ in range(times("jobs out of memory") - 1)]
    left = held() - before
    told, words = within(took, 30 * slack)
    waited = database.execute(WAITED, {"job": the_next_runs(database, worker).id}).scalar_one()
    figure = f"class and hint after {words} at most; the next runs {waited:.1f} s later; {left} processes, folders, descriptors left"
    keep(told and waited <= 10 * slack and not left, figure, jobs_out_of_memory=len(took))


def test_a_job_that_diverges_is_told_so_and_not_tried_again(database: Session, worker) -> None:
    queued(database, train=TINY["train"] | {"lr": 100, "schedule": {"name": "constant"}})
    job = ran(database, worker)
    assert (job.state, job.reason) == ("failed", "diverged"), job.message
    assert "A smaller train.lr" in job.message
    the_next_runs(database, worker)


def on_its_last_try(session: Session) -> None:
    """A job that has died twice; that it is tried again before is shown in test_supervisor.py."""
    queued(session).deaths = 2
    session.flush()


def test_a_job_that_hangs_is_killed_and_after_three_tries_has_failed(database: Session, worker, environment) -> None:
    environment.setenv("SPARRING_HUNG_SECONDS", "6")
    settings.cache_clear()
    on_its_last_try(database)
    job = ran(database, worker, HANGS)
    assert (job.state, job.reason, job.deaths) == ("failed", "hung", 3), job.message
    assert job.message == "It hung: its run said nothing for 6 s."
    environment.delenv("SPARRING_HUNG_SECONDS")
    settings.cache_clear()
    the_next_runs(database, worker)


def test_a_process_that_breaks_down_three_times_has_failed(database: Session, worker) -> None:
    on_its_last_try(database)
    job = ran(database, worker, SEGFAULTS)
    assert (job.state, job.reason, job.deaths) == ("failed", "machine", 3)
    assert job.message == "Its process was ended by SIGSEGV."
    the_next_runs(database, worker)


def paused_with_a_sound_checkpoint(session: Session, job: Job, worker: Any) -> None:
    assert (job.state, job.reason, job.deaths) == ("paused", "disk", 0), job.message
    assert job.message.startswith("The disk is full")
    assert "make room, then resume it" in job.message
    the_next_runs(session, worker)
    kept = records.checkpoints(session, job.id)
    assert all(artifacts.sound(one.sha256, job.id) for one in kept)
    assert jobs.resume(session, job.id)
    done = ran(session, worker)
    assert (done.id, done.state) == (job.id, "succeeded"), done.message
    assert [one.epoch for one in records.epochs(session, job.id)] == [1, 2]
    assert [one.outcome for one in lookup.attempts(session, job.id)][-1] == "done"


def test_p15_a_job_whose_files_grow_too_large_is_paused_and_goes_on_when_it_is_resumed(
    database: Session, worker
) -> None:
    queued(database)
    paused_with_a_sound_checkpoint(database, ran(database, worker, SMALL_FILES), worker)


def mounted(path: Path) -> bool:
    path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(path)], capture_output=True)
    return done.returncode == 0


def test_p15_a_full_disk_pauses_the_job_and_the_last_checkpoint_is_sound(
    database: Session, worker, environment, tmp_path: Path
) -> None:
    """A disk of 2 MB, filled up but for one checkpoint; where no disk can be mounted, one that says so is made of a limit."""
    disk = tmp_path / "small"
    if not mounted(disk):
        queued(database)
        paused_with_a_sound_checkpoint(database, ran(database, worker, SMALL_FILES), worker)
        return
    try:
        filler = disk / "filler"
        filler.write_bytes(os.urandom(2**20))
        environment.setenv("SPARRING_FILES", str(disk))
        settings.cache_clear()
        queued(database)
        job = ran(database, worker)
        assert (job.state, job.reason) == ("paused", "disk"), job.message
        kept = records.checkpoints(database, job.id)
        assert kept
        assert all(artifacts.sound(one.sha256, job.id) for one in kept)
        filler.unlink()
        assert jobs.resume(database, job.id)
        assert ran(database, worker).state == "succeeded"
    finally:
        subprocess.run(["umount", str(disk)], check=True)
