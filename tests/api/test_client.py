"""The SDK's and the command line's evaluations, against the api: what they ask for, and what they show apart."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from core.events import Event, Exported
from recorded import TRAINING, ran, record
from sparring import show
from sparring.cli import app
from sparring.client import ApiError, Client
from store.tables import Job


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    return ran(tmp_path_factory.mktemp("run"))


@pytest.fixture
def job(database: Session, events: list[Event], tmp_path: Path) -> Job:
    return record(database, events, tmp_path)


@pytest.fixture
def client(api_url: str, token: str, monkeypatch: Any) -> Any:
    with Client(api_url, token) as found:
        monkeypatch.setattr("sparring.cli.Client", lambda: found)
        yield found


def cli(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    return done.exit_code, done.output


def test_a_network_is_named_by_its_job_or_its_digest(client: Client, job: Job, events: list[Event]) -> None:
    digest = next(one.sha256 for one in events if isinstance(one, Exported) and one.exporter == "int8")
    by_number = client.evaluate(str(job.number), images=20)
    spec = client.job(by_number.id).spec
    assert (by_number.kind, spec["network"]["job"], spec["evaluate"]["images"]) == ("evaluate", str(job.id), 20)
    assert spec["evaluate"]["strict"]["images"] == 20
    assert client.job(client.evaluate(client.job(job.id)).id).spec["evaluate"]["strict"]["images"] == 1000
    by_digest = client.job(client.evaluate(digest, "paper", threat={"eps": 0.05}).id).spec
    assert (by_digest["network"]["sha256"], by_digest["threat"]["eps"], by_digest["evaluate"]["strict"]) == (digest, 0.05, None)  # fmt: skip
    assert [one["label"] for one in by_digest["evaluate"]["paper"]["attacks"]] == ["fgsm", "ifgsm20", "cw_linf50"]
    with pytest.raises(ValueError, match="protocol must be one of strict, paper, not 'loose'"):
        client.evaluate(digest, "loose")
    with pytest.raises(ApiError, match="is no network that is stored here"):
        client.evaluate("0" * 64)


def test_what_was_found_is_read_by_protocol_image_by_image_and_radius_by_radius(client: Client, job: Job) -> None:
    assert set(client.evaluation(job.id)["protocols"]) == {"paper", "strict"}
    assert len(client.evaluation(job.id, "samples", limit=7)["items"]) == 7
    assert client.evaluation(job.id, "curve")["items"][0]["attack"] == "pgd"
    assert client.evaluation(job.id, "audit")["verdict"] == job.trust
    found = client.job(job.id).results
    assert found["strict", "worst_case"].accuracy <= found["paper", "ifgsm5"].accuracy
    assert (found["strict", "worst_case"].eot, found["strict", "worst_case"].always) == (1, None)


def test_eval_queues_an_evaluation_of_a_job_a_digest_or_a_file(client: Client, job: Job, events: list[Event]) -> None:
    file = next(one for one in events if isinstance(one, Exported) and one.exporter == "safetensors")
    for named in (job.number, job.id, file.sha256, file.path):
        code, said = cli("eval", named, "--protocol", "paper", "--images", 30)
        assert (code, "paper evaluation" in said) == (0, True), said
    made = client.jobs()[0]
    assert client.job(made.id).spec["network"]["sha256"] == file.sha256
    assert '"kind": "evaluate"' in cli("eval", job.number, "--json")[1]


def test_eval_says_what_is_wrong_and_leaves_with_its_code(client: Client, job: Job) -> None:
    assert cli("eval", job.number, "--protocol", "loose")[0] == 2
    code, said = cli("eval", 999)
    assert (code, "There is no job 999" in said) == (3, True)
    code, said = cli("eval", "0" * 64)
    assert (code, "/network/sha256: is no network that is stored here" in said) == (4, True)
    (young,) = client.submit_group(TRAINING).jobs
    code, said = cli("eval", young.id)
    assert (code, "/network/job: has no file with its trained network" in said) == (4, True)


def test_show_prints_strict_rows_apart_from_paper_rows(client: Client, job: Job, monkeypatch: Any) -> None:
    console = Console(width=140, record=True, file=io.StringIO())
    monkeypatch.setattr(show, "console", console)
    show.outcome(client, client.job(job.id))
    tables = console.export_text().split("┏")[1:]
    own = [table for table in tables if " file " not in table.splitlines()[1]]
    lines = [{row.split("│")[1].strip() for row in table.splitlines() if row.startswith("│")} for table in tables]
    assert (len(own), lines) == (2, [{"paper"}, {"strict"}, {"1-int8.int8.safetensors"}, {"1-int8.int8.safetensors"}])
    assert "worst_case" in own[1]
    assert "EOT" not in own[1], "a network without noise has no draws"
