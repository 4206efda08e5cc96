"""Presets by REST and on their pages: rows become jobs once, and jobs become numbers beside the published ones."""

import csv
import io
import uuid
from typing import Any

import pytest
from sqlalchemy.orm import Session

from api import shelf
from store import records
from store.database import transaction
from store.tables import Job

HTML = {"accept": "text/html"}
SMALL, TWO_WAYS = "thesis-4.1", "thesis-4.2"


@pytest.fixture(autouse=True)
def nothing_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the checkout's own logs hold is none of these tests' business; the api runs in this process."""
    monkeypatch.setattr(shelf, "shipped", lambda name: ())


def finish(job_id: str, clean: float, sparsity: float, validation: float = 0.9) -> None:
    """As if the job had run."""
    scored = {
        "protocol": "paper",
        "network": "trained",
        "label": "clean",
        "attack": {},
        "accuracy": clean,
        "images": 10_000,
        "survived": "",
    }
    with transaction() as session:
        job = session.get(Job, uuid.UUID(job_id))
        assert job
        job.state, job.reason = "succeeded", None
        job.last = {
            "selected": {"best": validation, "metric": "clean", "epoch": 1},
            "compacted": {"channel_sparsity": sparsity, "weight_sparsity": 0.0},
        }
        records.result(session, job.id, scored)


def run(api: Any, name: str = SMALL, **asked: Any) -> dict[str, Any]:
    answer = api.post(f"/api/v1/presets/{name}/run", json=asked)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def cells(api: Any) -> dict[tuple[str, str], dict[str, Any]]:
    found = api.get(f"/api/v1/presets/{SMALL}/scorecard").json()["cells"]
    return {(cell["row"], cell["metric"]): cell for cell in found}


def test_every_preset_is_listed_and_shown_with_valid_specifications(api) -> None:
    listed = api.get("/api/v1/presets").json()["items"]
    assert {"demo", SMALL, "thesis-4.5"} <= {one["id"] for one in listed}
    for one in listed:
        shown = api.get(f"/api/v1/presets/{one['id']}").json()
        assert [row["id"] for row in shown["items"]] == one["rows"]
        assert one["rows"] or api.post("/api/v1/jobs?dry_run=true", json=shown["spec"]).status_code == 200
    row = api.get(f"/api/v1/presets/{SMALL}").json()["items"][1]
    for spec in row["configurations"].values():
        assert api.post("/api/v1/jobs?dry_run=true", json=spec).status_code == 200


def test_rows_are_queued_once_for_each_seed_and_way(api) -> None:
    first = run(api, TWO_WAYS, rows=["vgg16-rgsm"], replicates=2)
    assert [(job["name"], job["seed"]) for job in first["jobs"]] == [
        ("thesis-4.2-vgg16-rgsm", 1),
        ("thesis-4.2-vgg16-rgsm", 2),
        ("thesis-4.2-vgg16-rgsm-group-l0", 1),
        ("thesis-4.2-vgg16-rgsm-group-l0", 2),
        ("thesis-4.2-vgg16-rgsm-group-l0-sparser", 1),
        ("thesis-4.2-vgg16-rgsm-group-l0-sparser", 2),
    ]
    assert {job["project"] for job in first["jobs"]} == {TWO_WAYS}
    again = run(api, TWO_WAYS, rows=["vgg16-rgsm"], replicates=3)
    assert [job["seed"] for job in again["jobs"]] == [3, 3, 3]
    assert sorted(again["present"]) == sorted(job["id"] for job in first["jobs"])


def test_rows_go_by_their_place_too_and_ways_can_be_chosen(api) -> None:
    asked = run(api, TWO_WAYS, rows=["4", "vgg16-base"], configurations=["published"])
    assert [job["name"] for job in asked["jobs"]] == ["thesis-4.2-vgg16-base", "thesis-4.2-vgg16-rgsm"]


def test_a_diverged_run_is_counted_as_collapsed(api) -> None:
    (job,) = run(api, rows=["base"])["jobs"]
    with transaction() as session:
        found = session.get(Job, uuid.UUID(job["id"]))
        found.state, found.reason = "failed", "diverged"
    cell = cells(api)["base", "A1"]
    assert (cell["ours"], cell["n"], cell["collapsed"], cell["verdict"]) == (None, 0, 1, None)
    assert "1 collapsed" in api.get(f"/presets/{SMALL}", headers=HTML).text


def test_a_cancelled_job_is_queued_again(api) -> None:
    (job,) = run(api, rows=["base"])["jobs"]
    api.post(f"/api/v1/jobs/{job['id']}/cancel")
    assert len(run(api, rows=["base"])["jobs"]) == 1


def test_a_repeated_request_gets_the_same_answer(api) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    url = f"/api/v1/presets/{SMALL}/run"
    first, second = (api.post(url, json={"rows": ["base"]}, headers=headers).json() for _ in range(2))
    assert first == second
    assert api.post(url, json={"rows": ["rgsm"]}, headers=headers).status_code == 422


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        (f"{SMALL}/run", {"rows": ["nope"]}, 422, "has no row nope; it has base, rgsm"),
        (f"{SMALL}/run", {"rows": ["0"]}, 422, "has no row 0"),
        (f"{SMALL}/run", {"configurations": ["nope"]}, 422, "has no way nope; it has published"),
        (f"{SMALL}/run", {"replicates": 0}, 422, "replicates"),
        (f"{SMALL}/run", {"replicates": 21}, 422, "replicates"),
        (f"{SMALL}/run", {"seeds": 3}, 422, "seeds"),
        ("demo/run", {}, 422, "demo is one job and has no rows"),
        ("nope/run", {}, 404, "There is no preset nope"),
    ],
)
def test_what_cannot_be_run_is_refused_with_the_reason(api, path: str, body: Any, status: int, said: str) -> None:
    answer = api.post(f"/api/v1/presets/{path}", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert said in answer.text


def test_a_scorecard_needs_a_table(api) -> None:
    assert api.get("/api/v1/presets/demo/scorecard").status_code == 422
    assert api.get("/api/v1/presets/..%2Fx").status_code == 404


def test_before_anything_has_run_the_scorecard_holds_what_was_published(api) -> None:
    found = cells(api)
    assert found["rgsm", "sp"]["reported"] == 71.43
    assert {(cell["ours"], cell["n"], cell["verdict"]) for cell in found.values()} == {(None, 0, None)}


def test_finished_jobs_stand_beside_the_published_numbers(api) -> None:
    jobs = run(api, rows=["base"], replicates=2)["jobs"]
    finish(jobs[0]["id"], 0.990, 0.0)
    finish(jobs[1]["id"], 0.992, 0.0)
    cell = cells(api)["base", "A1"]
    assert (cell["reported"], cell["n"], cell["verdict"], cell["row_verdict"]) == (99.1, 2, "met", "met")
    assert cell["ours"] == pytest.approx(99.1)
    assert cell["std"] == pytest.approx(0.1414, abs=1e-4)
    assert sorted(cell["jobs"]) == sorted(job["id"] for job in jobs)


def test_whoever_submits_what_a_row_asks_for_has_run_it(api) -> None:
    spec = api.get(f"/api/v1/presets/{SMALL}").json()["items"][0]["configurations"]["published"]
    (job,) = api.post("/api/v1/jobs", json=spec | {"name": "mine", "project": "elsewhere"}).json()["jobs"]
    finish(job["id"], 0.5, 0.0)
    assert cells(api)["base", "A1"]["verdict"] == "missed"


def test_a_job_of_this_service_replaces_the_shipped_log_of_the_same_run(api, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.scorecard import outcome

    scored = [{"protocol": "paper", "label": "clean", "accuracy": 0.98, "images": 10_000}]
    logs = [outcome(("base", "published", seed), f"presets/results/{seed}", 10, scored, None, None) for seed in (1, 2)]
    monkeypatch.setattr(shelf, "shipped", lambda name: tuple(logs))
    assert cells(api)["base", "A1"]["jobs"] == ["presets/results/1", "presets/results/2"]
    (job,) = run(api, rows=["base"])["jobs"]
    finish(job["id"], 0.99, 0.0)
    assert cells(api)["base", "A1"]["jobs"] == [job["id"], "presets/results/2"]


def test_the_csv_is_the_scorecard(api) -> None:
    answer = api.get(f"/api/v1/presets/{SMALL}/scorecard.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["row"], row["metric"], float(row["reported"])) for row in rows] == [
        (*key, cell["reported"]) for key, cell in cells(api).items()
    ]


def test_the_pages_show_tables_rows_and_verdicts(api) -> None:
    listed = api.get("/presets", headers=HTML)
    assert listed.status_code == 200
    assert "RGSM on LeNet-5, MNIST" in listed.text
    (job,) = run(api, rows=["base"])["jobs"]
    finish(job["id"], 0.5, 0.0)
    page = api.get(f"/presets/{SMALL}", headers=HTML)
    assert page.status_code == 200
    for word in ("Base model", "◇ 99.10", "50.0", "−49.1", "missed", f"/jobs/{job['id']}", "1 missed", "not run"):
        assert word in page.text, word
    assert "demo-en2-resnet8-rgsm" in api.get("/presets/demo", headers=HTML).text
    assert api.get("/presets/nope", headers=HTML).status_code == 404


def test_the_page_links_the_figure_of_the_jobs_that_can_be_drawn(api) -> None:
    assert "figures/sparsity" not in api.get(f"/presets/{SMALL}", headers=HTML).text
    (job,) = run(api, rows=["rgsm"], configurations=["published"])["jobs"]
    finish(job["id"], 0.9, 5 / 7)
    assert f'/api/v1/figures/sparsity.svg?jobs={job["id"]}"' in api.get(f"/presets/{SMALL}", headers=HTML).text


def test_a_row_is_run_from_its_page(api, database: Session) -> None:
    answer = api.post(f"/presets/{SMALL}/run", data={"row": "base", "replicates": "2"}, headers=HTML)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs?project={SMALL}")
    assert sorted(job["seed"] for job in api.get("/api/v1/jobs").json()["items"]) == [1, 2]
    for wrong in ("0", "21", "x", "-1", "0120", "2" * 4400, "²"):
        answer = api.post(f"/presets/{SMALL}/run", data={"replicates": wrong}, headers=HTML)
        assert answer.status_code == 422, wrong
    for wrong in ("nope", "\x01", "x" * 300):
        assert api.post(f"/presets/{SMALL}/run", data={"row": wrong}, headers=HTML).status_code == 404, wrong
    assert api.post("/presets/demo/run", data={"replicates": "1"}, headers=HTML).status_code == 422
