"""Submitting, planning, listing, showing and cancelling jobs over HTTP."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

SPEC: dict[str, Any] = {"dataset": "fashion_mnist_sample", "model": "lenet5", "name": "first"}
YAML = "dataset: fashion_mnist_sample\nmodel: lenet5\nname: first\ntrain: {lr: 1e-2}\n"


def submit(api: Any, **changes: Any) -> dict[str, Any]:
    answer = api.post("/api/v1/jobs", json=SPEC | changes)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_a_job_is_queued_and_shown(api) -> None:
    answer = submit(api)
    (job,) = answer["jobs"]
    assert (job["state"], job["number"], job["project"], job["owner"]) == ("queued", 1, "default", "ada")
    shown = api.get(f"/api/v1/jobs/{job['id']}").json()
    assert shown["spec"]["train"]["lr"] == 0.1
    assert shown["spec"]["resources"]["gpus"] == 0, "the team has no GPU"
    assert shown["results"] == []
    assert api.get("/api/v1/jobs/1").json()["id"] == job["id"]


@pytest.mark.parametrize(("body", "kind"), [(YAML, "application/yaml"), (YAML, "application/x-yaml; charset=utf-8")])
def test_yaml_is_understood_too(api, body: str, kind: str) -> None:
    answer = api.post("/api/v1/jobs", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 201
    spec = api.get("/api/v1/jobs/1/spec").json()
    assert spec["train"]["lr"] == 0.01, "1e-2 is a number"


def test_the_specification_may_stand_under_spec(api) -> None:
    assert api.post("/api/v1/jobs", json={"spec": SPEC}).status_code == 201
    refused = api.post("/api/v1/jobs", json={"spec": SPEC | {"threat": {"eps": 9}}})
    assert refused.json()["errors"][0]["pointer"] == "/spec/threat/eps"


def test_replicates_make_a_group(api) -> None:
    answer = submit(api, replicates=3, seed=5)
    assert [job["seed"] for job in answer["jobs"]] == [5, 6, 7]
    assert {job["group"] for job in answer["jobs"]} == {answer["group"]}


def test_a_dry_run_queues_nothing(api) -> None:
    answer = api.post(
        "/api/v1/jobs?dry_run=true",
        json={"dataset": "cifar10", "model": "enresnet", "objective": "pgd", "replicates": 2},
    )
    assert answer.status_code == 200
    plan = answer.json()
    assert plan["parameters"] == 544_564
    assert plan["passes"]["train"] > 200 * 45_000 * 23
    assert plan["seeds"] == [1, 2]
    assert plan["spec"]["evaluate"]["images"] == 10_000
    assert api.get("/api/v1/jobs").json()["items"] == []


def test_what_was_sent_is_kept_beside_what_was_resolved(api) -> None:
    submit(api)
    assert api.get("/api/v1/jobs/1/spec?sent=true").json() == SPEC


def test_the_same_key_and_body_are_answered_once(api) -> None:
    headers = {"Idempotency-Key": "abc"}
    first, second = (api.post("/api/v1/jobs", json=SPEC, headers=headers) for _ in range(2))
    assert first.status_code == second.status_code == 201
    assert first.json() == second.json()
    assert len(api.get("/api/v1/jobs").json()["items"]) == 1


def test_the_same_key_with_another_body_is_refused(api) -> None:
    headers = {"Idempotency-Key": "abc"}
    api.post("/api/v1/jobs", json=SPEC, headers=headers)
    refused = api.post("/api/v1/jobs", json=SPEC | {"seed": 2}, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")


def test_a_key_is_looked_up_before_anything_is_judged(api, database: Session) -> None:
    """What the first request waited for is gone when it is sent again: its answer has not changed."""
    first = submit(api)["jobs"][0]
    headers, body = (
        {"Idempotency-Key": "abc"},
        SPEC | {"resources": {"deadline": "2099-01-01T00:00:00Z"}, "after": [first["id"]]},
    )
    answer = api.post("/api/v1/jobs", json=body, headers=headers).json()
    for table, column in (("dependencies", "on_id"), ("events", "job_id"), ("jobs", "id")):
        database.execute(text(f"DELETE FROM {table} WHERE {column} = :id"), {"id": first["id"]})
    database.commit()
    assert api.post("/api/v1/jobs", json=body).status_code == 422
    assert api.post("/api/v1/jobs", json=body, headers=headers).json() == answer


def test_a_key_belongs_to_one_route(api) -> None:
    headers = {"Idempotency-Key": "abc"}
    assert api.post("/api/v1/jobs", json={"jobs": [SPEC]}, headers=headers).status_code == 422
    assert api.post("/api/v1/jobs/batch", json={"jobs": [SPEC]}, headers=headers).status_code == 201
    refused = api.post("/api/v1/jobs", json={"jobs": [SPEC]}, headers=headers)
    assert refused.json()["code"] == "idempotency_key_reused"


def test_every_job_of_a_submission_has_its_line_in_the_log_of_actions(api) -> None:
    made = [one["id"] for one in submit(api, replicates=3)["jobs"]]
    found = api.get("/api/v1/actions").json()["items"]
    assert sorted(one["object"] for one in found if one["verb"] == "submit") == sorted(made)


def test_lists_are_paged_and_filtered(api) -> None:
    for number in range(5):
        submit(api, name=f"net-{number}")
    page = api.get("/api/v1/jobs?limit=2").json()
    assert [job["name"] for job in page["items"]] == ["net-4", "net-3"]
    rest = api.get("/api/v1/jobs", params={"cursor": page["next_cursor"]}).json()
    assert [job["name"] for job in rest["items"]] == ["net-2", "net-1", "net-0"]
    assert rest["next_cursor"] is None
    assert page["counts"] == {"queued": 5}
    assert [job["name"] for job in api.get("/api/v1/jobs?q=net-3").json()["items"]] == ["net-3"]
    assert api.get("/api/v1/jobs?state=failed").json()["items"] == []
    assert api.get("/api/v1/jobs?q=%239").json()["items"] == []
    assert [job["number"] for job in api.get("/api/v1/jobs?q=%232").json()["items"]] == [2]
    assert api.get("/api/v1/jobs?q=99999999999999").json()["items"] == []


@pytest.mark.parametrize(
    "query", ["state=flying", "limit=0", "limit=9999", "cursor=x", "cursor=%00", "limit=abc", "q=%00", "project=a%00"]
)
def test_a_wrong_query_is_refused_with_the_parameter(api, query: str) -> None:
    refused = api.get(f"/api/v1/jobs?{query}")
    assert refused.status_code == 422
    assert query.partition("=")[0] in refused.json()["detail"]


def test_a_queued_job_is_cancelled_at_once_and_only_once(api) -> None:
    submit(api)
    assert api.post("/api/v1/jobs/1/cancel").json()["state"] == "cancelled"
    again = api.post("/api/v1/jobs/1/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "ended")


@pytest.mark.parametrize(
    "name", ["99", "01a20000-0000-7000-8000-000000000000", "x", "..%2F..%2Fetc", "99999999999999999999", "%00"]
)
def test_a_job_that_is_not_there_is_404(api, name: str) -> None:
    answer = api.get(f"/api/v1/jobs/{name}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_number_that_two_projects_have_is_ambiguous(api) -> None:
    submit(api)
    submit(api, project="other")
    answer = api.get("/api/v1/jobs/1")
    assert (answer.status_code, answer.json()["code"]) == (409, "ambiguous")


def test_metrics_attempts_and_artifacts_of_a_new_job_are_empty(api) -> None:
    submit(api)
    assert api.get("/api/v1/jobs/1/metrics").json() == {"epochs": [], "series": [], "values": None}
    assert api.get("/api/v1/jobs/1/attempts").json() == {"items": []}
    assert api.get("/api/v1/jobs/1/artifacts").json() == {"items": []}


def test_a_series_whose_name_nobody_can_type_is_refused(api) -> None:
    submit(api)
    answer = api.get("/api/v1/jobs/1/metrics?series=%00")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/query/series")


@pytest.mark.parametrize("file", ["..%2f..%2fetc%2fpasswd", "nothing.txt", "%2e%2e", ".hidden", "a" * 65])
def test_a_file_that_is_not_there_is_refused(api, file: str) -> None:
    submit(api)
    assert api.get(f"/api/v1/jobs/1/artifacts/{file}").status_code in (404, 422)
