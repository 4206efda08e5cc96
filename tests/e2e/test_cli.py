"""The command line against the running service, as a user meets it."""

import json
import os
import subprocess
import sys
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from sparring import cli

TINY = """
name: {name}
dataset: {{name: fashion_mnist_sample, images: 256, validation: 64}}
model: lenet5
objective: {{name: pgd, steps: 1}}
sparsifier: {{name: rgsm, lambda1: 0.05}}
train: {{epochs: 2, batch_size: 64, lr: 0.05, select: {{metric: clean}}}}
evaluate: {{images: 32, audit: off, paper: {{attacks: [fgsm]}}}}
export: [safetensors, int8]
"""


@pytest.fixture
def file(tmp_path: Path, name: str) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(TINY.format(name=name))
    return path


def sparring(service: Any, *words: object, code: int = 0) -> str:
    environment = os.environ | {"SPARRING_URL": service.url, "SPARRING_TOKEN": service.token}
    done = subprocess.run(
        [sys.executable, "-m", "sparring.cli", *map(str, words)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + (done.stderr if code else "")


def test_a_job_is_submitted_watched_and_shown(service: Any, file: Path, name: str) -> None:
    out = sparring(service, "submit", file, "--watch")
    assert "epoch 2/2" in out
    assert "succeeded" in out
    assert "fgsm" in out
    (job,) = [job for job in json.loads(sparring(service, "ls", "--json")) if job["name"] == name]
    assert name in sparring(service, "ls")
    assert json.loads(sparring(service, "show", job["id"], "--json"))["state"] == "succeeded"
    assert "epoch 1/2" in sparring(service, "logs", job["id"])
    assert "train_loss" in sparring(service, "metrics", job["id"])
    assert "succeeded" in sparring(service, "watch", job["id"]), "a job that has ended is watched to its end at once"


def test_a_file_that_holds_another_network_is_shown_with_its_bytes_and_its_own_accuracy(
    service: Any, file: Path, name: str
) -> None:
    out, network = sparring(service, "submit", file, "--watch"), "1-int8.int8.safetensors"
    assert f"{network}: fgsm" in out
    (job,) = service.client.jobs(1, q=name)
    job = service.client.job(job.id)
    assert list(job.results) == list(job.exported[network]) == [("paper", "clean"), ("paper", "fgsm")]
    plain, small, _ = service.client.artifacts(job.id)  # and anatomy.json
    assert small["about"]["bytes_fp32"] == plain["bytes"] > 3 * small["bytes"]
    shown = sparring(service, "show", job.id)
    share = f"{100 * small['bytes'] / plain['bytes']:.1f} % of the same network in fp32; a logit differs by at most "
    assert f"{network}: {small['bytes']:,} bytes, {share}" in shown
    (row,) = [line for line in shown.splitlines() if network in line and "fgsm" in line]
    accuracy = [f"{100 * scores['paper', 'fgsm'].accuracy:.1f}" for scores in (job.exported[network], job.results)]
    assert [cell.strip() for cell in row.strip("│").split("│")][4::2] == accuracy


def test_seeds_and_settings_are_changed_on_the_command_line(service: Any, file: Path) -> None:
    out = json.loads(sparring(service, "submit", file, "--set", "seed=3..4", "--set", "train.epochs=1", "--json"))
    assert [job["seed"] for job in out["jobs"]] == [3, 4]
    spec = service.client.request("GET", f"/jobs/{out['jobs'][0]['id']}/spec")
    assert spec["train"]["epochs"] == 1
    cancelled = sparring(service, "cancel", *[job["id"] for job in out["jobs"]])
    assert "cancel" in cancelled


def test_names_are_printed_as_they_are(service: Any, file: Path) -> None:
    nasty = "[/a] [red]b :smile:"
    out = json.loads(sparring(service, "submit", file, "--set", f"name='{nasty}'", "--json"))
    job = out["jobs"][0]["id"]
    sparring(service, "cancel", job)
    assert nasty in sparring(service, "ls")
    assert f"{nasty}: cancelled" in sparring(service, "show", job)
    assert f"{nasty}: cancelled" in sparring(service, "watch", job, code=1)


def test_a_dry_run_and_a_validation_queue_nothing(service: Any, file: Path, name: str) -> None:
    assert "61,706 parameters" in sparring(service, "submit", file, "--dry-run")
    assert "Valid." in sparring(service, "validate", file)
    assert name not in sparring(service, "ls")


def test_an_invalid_file_says_where_and_leaves_with_4(service: Any, file: Path) -> None:
    file.write_text(file.read_text().replace("steps: 1", "stps: 1"))
    out = sparring(service, "submit", file, code=4)
    assert "/objective/stps: is not a known key (got 1; expected did you mean steps?)" in out
    file.write_text("a: &x 1\nb: *x\n")
    assert "aliases" in sparring(service, "submit", file, code=4)


def test_what_is_not_there_leaves_with_3(service: Any) -> None:
    assert "There is no job 99999" in sparring(service, "show", "99999", code=3)


def test_wrong_usage_leaves_with_2(service: Any) -> None:
    sparring(service, "submit", "nowhere.yaml", code=2)


def test_a_service_that_does_not_answer_leaves_with_5(service: Any) -> None:
    environment = os.environ | {"SPARRING_URL": "http://127.0.0.1:9", "SPARRING_TOKEN": "x"}
    done = subprocess.run([sys.executable, "-m", "sparring.cli", "ls"], capture_output=True, text=True, env=environment)
    assert done.returncode == 5
    assert "sparring up" in done.stderr


def test_a_token_is_made(service: Any) -> None:
    assert sparring(service, "token", "new", "laptop").startswith("spr_")


def test_a_job_runs_here_without_a_service(tmp_path: Path, file: Path, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sparring.cli", "run", str(file), "--home", str(tmp_path / "runs")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "epoch 2/2" in done.stdout
    (model, _) = sorted((tmp_path / "runs" / f"{name}-seed1" / "exports").iterdir())
    assert str(model.name) in done.stdout


def test_the_client_works_without_torch(service: Any) -> None:
    """An interpreter in which importing torch, or anything of ours but the client, fails."""
    script = (
        "import sys\n"
        "for name in ('torch', 'numpy', 'core', 'store', 'api', 'worker', 'local', 'sqlalchemy', 'fastapi', 'celery'):\n"
        "    sys.modules[name] = None\n"
        "import sparring, sparring.cli\n"
        "print(sparring.Client().request('GET', '/me')['name'])\n"
    )
    environment = os.environ | {"SPARRING_URL": service.url, "SPARRING_TOKEN": service.token}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "admin", done.stderr


def test_every_command_looks_for_datasets_where_up_does() -> None:
    asked = [(cli.run, "data_folder"), (cli.data.fetch, "to"), (cli.data.check, "to")]
    home = signature(cli.up).parameters["home"].default
    assert {signature(command).parameters[option].default for command, option in asked} == {home / "data"}


def test_the_datasets_are_listed_and_checked(tmp_path: Path) -> None:
    run = [sys.executable, "-m", "sparring.cli", "data"]
    listed = subprocess.run([*run, "ls"], capture_output=True, text=True, check=True).stdout
    assert {"mnist", "fashion_mnist", "cifar10", "fashion_mnist_sample"} <= set(listed.split())
    missing = subprocess.run([*run, "check", "mnist", "--in", str(tmp_path)], capture_output=True, text=True)
    assert missing.returncode == 1
    assert "is missing. To get it: sparring data fetch mnist" in missing.stderr
    assert subprocess.run([*run, "check", "fashion_mnist_sample"], check=True, capture_output=True).returncode == 0
