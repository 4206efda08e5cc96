"""The commands that change jobs, against the api: what they print, and with what they leave."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from made import CPU
from sparring.cli import app
from store import artifacts, jobs, records, workers
from store.database import transaction

SPEC: dict[str, Any] = {"dataset": "fashion_mnist_sample", "model": "lenet5"}


@pytest.fixture
def sparring(api, api_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command; gives its status and what it printed."""
    monkeypatch.setenv("SPARRING_URL", api_url)
    monkeypatch.setenv("SPARRING_TOKEN", api.headers["Authorization"].split()[1])

    def run(*arguments: str, leaves: int = 0) -> str:
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == leaves, done.output
        return done.output

    return run


def test_jobs_are_paused_resumed_cancelled_requeued_and_copied(api, sparring) -> None:
    for _ in range(2):
        api.post("/api/v1/jobs", json=SPEC)
    assert sparring("pause", "1", "2") == "#1: paused\n#2: paused\n"
    assert sparring("resume", "1") == "#1: queued\n"
    assert sparring("cancel", "1") == "#1: cancelled\n"
    assert sparring("requeue", "1") == "#1: queued\n"
    assert sparring("clone", "2") == "#3: queued\n"
    assert json.loads(sparring("pause", "3", "--json"))[0]["state"] == "paused"
    assert "there is nothing to resume" in sparring("resume", "1", leaves=4)


def test_a_requeue_from_a_phase_that_cannot_be_says_why(api, sparring) -> None:
    api.post("/api/v1/jobs", json=SPEC)
    sparring("cancel", "1")
    assert "requeue it from train" in sparring("requeue", "1", "--from", "evaluate", leaves=4)
    assert sparring("requeue", "1", "--from", "train") == "#1: queued\n"


def test_a_wish_to_a_running_job_is_told(api, database: Session, sparring) -> None:
    api.post("/api/v1/jobs", json=SPEC)
    worker = workers.register(database, "host", 1, [CPU])
    database.flush()
    assert jobs.claim(database, worker)
    database.commit()
    assert sparring("pause", "1") == "#1: running, will be paused\n"
    assert sparring("resume", "1") == "#1: running\n"


@pytest.mark.parametrize(
    "text", ["- {dataset: fashion_mnist_sample, model: lenet5, name: a}\n" * 3, json.dumps([SPEC] * 3)]
)
def test_a_file_with_a_list_is_submitted_in_one_go(api, sparring, tmp_path: Path, text: str) -> None:
    file = tmp_path / "many.yaml"
    file.write_text(text)
    lines = sparring("submit", str(file), "--set", "seed=7").splitlines()
    assert [line.split()[0] for line in lines] == ["#1", "#2", "#3"]
    assert [job["seed"] for job in api.get("/api/v1/jobs").json()["items"]] == [7, 7, 7]
    assert sparring("submit", str(file), "--dry-run").count("Valid.") == 3
    file.write_text("- {dataset: fashion_mnist_sample, model: x}\n")
    assert "/jobs/0/model" in sparring("submit", str(file), leaves=4)
    assert "holds a list of jobs" in sparring("run", str(file), leaves=2)


def test_the_log_of_a_process_is_printed_as_it_is(api, database: Session, sparring, tmp_path: Path) -> None:
    job_id = api.post("/api/v1/jobs", json=SPEC).json()["jobs"][0]["id"]
    assert "has left a log" in sparring("logs", "1", "--process", leaves=3)
    file = tmp_path / "attempt-1.log"
    file.write_text("what it printed\n")
    digest = artifacts.sha256(file)
    artifacts.put(file, digest)
    with transaction() as session:
        records.artifact(session, job_id, file.name, digest, 16, {"kind": "log"})
    assert sparring("logs", "1", "--process") == "what it printed\n"
    assert json.loads(sparring("logs", "1", "--process", "--json")) == {"log": "what it printed\n"}
