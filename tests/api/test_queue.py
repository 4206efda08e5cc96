"""Routes and commands of the shared queue: who may change what, what is refused, what is written down."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from made import CPU
from sparring.cli import app
from sparring.client import Client
from store import tokens, workers
from store.database import transaction

QUEUE = "/api/v1/queues/default"
SPEC = {"dataset": "fashion_mnist_sample", "model": "lenet5"}


def as_user(name: str, role: str = "member") -> dict[str, str]:
    with transaction() as session:
        return {"Authorization": f"Bearer {tokens.issue(session, tokens.user_named(session, name, role), 'tests')}"}


@pytest.fixture
def worker(database: Session, api) -> str:
    found = workers.register(database, "host", 1, [CPU])
    database.execute(text("UPDATE workers SET seen_at = now() + interval '1 hour'"))
    database.commit()
    return str(found)


def noted(session: Session) -> list[tuple[str, str, str]]:
    session.commit()
    return [tuple(row) for row in session.execute(text("SELECT verb, kind, object FROM actions ORDER BY id"))]


def test_the_queue_is_paused_drained_and_resumed_and_it_is_written_down(api, database: Session) -> None:
    assert api.get("/api/v1/queues").json()["items"] == [{"name": "default", "state": "open"}]
    states = [api.post(f"{QUEUE}/{verb}").json()["state"] for verb in ("pause", "drain", "resume")]
    assert states == ["paused", "draining", "open"]
    assert noted(database) == [("change", "queue", "default")] * 3
    assert api.get("/api/v1/queues/other").status_code == 404


def test_a_change_names_the_version_that_was_seen(api) -> None:
    seen = api.get(QUEUE).headers["etag"]
    assert api.patch(QUEUE, json={"state": "paused"}).status_code == 428
    assert api.patch(QUEUE, json={"state": "shut"}, headers={"If-Match": seen}).status_code == 422
    changed = api.patch(QUEUE, json={"state": "paused"}, headers={"If-Match": seen})
    assert (changed.status_code, changed.json()["state"]) == (200, "paused")
    assert api.patch(QUEUE, json={"state": "open"}, headers={"If-Match": seen}).status_code == 412
    assert api.patch(QUEUE, json={"state": "open"}, headers={"If-Match": changed.headers["etag"]}).status_code == 200


def test_a_worker_is_drained_and_undrained(api, database: Session, worker: str) -> None:
    for verb, draining in (("drain", True), ("undrain", False)):
        assert api.post(f"/api/v1/workers/{worker}/{verb}").status_code == 204
        assert api.get("/api/v1/workers").json()["items"][0]["draining"] is draining
    assert noted(database) == [("drain", "worker", worker), ("undrain", "worker", worker)]
    unknown = "00000000-0000-0000-0000-000000000000"
    assert api.post(f"/api/v1/workers/{unknown}/drain").status_code == 404


def test_members_look_and_only_maintainers_and_administrators_change(api, worker: str) -> None:
    bob, mia = as_user("bob"), as_user("mia", "maintainer")
    for path in ("/queues", "/queues/default", "/quotas", "/usage"):
        assert api.get(f"/api/v1{path}", headers=bob).status_code == 200
    for path in ("/queues/default/pause", "/queues/default/resume", f"/workers/{worker}/drain"):
        assert api.post(f"/api/v1{path}", headers=bob).status_code == 403
        assert api.post(f"/api/v1{path}", headers=mia).status_code < 300
    assert api.put("/api/v1/quotas/user/bob", json={}, headers=mia).status_code == 403
    assert [one["name"] for one in api.get("/api/v1/usage", headers=mia).json()["users"]] == ["ada", "bob", "mia"]


def test_a_quota_is_set_changed_and_taken_away(api, database: Session) -> None:
    path = "/api/v1/quotas/user/ada"
    assert api.get(path).status_code == 404
    made = api.put(path, json={"guarantee": 1, "maximum": 4})
    assert made.json() == {"kind": "user", "name": "ada", "guarantee": 1, "weight": 1.0, "maximum": 4}
    assert api.patch(path, json={"weight": 2}).status_code == 428
    tagged = {"If-Match": made.headers["etag"]}
    assert api.patch(path, json={"weight": 2}, headers=tagged).json()["weight"] == 2
    assert api.patch(path, json={"weight": 3}, headers=tagged).status_code == 412
    refused = api.patch(path, json={"guarantee": 5}, headers={"If-Match": "*"})
    assert (refused.status_code, refused.json()["detail"]) == (
        422,
        "maximum (4) should be no less than guarantee (5)",
    )
    assert api.patch(path, json={"guarantee": None}, headers={"If-Match": "*"}).status_code == 422
    assert api.patch(path, json={"guarantee": 5, "maximum": None}, headers={"If-Match": "*"}).json()["maximum"] is None
    assert [one["name"] for one in api.get("/api/v1/quotas").json()["items"]] == ["ada"]
    assert api.delete(path).status_code == 204
    assert api.delete(path).status_code == 404
    assert noted(database)[0] == ("set", "quota", "user ada")
    assert noted(database)[-1] == ("remove", "quota", "user ada")


@pytest.mark.parametrize(
    "asked", [{"weight": 0}, {"guarantee": -1}, {"guarantee": 3, "maximum": 2}, {"limit": 1}, {"maximum": 10**7}]
)
def test_a_quota_that_makes_no_sense_is_refused(api, asked: dict) -> None:
    assert api.put("/api/v1/quotas/user/ada", json=asked).status_code == 422
    assert api.put("/api/v1/quotas/nobody/ada", json={}).status_code == 422
    assert api.put("/api/v1/quotas/project/none", json={}).status_code == 404


def test_a_job_says_why_it_waits(api, worker: str) -> None:
    api.post("/api/v1/jobs", json=SPEC)
    found = api.get("/api/v1/jobs/1/explain").json()
    assert (found["state"], found["before"], found["blocked_by"]) == ("queued", 0, [])
    assert found["starts_at"]
    assert api.get("/api/v1/jobs/99/explain").status_code == 404


def test_the_commands_do_and_show_it(api, api_url: str, token: str, worker: str, monkeypatch: Any) -> None:
    with Client(api_url, token) as client:
        monkeypatch.setattr("sparring.shared.Client", lambda: client)
        client.submit(SPEC)

        def cli(*words: str) -> str:
            done = CliRunner().invoke(app, words)
            assert done.exit_code == 0, done.output
            return done.output

        assert "default: paused" in cli("queue", "pause")
        assert "The queue is paused." in cli("explain", "1")
        assert "default: open" in cli("queue", "resume")
        assert "0 jobs go before it" in cli("explain", "1")
        assert "draining" in cli("workers", "drain", worker[:13])
        assert "draining" not in cli("workers", "undrain", worker)
        assert "ada" in cli("quota", "set", "user", "ada", "--weight", "2")
        assert '"weight": 2.0' in cli("quota", "ls", "--json")
        assert "ada" in cli("usage")
        assert cli("quota", "rm", "user", "ada") == ""
        assert CliRunner().invoke(app, ["workers", "drain"]).exit_code == 2
