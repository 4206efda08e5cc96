"""A stored network judged anew by the running service: asked for, watched, killed in between, shown, and verified."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from e2e.test_cli import sparring
from e2e.test_crash import attempt_process, until
from sparring.client import Job

TRAINING: dict[str, Any] = {
    "dataset": {"name": "fashion_mnist_sample", "images": 512, "validation": 64},
    "threat": {"eps": 0.05},
    "model": "lenet5",
    "train": {"epochs": 3, "batch_size": 32, "lr": 0.05, "select": None},
    "evaluate": {"images": 20, "audit": "off"},
    "resources": {"gpus": 0},
}


@pytest.fixture(scope="module")
def trained(service: Any) -> Job:
    job = service.client.submit(TRAINING).wait()
    assert job.state == "succeeded", job.message
    return job


SMALL = {"images": 20, "attacks": [{"name": "pgd", "steps": 5}]}
CHANGES = {"resources": {"gpus": 0}}


def test_a_network_is_judged_shown_by_protocol_and_its_archive_agrees_with_its_file(
    service: Any, trained: Job, tmp_path: Path
) -> None:
    out = sparring(service, "eval", trained.id, "--protocol", "paper", "--images", 10, "--watch")
    assert "succeeded" in out
    assert "ifgsm20" in out
    evaluate = {"images": 20, "audit": "off", "strict": SMALL}
    job = service.client.evaluate(trained, name="small", evaluate=evaluate, **CHANGES)
    assert "strict worst_case" in sparring(service, "watch", job.id)
    found = service.client.job(job.id)
    assert found.results["strict", "worst_case"].images == 20
    assert found.results["paper", "clean"].accuracy == trained.results["paper", "clean"].accuracy
    assert "strict: right clean and attacked" in sparring(service, "show", job.id)
    archive = service.client.download(job.id, "trained-worst_case.npz", tmp_path / "worst.npz")
    (model,) = service.client.download_all(trained, tmp_path)
    assert "agrees: ball, box and accuracy" in sparring(service, "verify", archive, model)
    assert "There is no file" in sparring(service, "verify", archive, tmp_path / "nothing", code=3)


def test_a_killed_evaluation_goes_on_behind_its_last_attack(service: Any, trained: Job) -> None:
    attacks = [
        {"name": "pgd", "steps": 2, "label": "first"},
        {"name": "pgd", "steps": 100, "label": "second"},
    ]
    evaluate = {"images": 400, "audit": "off", "strict": {"images": 400, "attacks": attacks}}
    job = service.client.evaluate(trained, name="killed", evaluate=evaluate, **CHANGES)

    def scored() -> bool:
        return ("strict", "first") in service.client.job(job.id).results

    until(scored, 120, "the first strict attack is scored")
    os.kill(until(lambda: attempt_process(service, job), 10, "the attempt runs"), signal.SIGKILL)
    ended = job.wait()
    assert ended.state == "succeeded", ended.message
    assert [label for protocol, label in ended.results if protocol == "strict"] == [
        "clean",
        "first",
        "second",
        "worst_case",
    ]
    tried = service.client.request("GET", f"/jobs/{job.id}/attempts")["items"]
    assert [one["outcome"] for one in tried] == ["failed", "done"]
    told = service.client.request("GET", f"/jobs/{job.id}/events")["items"]
    labels = [one["body"]["label"] for one in told if one["kind"] == "scored" and one["body"]["protocol"] == "strict"]
    assert labels == ["clean", "first", "second", "worst_case"], "no attack is scored twice"
