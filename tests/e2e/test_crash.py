"""kill -9 of the training child and of the worker: the job goes on from its checkpoint and succeeds, once.

Its weights and figures are those of an uninterrupted run, bit for bit.
"""

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from sparring.client import Job

SPEC: dict[str, Any] = {
    "dataset": {"name": "fashion_mnist_sample", "images": 512, "validation": 64},
    "threat": {"eps": 0.1},
    "model": "lenet5",
    "objective": {"name": "pgd", "steps": 4},
    "sparsifier": {"name": "rgsm", "lambda1": 0.02},
    "train": {"epochs": 12, "batch_size": 32, "lr": 0.05, "deterministic": True, "select": {"metric": "pgd3"}},
    "evaluate": {"images": 32, "audit": "off", "paper": {"attacks": ["fgsm"]}},
    "resources": {"gpus": 0},
}
TIMES = {"images_per_second"}


def children(pid: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            if parent == pid:
                found += [int(entry), *children(int(entry))]
    return found


def attempt_process(service: Any, job: Job) -> int | None:
    """The process of the job's attempt."""
    for pid in children(service.parts["worker"].process.pid):
        try:
            environment = Path(f"/proc/{pid}/environ").read_text()
        except OSError:
            continue
        if f"SPARRING_JOB={job.id}" in environment:
            return pid
    return None


def until(condition: Any, seconds: float, what: str) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.1)
    pytest.fail(f"not within {seconds} s: {what}")


def epochs(service: Any, job: Job) -> list[dict[str, Any]]:
    rows = service.client.metrics(job.id)["epochs"]
    return [{**row, "values": {k: v for k, v in row["values"].items() if k not in TIMES}} for row in rows]


def digest(service: Any, job: Job) -> str:
    (model,) = [one for one in service.client.artifacts(job.id) if one["about"].get("kind") == "export"]
    return model["sha256"]


def outcome(service: Any, job: Job) -> tuple[Any, ...]:
    job = service.client.job(job.id)
    assert job.state == "succeeded", job.message
    return epochs(service, job), digest(service, job), {key: score.accuracy for key, score in job.results.items()}


def states(service: Any, job: Job) -> list[str]:
    items = service.client.request("GET", f"/jobs/{job.id}/events")["items"]
    return [one["body"]["state"] for one in items if one["kind"] == "state_changed"]


@pytest.fixture(scope="module")
def undisturbed(service: Any) -> tuple[Any, ...]:
    return outcome(service, service.client.submit(SPEC).wait())


def after_some_epochs(service: Any, job: Job) -> None:
    """Wait for a few epochs and then for a random moment of the next."""
    until(lambda: len(service.client.metrics(job.id)["epochs"]) >= 3, 60, "three epochs")
    time.sleep(random.Random().uniform(0, 1.0))


def test_a_killed_child_resumes_from_its_checkpoint_and_succeeds_once(service: Any, undisturbed) -> None:
    job = service.client.submit(SPEC)
    after_some_epochs(service, job)
    os.kill(attempt_process(service, job), signal.SIGKILL)
    job.wait()
    assert outcome(service, job) == undisturbed
    assert states(service, job) == ["queued", "running", "queued", "running", "succeeded"]
    attempts = service.client.request("GET", f"/jobs/{job.id}/attempts")["items"]
    assert [one["outcome"] for one in attempts] == ["failed", "done"]
    assert "SIGKILL" in attempts[0]["message"]
    started = [
        e
        for e in service.client.request("GET", f"/jobs/{job.id}/events")["items"]
        if e["kind"] == "phase_started" and e["body"]["phase"] == "train"
    ]
    assert started[1]["body"]["resumed_at"] >= 3


def test_a_child_killed_while_it_evaluates_keeps_its_scores_and_succeeds_once(service: Any) -> None:
    attacks = ["fgsm", {"name": "pgd", "steps": 60}, {"name": "pgd", "steps": 5}]
    evaluate = SPEC["evaluate"] | {"images": 64, "paper": {"attacks": attacks}}
    job = service.client.submit(SPEC | {"evaluate": evaluate, "train": SPEC["train"] | {"epochs": 1}})
    until(lambda: len(service.client.job(job.id).results) >= 2, 60, "two scores")
    os.kill(attempt_process(service, job), signal.SIGKILL)
    job.wait()
    assert states(service, job) == ["queued", "running", "queued", "running", "succeeded"]
    items = service.client.request("GET", f"/jobs/{job.id}/events")["items"]
    scored = [one["body"]["label"] for one in items if one["kind"] == "scored"]
    assert len(scored) == len(set(scored)) == 4, "no attack was run again, none left out"
    trained = [one for one in items if one["kind"] == "phase_started" and one["body"]["phase"] == "train"]
    assert len(trained) == 1


def test_a_killed_worker_costs_a_lease_and_nothing_else(service: Any, undisturbed) -> None:
    job = service.client.submit(SPEC)
    after_some_epochs(service, job)
    child, worker = attempt_process(service, job), service.parts["worker"]
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.wait()
    until(lambda: not os.path.exists(f"/proc/{child}"), 10, "the attempt's process to die with its worker")
    service.tend()
    job.wait()
    assert outcome(service, job) == undisturbed
    assert states(service, job) == ["queued", "running", "queued", "running", "succeeded"]
    attempts = service.client.request("GET", f"/jobs/{job.id}/attempts")["items"]
    assert [one["outcome"] for one in attempts] == ["lost", "done"]


def test_a_stopped_worker_drains_and_its_job_goes_on_later(service: Any, undisturbed) -> None:
    job = service.client.submit(SPEC)
    after_some_epochs(service, job)
    worker = service.parts["worker"]
    worker.stop()
    drained = service.client.job(job.id)
    assert (drained.state, drained.reason) == ("queued", "draining")
    service.tend()
    job.wait()
    assert outcome(service, job) == undisturbed
    attempts = service.client.request("GET", f"/jobs/{job.id}/attempts")["items"]
    assert [one["outcome"] for one in attempts] == ["left", "done"]


def test_a_running_job_is_cancelled_within_seconds(service: Any) -> None:
    job = service.client.submit(SPEC)
    until(lambda: service.client.metrics(job.id)["epochs"], 60, "an epoch")
    asked = time.monotonic()
    service.client.cancel(job.id)
    until(lambda: service.client.job(job.id).ended, 10, "the end")
    assert service.client.job(job.id).state == "cancelled"
    assert time.monotonic() - asked < 5
    assert attempt_process(service, job) is None
