"""A list of specifications in one request: all or none, with pointers into the list."""

import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from sparring.client import ApiError, Client
from store.database import transaction
from store.people import Project
from store.tables import Job

SPEC: dict[str, Any] = {"dataset": "fashion_mnist_sample", "model": "lenet5"}
BATCH = "/api/v1/jobs/batch"


def listed(number: int, **changes: Any) -> dict[str, Any]:
    return {"jobs": [SPEC | {"name": f"n{n}"} | changes for n in range(number)]}


def test_every_specification_makes_a_group_of_its_seeds_in_order(api) -> None:
    asked = {"jobs": [SPEC | {"name": "a", "replicates": 2}, SPEC | {"name": "b", "project": "other"}]}
    answer = api.post(BATCH, json=asked)
    assert answer.status_code == 201, answer.text
    made = answer.json()["jobs"]
    assert [(one["name"], one["seed"], one["number"]) for one in made] == [("a", 1, 1), ("a", 2, 2), ("b", 1, 1)]
    assert made[0]["group_id"] == made[1]["group_id"] != made[2]["group_id"]
    shown = api.get(f"/api/v1/jobs/{made[2]['id']}").json()
    assert (shown["project"], shown["state"], shown["events"]) == ("other", "queued", 1)
    assert api.get(f"/api/v1/jobs/{made[2]['id']}/spec?sent=true").json() == asked["jobs"][1]


def test_one_that_is_wrong_lets_none_in_and_every_fault_is_named(api) -> None:
    asked = listed(20)
    asked["jobs"][17] = SPEC | {"threat": {"eps": 9}}
    asked["jobs"][3] = SPEC | {"after": ["01a20000-0000-7000-8000-000000000000"]}
    answer = api.post(BATCH, json=asked)
    assert answer.status_code == 422
    assert [one["pointer"] for one in answer.json()["errors"]] == ["/jobs/3/after/0", "/jobs/17/threat/eps"]
    assert api.get("/api/v1/jobs").json()["items"] == []
    with transaction() as session:
        assert session.query(Project).count() == 0


@pytest.mark.parametrize(
    "body", [[], {}, {"jobs": []}, {"jobs": 3}, [SPEC], {"jobs": [SPEC], "more": 1}, {"jobs": 1001 * [{}]}]
)
def test_another_shape_is_refused(api, body: Any) -> None:
    answer = api.post(BATCH, json=body)
    assert (answer.status_code, "1 to 1,000 specifications" in answer.json()["detail"]) == (422, True)


def test_too_many_seeds_are_refused(api) -> None:
    answer = api.post(BATCH, json=listed(101, replicates=100))
    assert (answer.status_code, "10,100 jobs" in answer.json()["detail"]) == (422, True)
    assert api.get("/api/v1/jobs").json()["items"] == []


def test_the_same_key_is_answered_once(api) -> None:
    headers = {"Idempotency-Key": "b"}
    one, two = (api.post(BATCH, json=listed(3), headers=headers) for _ in range(2))
    assert one.json() == two.json()
    assert api.get("/api/v1/jobs").json()["counts"] == {"queued": 3}


def test_the_sdk_says_which_job_of_a_batch_is_wrong(api, api_url: str) -> None:
    with (
        Client(api_url, api.headers["Authorization"].split()[1]) as client,
        pytest.raises(ApiError, match="/jobs/0/model"),
    ):
        client.submit_all([{"dataset": "mnist", "model": "x"}])


def test_p18_many_jobs_go_in_through_the_batch(
    api, api_url: str, times: Callable[[str], int], slack: float, keep: Callable[..., None]
) -> None:
    """From the SDK, a thousand at a time; the two minutes are for fifty thousand."""
    many = times("jobs through the batch")
    with Client(api_url, api.headers["Authorization"].split()[1]) as client:
        began = time.monotonic()
        for first in range(0, many, 1000):
            made = client.submit_all([SPEC | {"name": f"n{n}", "seed": n} for n in range(first, first + 1000)])
            assert [one["number"] for one in made] == list(range(first + 1, first + 1001))
        took = time.monotonic() - began
    assert api.get("/api/v1/jobs?limit=1").json()["counts"] == {"queued": many}
    keep(
        took <= 120 * many / 50_000 * slack, f"{many:,} through the batch in {took:.0f} s", jobs_through_the_batch=many
    )


def test_submitting_behind_a_job_locks_the_project_after_that_job_as_its_end_does(api, database: Session) -> None:
    """Whose job ends holds the job and then charges its project: in the other order the two would wait in a circle."""
    first = api.post("/api/v1/jobs", json=SPEC).json()["jobs"][0]
    behind = SPEC | {"after": [first["id"]]}
    for path, body in (("/api/v1/jobs", behind), ("/api/v1/jobs/batch", {"jobs": [behind]})):
        database.execute(select(Job.id).where(Job.id == uuid.UUID(first["id"])).with_for_update())
        with ThreadPoolExecutor(1) as pool:
            sent = pool.submit(api.post, path, json=body)
            time.sleep(0.5)
            database.execute(text("SET LOCAL lock_timeout = '2s'"))
            database.execute(update(Project).values(jobs=Project.jobs))
            database.commit()
            assert sent.result().status_code == 201
