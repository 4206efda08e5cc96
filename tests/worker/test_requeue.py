"""A job that is requeued from a phase: its attempt takes the checkpoints as they were told to, and trains nothing."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from core.errors import CorruptCheckpoint, Reason, SparringError
from core.events import Event
from made import CPU
from recorded import ran, record
from store import artifacts, feed, jobs, records, workers
from store.settings import settings
from store.tables import Job
from worker import attempt
from worker.attempt import Attempt
from worker.supervisor import DONE, FAILED

SMALL: dict[str, Any] = {
    "train": {
        "epochs": 2,
        "batch_size": 64,
        "lr": 0.05,
        "select": None,
        "schedule": {"name": "onecycle"},
        "deterministic": True,
    },
    "evaluate": {"images": 40, "batch_size": 20, "audit": "off", "paper": {"attacks": ["fgsm"]}},
}


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    return ran(tmp_path_factory.mktemp("run"), **SMALL)


@pytest.fixture
def trained(database: Session, events: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    work = tmp_path / "work"
    monkeypatch.setattr(attempt, "settings", lambda: settings().model_copy(update={"work": work}))
    monkeypatch.setattr(attempt, "folder", lambda job, fence: work / f"{job}-{fence}")
    monkeypatch.setattr(attempt.signal, "signal", lambda *_: None)
    monkeypatch.setattr(attempt.torch, "set_num_threads", lambda _: None)
    return record(database, events, tmp_path, **SMALL)


def tried(session: Session, job: Job) -> int:
    worker = workers.register(session, "host", 3, [CPU])
    session.flush()
    claimed = jobs.claim(session, worker)
    session.commit()
    assert claimed
    assert claimed.job_id == job.id
    return Attempt(claimed.job_id, claimed.fence, "cpu:0/0").run()


def found(session: Session, job: Job) -> dict[Any, Any]:
    session.expire_all()
    every = records.results(session, job.id) + records.exported(session, job.id)
    return {(one["network"], one["label"]): (one["accuracy"], became(session, job, one)) for one in every}


def became(session: Session, job: Job, score: dict[str, Any]) -> Any:
    """What became of each image under the attack of a score."""
    told = records.outcomes(session, job.id, score["network"])
    return next(one["survived"] for one in told if one["label"] == score["label"])


def test_a_requeue_from_evaluate_trains_nothing_and_finds_the_same_to_the_bit(database: Session, trained: Job) -> None:
    first, newest = found(database, trained), trained.last_seq
    files = {one.name: one.sha256 for one in records.files(database, trained.id)}
    assert len(first) == 4
    jobs.requeue(database, trained.id, "evaluate")
    assert found(database, trained) == {}
    assert tried(database, trained) == DONE
    assert found(database, trained) == first
    assert {one.name: one.sha256 for one in records.files(database, trained.id)} == files
    kinds = [one.kind for one in feed.read(database, trained.id, newest)]
    assert "epoch_ended" not in kinds
    assert kinds.count("scored") == 4
    assert jobs.find(database, trained.id).state == "succeeded"


def test_a_checkpoint_of_a_later_attempt_is_taken_as_it_is(database: Session, trained: Job) -> None:
    """Else what the requeued job has done would be done again after every interruption."""
    jobs.requeue(database, trained.id, "evaluate")
    assert tried(database, trained) == DONE
    jobs.requeue(database, trained.id)
    newest = jobs.find(database, trained.id).last_seq
    assert tried(database, trained) == DONE
    assert "scored" not in [one.kind for one in feed.read(database, trained.id, newest)]


def test_a_requeue_from_train_starts_anew_and_leaves_no_old_checkpoint(database: Session, trained: Job) -> None:
    first = found(database, trained)
    gone = jobs.requeue(database, trained.id, "train")
    assert gone
    newest = jobs.find(database, trained.id).last_seq
    assert tried(database, trained) == DONE
    kinds = [one.kind for one in feed.read(database, trained.id, newest)]
    assert kinds.count("epoch_ended") == 2
    assert found(database, trained) == first


def test_without_a_sound_checkpoint_it_fails_rather_than_trains(database: Session, trained: Job) -> None:
    jobs.requeue(database, trained.id, "evaluate")
    for one in records.checkpoints(database, trained.id):
        artifacts.place(one.sha256, trained.id).write_bytes(b"x")
    assert tried(database, trained) == FAILED
    database.expire_all()
    job = jobs.find(database, trained.id)
    assert (job.state, job.reason) == ("queued", Reason.DISK)
    assert "no sound one is left" in job.message
    assert records.epochs(database, trained.id)


def test_what_begins_anew_for_want_of_a_checkpoint_knows_no_scores_of_the_weights_before(
    database: Session, trained: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = [artifacts.place(one.sha256, trained.id) for one in records.checkpoints(database, trained.id)]
    for path in saved:
        path.write_bytes(b"x")
    jobs.requeue(database, trained.id)
    assert found(database, trained)
    monkeypatch.setattr(attempt, "run", lambda *_: iter(()))
    tried(database, trained)
    assert found(database, trained) == {}
    assert records.epochs(database, trained.id) == records.checkpoints(database, trained.id) == []
    assert not any(path.exists() for path in saved)
    assert {one.about["kind"] for one in records.files(database, trained.id)} <= {"log"}
    job = jobs.find(database, trained.id)
    assert (job.trust, job.phases, job.last) == ("unaudited", {}, {})


def test_where_no_checkpoint_is_to_be_found_nothing_is_forgotten(
    database: Session, trained: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is not mounted is no reason to begin anew."""
    for one in records.checkpoints(database, trained.id):
        artifacts.place(one.sha256, trained.id).unlink()
    jobs.requeue(database, trained.id)
    before = found(database, trained)
    monkeypatch.setattr(attempt, "run", lambda *_: iter(()))
    tried(database, trained)
    job = jobs.find(database, trained.id)
    assert job.state == "queued", "to be tried elsewhere"
    assert found(database, trained) == before


def errors(kind: type = SparringError) -> list[type[SparringError]]:
    return [one for sub in kind.__subclasses__() for one in [sub, *errors(sub)]]


@pytest.mark.parametrize("kind", errors())
def test_only_a_damaged_checkpoint_is_worth_another_try_of_what_the_science_says_went_wrong(kind) -> None:
    assert kind.retry is (kind is CorruptCheckpoint)
