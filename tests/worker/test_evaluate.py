"""An attempt at an evaluation: it finds the stored network, leaves and goes on, and records what a training's would."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from core.events import Event, Exported, Scored
from core.spec import parse
from made import CPU
from recorded import TRAINING, ran, record
from store import jobs, records, submission, tokens, workers
from store.schedule import Claim
from store.settings import settings
from store.tables import Job
from worker import attempt
from worker.attempt import Attempt
from worker.recorder import Recorder
from worker.supervisor import DONE, FAILED, SAVED


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    return ran(tmp_path_factory.mktemp("run"))


@pytest.fixture
def trained(database: Session, events: list[Event], tmp_path: Path) -> Job:
    return record(database, events, tmp_path)


@pytest.fixture
def asked(database: Session, trained: Job, monkeypatch: Any, tmp_path: Path) -> Job:
    """A queued evaluation of the trained network, whose attempts are made in this process."""
    work = tmp_path / "work"
    monkeypatch.setattr(attempt, "settings", lambda: settings().model_copy(update={"work": work}))
    monkeypatch.setattr(attempt, "folder", lambda job, fence: work / f"{job}-{fence}")
    monkeypatch.setattr(attempt.signal, "signal", lambda *_: None)
    monkeypatch.setattr(attempt.torch, "set_num_threads", lambda _: None)
    (model,) = [one for one in records.files(database, trained.id) if one.about.get("exporter") == "safetensors"]
    parts = {key: TRAINING[key] for key in ("dataset", "threat", "evaluate", "resources")}
    network = {"job": str(trained.id), "sha256": model.sha256}
    spec = parse({"kind": "evaluate", "network": network, **parts})
    owner = tokens.user_named(database, "ada", "admin")
    return submission.create(database, owner, [submission.Asked(spec.json_dict(), {}, spec.digest)])[0]


def tried(database: Session, job: Job) -> Attempt:
    worker = workers.register(database, "host", 3, [CPU])
    database.flush()
    claimed: Claim | None = jobs.claim(database, worker)
    database.commit()
    assert claimed
    assert claimed.job_id == job.id
    return Attempt(claimed.job_id, claimed.fence, "cpu:0/0")


def found(database: Session, job_id: Any) -> dict[tuple[str, str], tuple[float, str]]:
    database.expire_all()
    told = {(one["protocol"], one["label"]): one for one in records.outcomes(database, job_id)}
    assert all(len(one["queries"]) == len(one["survived"]) for one in told.values())
    scored = records.results(database, job_id)
    return {(r["protocol"], r["label"]): (r["accuracy"], told[r["protocol"], r["label"]]) for r in scored}


def test_an_evaluation_finds_what_the_training_found_and_trains_nothing(
    database: Session, trained: Job, asked: Job
) -> None:
    assert tried(database, asked).run() == DONE
    assert found(database, asked.id) == found(database, trained.id)
    job = jobs.find(database, asked.id)
    assert (job.state, set(job.phases), job.trust) == ("succeeded", {"prepare", "evaluate", "audit"}, trained.trust)
    assert records.epochs(database, asked.id) == []
    kinds = {one.name: one.about["kind"] for one in records.files(database, asked.id)}
    assert set(kinds.values()) == {"witness"}
    same = {one.name: one.sha256 for one in records.files(database, trained.id)}
    assert all(same[one.name] == one.sha256 for one in records.files(database, asked.id)), (
        "the same images, bit for bit"
    )


def test_an_attempt_that_is_asked_to_leave_goes_on_in_the_next(
    database: Session, trained: Job, asked: Job, monkeypatch: Any
) -> None:
    first = tried(database, asked)
    original, told = Recorder.record, []

    def record_and_ask(self: Recorder, event: Event) -> None:
        original(self, event)
        told.append(event)
        first.asked = first.asked or (isinstance(event, Scored) and event.protocol == "strict")

    monkeypatch.setattr(Recorder, "record", record_and_ask)
    assert first.run() == SAVED
    before = found(database, asked.id)
    assert 0 < len(before) < len(found(database, trained.id))
    assert jobs.release(database, asked.id, first.fence, "drain")
    told.clear()
    monkeypatch.setattr(first, "asked", True)  # only the first attempt hears of it
    assert tried(database, asked).run() == DONE
    again = {(e.protocol, e.label) for e in told if isinstance(e, Scored)}
    assert not again & before.keys(), "what was scored is not scored twice"
    assert found(database, asked.id) == found(database, trained.id)


def test_a_network_whose_file_is_damaged_fails_the_job_and_says_so(
    database: Session, asked: Job, events: list[Event], monkeypatch: Any, tmp_path: Path
) -> None:
    path = tmp_path / "damaged.safetensors"
    (model,) = [e for e in events if isinstance(e, Exported) and e.exporter == "safetensors"]
    data = bytearray(Path(model.path).read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    monkeypatch.setattr(attempt.artifacts, "place", lambda *_: path)
    assert tried(database, asked).run() == FAILED
    database.expire_all()
    job = jobs.find(database, asked.id)
    assert (job.state, job.reason) == ("failed", "user")
    assert "its SHA-256 is" in job.message
