"""The hands in parts: devices, processes, the recorder, and what the Celery process must never import."""

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DataError
from sqlalchemy.orm import Session

from core.events import (
    Audited,
    Checked,
    CheckpointSaved,
    Dissected,
    EpochEnded,
    Event,
    Exported,
    LayerChannels,
    Noticed,
    PhaseEnded,
    PhaseStarted,
    Progress,
    Scored,
)
from core.files import sha256
from made import CPU, queue
from store import artifacts, feed, jobs, records, tokens, workers
from store.schedule import Claim
from store.tables import Checkpoint, Job
from worker import devices
from worker.processes import kill_group, start_time
from worker.recorder import Fenced, Recorder


@pytest.fixture
def recording(database: Session, claimed: Claim) -> Recorder:
    return Recorder(claimed.job_id, claimed.fence, jobs.find(database, claimed.job_id).last_seq)


def saved(tmp_path: Path, epoch: int) -> CheckpointSaved:
    path = tmp_path / f"{epoch}.safetensors"
    path.write_bytes(os.urandom(64))
    return CheckpointSaved(phase="train", epoch=epoch, batch=0, path=str(path), sha256=sha256(path))


def epoch_ended(tmp_path: Path, epoch: int) -> EpochEnded:
    layer = LayerChannels(layer="conv1", alive=3, total=4)
    return EpochEnded(
        epoch=epoch,
        epochs=3,
        stage="train",
        values={"validation_clean": 0.5},
        layers=[layer],
        series={"train_loss": [1.0, 2.0]},
        best=True,
        checkpoint=saved(tmp_path, epoch),
    )


SCORED = Scored(
    protocol="paper",
    label="fgsm",
    attack={"name": "fgsm"},
    eps=0.1,
    steps=1,
    restarts=1,
    draws=1,
    images=4,
    correct=2,
    accuracy=0.5,
    low=0.1,
    high=0.9,
    seconds=1.0,
    survived="0101",
    predicted=[3, 1, 4, 1],
    distance=[0.1, 0, 0.05, 0],
    queries=[20, 20, 7, 20],
)
CHECKED = Checked(check="eps_0", value=0, passes=0, fails=0, unit="images", images=4, verdict="passed", words="fine")


def test_the_celery_process_never_imports_torch(servers) -> None:
    script = "import worker.app, worker.tasks, sys; print('torch' in sys.modules, 'numpy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)
    assert out.stdout.split() == ["False", "False"]


def test_this_machine_has_a_cpu_with_a_name_and_memory(servers) -> None:
    cpu = devices.devices()[0]
    assert (cpu.name, cpu.kind, cpu.slots) == ("cpu:0", "cpu", 1)
    assert cpu.model
    assert cpu.memory > 2**28
    assert 1 <= devices.threads() <= os.cpu_count()


def test_a_process_is_known_by_pid_and_start_time() -> None:
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    started = start_time(process.pid)
    assert not kill_group(process.pid, started + 1), "a later process of the same pid is left alone"
    assert process.poll() is None
    assert kill_group(process.pid, started)
    process.wait(5)
    assert start_time(process.pid) is None
    assert not kill_group(process.pid, started)


def test_a_process_dies_with_its_parent() -> None:
    child = "import os; from worker.processes import die_with_parent; die_with_parent(os.getppid()); print(os.getpid(), flush=True); import time; time.sleep(60)"
    parent = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    pid = int(process.stdout.readline())
    process.kill()
    process.communicate()
    for _ in range(50):
        if start_time(pid) is None:
            return
        time.sleep(0.1)
    pytest.fail("the child outlived its parent")


def test_an_epoch_becomes_rows_and_one_line_in_the_feed(
    database: Session, recording: Recorder, claimed: Claim, tmp_path: Path
) -> None:
    recording.record(epoch_ended(tmp_path, 1))
    database.expire_all()
    (row,) = records.epochs(database, claimed.job_id)
    assert row.values == {"validation_clean": 0.5}
    assert records.series(database, claimed.job_id, "train_loss", 10) == [1.0, 2.0]
    last = feed.read(database, claimed.job_id)[-1]
    assert last.kind == "epoch_ended"
    assert not {"series", "layers", "checkpoint"} & last.body.keys(), "events carry no arrays"
    job = jobs.find(database, claimed.job_id)
    assert job.last["validation_clean"] == 0.5
    (checkpoint,) = records.checkpoints(database, claimed.job_id)
    assert artifacts.sound(checkpoint.sha256, claimed.job_id)


def test_old_checkpoints_go_with_their_files(
    database: Session, recording: Recorder, claimed: Claim, tmp_path: Path
) -> None:
    digests = []
    for epoch in (1, 2, 3):
        event = epoch_ended(tmp_path, epoch)
        digests.append(event.checkpoint.sha256)
        recording.record(event)
    assert [artifacts.sound(digest, claimed.job_id) for digest in digests] == [False, True, True]
    assert len(database.scalars(select(Checkpoint)).all()) == 2


def test_a_job_never_takes_the_checkpoint_of_another_with_the_same_bytes(
    database: Session, recording: Recorder, claimed: Claim, tmp_path: Path
) -> None:
    worker = workers.register(database, "host", 2, [CPU])
    queue(database, tokens.user_named(database, "ada"))
    twin = jobs.claim(database, worker)
    other = Recorder(twin.job_id, twin.fence, jobs.find(database, twin.job_id).last_seq)
    database.commit()
    first = saved(tmp_path, 1)
    data = Path(first.path).read_bytes()
    recording.record(first)
    Path(first.path).write_bytes(data)
    other.record(first)
    for epoch in (2, 3):
        recording.record(saved(tmp_path, epoch))
    assert not artifacts.sound(first.sha256, claimed.job_id)
    assert artifacts.sound(first.sha256, twin.job_id)


def test_a_checkpoint_made_again_outlives_the_older_row_of_the_same_bytes(
    database: Session, recording: Recorder, claimed: Claim, tmp_path: Path
) -> None:
    again = saved(tmp_path, 1)
    data = Path(again.path).read_bytes()
    for _ in range(2):
        Path(again.path).write_bytes(data)
        recording.record(again)
    recording.record(saved(tmp_path, 2))
    assert [one.epoch for one in records.checkpoints(database, claimed.job_id)] == [2, 1]
    assert artifacts.sound(again.sha256, claimed.job_id)


@pytest.mark.parametrize(
    ("event", "rows"), [(SCORED, records.results), (CHECKED, records.checks)], ids=["score", "check"]
)
def test_a_finding_and_the_checkpoint_behind_it_are_written_together_or_not_at_all(
    event: Event,
    rows: Any,
    database: Session,
    recording: Recorder,
    claimed: Claim,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a process killed in between would score the attack, or make the check, again."""
    monkeypatch.setattr(records, "checkpoint", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        recording.record(event.model_copy(update={"checkpoint": saved(tmp_path, 1)}))
    assert rows(database, claimed.job_id) == []
    monkeypatch.undo()
    recording.record(event.model_copy(update={"checkpoint": saved(tmp_path, 1)}))
    database.expire_all()
    (body,) = rows(database, claimed.job_id)
    assert "checkpoint" not in body
    (row,) = records.checkpoints(database, claimed.job_id)
    assert artifacts.sound(row.sha256, claimed.job_id)


def test_scores_checks_phases_and_files_become_rows(
    database: Session, recording: Recorder, claimed: Claim, tmp_path: Path
) -> None:
    path = tmp_path / "0-int8.int8.safetensors"
    path.write_bytes(b"model")
    events = [
        PhaseStarted(phase="evaluate"),
        SCORED,
        PhaseEnded(phase="evaluate", seconds=2.0),
        CHECKED,
        Audited(level="quick", verdict="warnings"),
        Exported(exporter="int8", path=str(path), sha256=sha256(path), bytes=5, bytes_fp32=20, logits_difference=0.5),
        SCORED.model_copy(update={"network": path.name, "survived": "0001"}),
        Progress(phase="export", done=1, total=1, text="x"),
    ]
    for event in events:
        recording.record(event)
    database.expire_all()
    job = jobs.find(database, claimed.job_id)
    assert job.phases == {"evaluate": {"state": "succeeded", "seconds": 2.0}}
    assert job.trust == "warnings"
    assert job.progress["phase"] == "export"
    told = {"survived": "0101", "predicted": [3, 1, 4, 1], "distance": [0.1, 0, 0.05, 0], "queries": [20, 20, 7, 20]}
    assert records.outcomes(database, claimed.job_id) == [{"protocol": "paper", "label": SCORED.label, **told}]
    assert records.outcomes(database, claimed.job_id, path.name)[0]["survived"] == "0001"
    read = records.results(database, claimed.job_id) + records.exported(database, claimed.job_id)
    assert len(read) == 2
    assert not any(told.keys() & one.keys() for one in read), "who reads a list of scores does not read every image"
    assert records.checks(database, claimed.job_id)[0]["verdict"] == "passed"
    (file,) = records.files(database, claimed.job_id)
    assert (file.name, file.bytes) == ("0-int8.int8.safetensors", 5)
    assert file.about == {"kind": "export", "exporter": "int8", "bytes_fp32": 20, "logits_difference": 0.5}
    scored = [event.body for event in feed.read(database, claimed.job_id) if event.kind == "scored"]
    assert len(scored) == 2
    assert not any(told.keys() & body.keys() for body in scored)


def test_the_anatomy_is_kept_as_a_file_and_its_numbers_for_lists(
    database: Session, recording: Recorder, claimed: Claim, tmp_path: Path
) -> None:
    path = tmp_path / "anatomy.json"
    path.write_bytes(b"{}")
    numbers = {"weights": 9, "zeros": 3, "small": 4, "channels": 2, "dead": 1, "layer_weights": 9, "layer_zeros": 3}
    recording.record(Dissected(**numbers, layer="conv1", path=str(path), sha256=sha256(path), bytes=2))
    database.expire_all()
    last = jobs.find(database, claimed.job_id).last["dissected"]
    assert {key: last[key] for key in numbers} == numbers
    assert "path" not in last
    kept, about = records.file(database, claimed.job_id, "anatomy.json")
    assert (kept.read_bytes(), about.about, path.exists()) == (b"{}", {"kind": "weights"}, False)


def test_a_fenced_attempt_is_told_and_writes_nothing(database: Session, recording: Recorder, claimed: Claim) -> None:
    database.execute(text("UPDATE jobs SET fence = fence + 1"))
    database.commit()
    before = len(feed.read(database, claimed.job_id))
    for event in (SCORED, Noticed(text="late"), Progress(phase="train", done=1, total=2, text="x")):
        with pytest.raises(Fenced):
            recording.record(event)
    assert len(feed.read(database, claimed.job_id)) == before
    assert records.results(database, claimed.job_id) == []


@pytest.mark.parametrize("committed", [True, False])
def test_a_lost_answer_to_commit_is_asked_about_not_assumed(
    database: Session, recording: Recorder, claimed: Claim, break_commit, committed: bool
) -> None:
    """The connection breaks at COMMIT, once after it took place and once before: the event stands there once."""
    broken = break_commit(committed)
    recording.record(Noticed(text="once"))
    recording.record(Noticed(text="then"))
    assert broken == [True]
    database.expire_all()
    texts = [event.body["text"] for event in feed.read(database, claimed.job_id) if event.kind == "noticed"]
    assert texts == ["once", "then"]
    assert database.get(Job, claimed.job_id).last_seq == recording.seq


def test_what_postgres_refuses_is_not_tried_again(database: Session, recording: Recorder) -> None:
    with pytest.raises(DataError):
        recording.record(Noticed(text="no zero \x00 byte fits into a text of Postgres"))


def test_ids_in_the_environment_are_what_the_attempt_reads(servers) -> None:
    out = subprocess.run(
        [sys.executable, "-m", "worker.attempt"],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "SPARRING_JOB": str(uuid.uuid4()),
            "SPARRING_FENCE": "1",
            "SPARRING_SLOT": "cpu:0/0",
            "SPARRING_PARENT": str(os.getpid()),
        },
    )
    assert out.returncode == 70, "a job that is not there is nobody's"
