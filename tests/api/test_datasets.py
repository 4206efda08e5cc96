"""Datasets of the service: what is on disk, fetched by whoever may submit jobs, while the api answers others."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from core import fetching
from core.datasets.mnist import Mnist
from served import Host, gzipped, hosting, small_digits, sources
from sparring import data
from sparring.cli import app
from sparring.client import Client
from store import actions
from store.settings import settings

FETCH = "/api/v1/datasets/mnist/fetch"


@pytest.fixture
def host(servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """What serves a small MNIST, which MNIST is for this test; the data folder is empty."""
    monkeypatch.setenv("SPARRING_DATA", str(tmp_path / "data"))
    settings.cache_clear()
    with hosting() as found:
        found.files |= gzipped(small_digits())
        monkeypatch.setattr(Mnist, "sources", sources(small_digits(), found.url))
        yield found
    settings.cache_clear()


def on_disk(api: Any, name: str = "mnist") -> dict[str, Any]:
    found = {one["name"]: one["on_disk"] for one in api.get("/api/v1/datasets").json()["items"]}
    return found[name]


def ended(api: Any) -> dict[str, Any]:
    until = time.monotonic() + 20
    while (now := on_disk(api))["state"] == "fetching":
        assert time.monotonic() < until
        time.sleep(0.05)
    return now


def test_a_dataset_is_fetched_while_the_api_goes_on(api, database: Session, host: Host) -> None:
    assert on_disk(api)["state"] == "absent"
    host.open.clear()
    begun = api.post(FETCH)
    assert (begun.status_code, begun.json()["state"]) == (202, "fetching")
    assert on_disk(api)["state"] == "fetching"
    again = api.post(FETCH)
    assert (again.status_code, again.json()["state"]) == (202, "fetching")
    host.open.set()
    now = ended(api)
    assert (now["state"], now["error"]) == ("present", None)
    assert now["bytes"] == sum(map(len, small_digits().values()))
    assert sorted(host.asked) == sorted(host.files), "both were one fetch"
    (noted,) = actions.page(database, 9)
    assert (noted.actor, noted.verb, noted.kind, noted.object) == ("ada", "fetch", "dataset", "mnist")


def test_what_is_there_is_answered_at_once_and_not_downloaded(api, database: Session, host: Host) -> None:
    api.post(FETCH)
    ended(api)
    asked = len(host.asked)
    answer = api.post(FETCH)
    assert (answer.status_code, answer.json()["state"], len(host.asked)) == (200, "present", asked)
    assert len(actions.page(database, 9)) == 1
    sample = api.post("/api/v1/datasets/fashion_mnist_sample/fetch")
    assert (sample.status_code, sample.json()["state"]) == (200, "present")


def test_a_damaged_file_is_fetched_again(api, host: Host) -> None:
    api.post(FETCH)
    ended(api)
    (settings().data / "MNIST/raw/t10k-labels-idx1-ubyte").write_bytes(b"x")
    assert api.post(FETCH).status_code == 202
    assert ended(api)["state"] == "present"
    Mnist().check(settings().data)


def test_a_fetch_that_fails_says_why_and_may_be_asked_for_again(api, host: Host) -> None:
    served = dict(host.files)
    host.files.clear()
    assert api.post(FETCH).status_code == 202
    now = ended(api)
    assert (now["state"], "HTTP Error 404" in now["error"]) == ("failed", True)
    assert now["at"]
    host.files |= served
    assert api.post(FETCH).status_code == 202
    assert ended(api)["state"] == "present"


def test_what_nobody_holds_any_more_was_interrupted(api, host: Host) -> None:
    root = settings().data
    held = fetching.take(Mnist(), root)
    assert held
    steps = fetching.fetch(Mnist(), root, held)
    next(steps)
    assert on_disk(api)["state"] == "fetching"
    steps.close()
    now = on_disk(api)
    assert (now["state"], now["error"].partition(":")[0]) == ("failed", "interrupted")
    assert api.post(FETCH).status_code == 202
    assert ended(api)["state"] == "present"


def test_a_folder_that_cannot_be_written_and_a_dataset_that_there_is_not_are_refused(api, host: Host) -> None:
    settings().data.parent.mkdir(exist_ok=True)
    settings().data.write_text("no folder")
    refused = api.post(FETCH)
    assert (refused.status_code, refused.json()["code"]) == (409, "dataset_unavailable")
    assert "cannot be written" in refused.json()["detail"]
    assert api.post("/api/v1/datasets/nothing/fetch").status_code == 404


def test_the_commands_show_and_fetch_what_the_service_keeps(
    api_url: str, token: str, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "SECONDS_BETWEEN_LOOKS", 0.05)
    with Client(api_url, token) as client:
        monkeypatch.setattr(data, "Client", lambda: client)
        listed = CliRunner().invoke(app, ["data", "ls", "--service"]).output
        assert "mnist" in listed
        assert "absent" in listed
        done = CliRunner().invoke(app, ["data", "fetch", "mnist", "--service"])
        assert (done.exit_code, "mnist is in the service's data folder" in done.output) == (0, True)
        assert '"state": "present"' in CliRunner().invoke(app, ["data", "ls", "--service", "--json"]).output
        assert CliRunner().invoke(app, ["data", "fetch", "nothing", "--service"]).exit_code == 3
        for option in ("--mirror", "--to"):
            assert CliRunner().invoke(app, ["data", "fetch", "mnist", "--service", option, "x"]).exit_code == 2
        (settings().data / "MNIST/raw/t10k-labels-idx1-ubyte").write_bytes(b"x")
        host.files.clear()
        assert CliRunner().invoke(app, ["data", "fetch", "mnist", "--service"]).exit_code == 1
