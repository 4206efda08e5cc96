"""Pausing, resuming, requeueing, copying, editing and deleting jobs over HTTP; who did what is written down."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.errors import Reason
from made import CPU
from store import actions, artifacts, backup, jobs, queue, records, tokens, workers
from store.database import transaction
from store.settings import settings
from store.tables import Checkpoint

SPEC: dict[str, Any] = {"dataset": "fashion_mnist_sample", "model": "lenet5", "name": "first"}
JOBS = "/api/v1/jobs"
PAST, FUTURE = (datetime.now(UTC) + timedelta(days=days) for days in (-1, 1))


def submit(api: Any, **changes: Any) -> dict[str, Any]:
    answer = api.post(JOBS, json=SPEC | changes)
    assert answer.status_code == 201, answer.text
    (job,) = answer.json()["jobs"]
    return job


def claimed(session: Session) -> tuple[Any, int]:
    worker = workers.register(session, "host", 1, [CPU])
    session.flush()
    found = jobs.claim(session, worker)
    session.commit()
    assert found
    return found.job_id, found.fence


def refused(answer: Any, status: int, code: str) -> str:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    return answer.json()["detail"]


def done(session: Session) -> list[tuple[str, str, str]]:
    return [(one.actor, one.verb, one.object) for one in reversed(actions.page(session, 50))]


def test_each_change_is_made_and_noted(api, database: Session) -> None:
    job = submit(api)
    path = f"{JOBS}/{job['id']}"
    for verb, state in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled"), ("requeue", "queued")):
        answer = api.post(f"{path}/{verb}")
        assert (answer.status_code, answer.json()["state"]) == (200, state)
    assert [verb for _, verb, _ in done(database)] == ["submit", "pause", "resume", "cancel", "requeue"]
    assert {(actor, name) for actor, _, name in done(database)} == {("ada", job["id"])}


@pytest.mark.parametrize(
    ("verb", "code", "words"),
    [
        ("resume", "wrong_state", "The job is queued; there is nothing to resume."),
        ("requeue", "not_ended", "The job is queued; what has ended or is paused is requeued."),
    ],
)
def test_what_the_state_does_not_allow_is_refused_in_words(api, database: Session, verb, code, words) -> None:
    job = submit(api)
    assert refused(api.post(f"{JOBS}/{job['id']}/{verb}"), 409, code) == words
    assert [verb for _, verb, _ in done(database)] == ["submit"]


def test_a_job_that_has_ended_or_is_being_cancelled_is_not_paused(api, database: Session) -> None:
    job = submit(api)
    key = claimed(database)
    api.post(f"{JOBS}/1/cancel")
    assert "running and is being cancelled" in refused(api.post(f"{JOBS}/1/pause"), 409, "wrong_state")
    with transaction() as session:
        jobs.release(session, *key, "cancel")
    assert refused(api.post(f"{JOBS}/{job['id']}/pause"), 409, "ended") == "The job has cancelled already."


def test_a_requeue_from_a_phase_wants_something_to_reuse(api, database: Session) -> None:
    submit(api)
    key = claimed(database)
    with transaction() as session:
        jobs.fail(session, *key, Reason.EVALUATION, "no", retry=False)
    asked = {"from_phase": "evaluate"}
    assert "requeue it from train" in refused(api.post(f"{JOBS}/1/requeue", json=asked), 409, "nothing_to_reuse")
    assert api.post(f"{JOBS}/1/requeue", json={"from_phase": "flying"}).status_code == 422
    with transaction() as session:
        row = {"phase": "evaluate", "epoch": 1, "batch": 0, "sha256": "a" * 64}
        session.add(Checkpoint(job_id=key[0], fence=key[1], **row))
    assert api.post(f"{JOBS}/1/requeue", json=asked).json()["state"] == "queued"


def ended_with_a_checkpoint(api, database: Session, tmp_path: Path) -> tuple[uuid.UUID, str]:
    """A job that has succeeded, and the digest of the checkpoint that it has left."""
    submit(api)
    job_id, fence = claimed(database)
    file = tmp_path / "x"
    file.write_bytes(b"x")
    digest = artifacts.sha256(file)
    artifacts.put(file, digest, job_id)
    with transaction() as session:
        records.checkpoint(session, job_id, fence, {"phase": "train", "epoch": 1, "batch": 0, "sha256": digest})
        jobs.succeed(session, job_id, fence)
    return job_id, digest


def test_a_requeue_from_train_removes_the_old_checkpoints_files(api, database: Session, tmp_path: Path) -> None:
    job_id, digest = ended_with_a_checkpoint(api, database, tmp_path)
    assert artifacts.sound(digest, job_id)
    assert api.post(f"{JOBS}/1/requeue", json={"from_phase": "train"}).status_code == 200
    assert not artifacts.sound(digest, job_id)


@pytest.mark.parametrize("verb", ["requeue", "delete"])
def test_checkpoints_stay_while_a_backup_is_under_way(api, database: Session, tmp_path: Path, verb: str) -> None:
    job_id, digest = ended_with_a_checkpoint(api, database, tmp_path)
    with transaction() as other:
        other.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": backup.LOCK})
        if verb == "requeue":
            assert api.post(f"{JOBS}/1/requeue", json={"from_phase": "train"}).status_code == 200
        else:
            assert api.delete(f"{JOBS}/1").status_code == 204
    assert artifacts.sound(digest, job_id)


def test_the_old_checkpoints_are_gone_before_the_bell_rings(
    api, database: Session, tmp_path: Path, monkeypatch
) -> None:
    """Who claims the job may save the very same bytes again."""
    submit(api)
    job_id, fence = claimed(database)
    file = tmp_path / "x"
    file.write_bytes(b"x")
    digest, seen = artifacts.sha256(file), []
    artifacts.put(file, digest, job_id)
    with transaction() as session:
        records.checkpoint(session, job_id, fence, {"phase": "train", "epoch": 1, "batch": 0, "sha256": digest})
        jobs.succeed(session, job_id, fence)
    monkeypatch.setattr(queue, "ring", lambda: seen.append(artifacts.sound(digest, job_id)))
    api.post(f"{JOBS}/1/requeue", json={"from_phase": "train"})
    assert seen == [False]


# ---- order and deadline


def test_a_job_waits_for_those_that_it_names(api) -> None:
    first = submit(api)
    second = submit(api, after=[first["id"]])
    assert (second["blockers"], second["message"]) == (1, "It waits for 1 job to succeed.")
    assert second["digest"] == first["digest"], "the order changes nothing that is computed"


@pytest.mark.parametrize(
    ("changes", "pointer", "words"),
    [
        ({"after": ["01a20000-0000-7000-8000-000000000000"]}, "/after/0", "is no job here"),
        ({"after": 2 * ["01a20000-0000-7000-8000-000000000000"]}, "/after", "must not name a job twice"),
        ({"resources": {"deadline": PAST.isoformat()}}, "/resources/deadline", "has passed"),
        ({"resources": {"deadline": "2099-01-01T00:00:00"}}, "/resources/deadline", "with its zone"),
        ({"resources": {"deadline": 4e9}}, "/resources/deadline", "valid datetime"),
        ({"resources": {"memory": "10GB"}}, "/resources/memory", "pattern"),
        ({"resources": {"memory": "0GiB"}}, "/resources/memory", "pattern"),
    ],
)
@pytest.mark.parametrize("query", ["", "?dry_run=true"])
def test_a_wrong_order_is_refused_with_its_pointer(api, changes, pointer: str, words: str, query: str) -> None:
    answer = api.post(JOBS + query, json=SPEC | changes)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["pointer"], words in error["message"]) == (pointer, True), error


# ---- clone, edit, delete


def test_a_clone_is_a_new_job_of_the_same_specification(api, database: Session) -> None:
    submit(api, resources={"deadline": FUTURE.isoformat(), "priority": "high"}, seed=3)
    (same,) = api.post(f"{JOBS}/1/clone").json()["jobs"]
    changes = {"name": "other", "seed": 4, "priority": "low"}
    (other,) = api.post(f"{JOBS}/1/clone", json=changes).json()["jobs"]
    first = api.get(f"{JOBS}/1").json()
    assert (same["digest"], same["priority"], same["deadline"]) == (first["digest"], 1, None)
    assert (other["name"], other["seed"], other["priority"], other["number"]) == ("other", 4, -1, 3)
    assert other["digest"] != first["digest"]
    assert other["group"] != first["group"]


def test_a_clone_with_one_key_is_made_once(api) -> None:
    submit(api)
    headers = {"Idempotency-Key": "k"}
    one, two = (api.post(f"{JOBS}/1/clone", json={"seed": 2}, headers=headers) for _ in range(2))
    assert one.json() == two.json()
    assert api.post(f"{JOBS}/1/clone", json={"seed": 3}, headers=headers).status_code == 422
    assert len(api.get(JOBS).json()["items"]) == 2


def test_an_edit_wants_the_version_that_was_seen(api, database: Session) -> None:
    submit(api)
    tag = api.get(f"{JOBS}/1").headers["etag"]
    refused(api.patch(f"{JOBS}/1", json={"name": "b"}), 428, "if_match_missing")
    done_ = api.patch(f"{JOBS}/1", json={"name": "b", "priority": "high"}, headers={"If-Match": tag})
    assert (done_.status_code, done_.json()["name"], done_.json()["priority"]) == (200, "b", 1)
    assert done_.headers["etag"] == api.get(f"{JOBS}/1").headers["etag"] != tag
    late = api.patch(f"{JOBS}/1", json={"name": "c"}, headers={"If-Match": tag})
    assert done_.headers["etag"] in refused(late, 412, "changed_meanwhile")
    assert api.get(f"{JOBS}/1/spec").json()["name"] == "b"
    deadline = {"deadline": FUTURE.isoformat()}
    assert api.patch(f"{JOBS}/1", json=deadline, headers={"If-Match": "*"}).json()["deadline"]
    assert api.patch(f"{JOBS}/1", json={"deadline": None}, headers={"If-Match": "*"}).json()["deadline"] is None
    assert [verb for _, verb, _ in done(database)] == ["submit", "edit", "edit", "edit"]


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"name": ""},
        {"name": "a\x00"},
        {"name": None},
        {"priority": "urgent"},
        {"deadline": PAST.isoformat()},
    ],
)
def test_a_wrong_edit_is_refused(api, changes: dict[str, Any]) -> None:
    submit(api)
    answer = api.patch(f"{JOBS}/1", json=changes, headers={"If-Match": "*"})
    assert answer.status_code == 422
    assert api.get(f"{JOBS}/1").json()["name"] == "first"


def test_a_deleted_job_is_gone_with_its_checkpoints_and_shared_files_stay(api, database: Session, tmp_path) -> None:
    submit(api)
    job_id, fence = claimed(database)
    refused(api.delete(f"{JOBS}/1"), 409, "running")
    for name, owner in (("model", None), ("checkpoint", job_id)):
        (tmp_path / name).write_bytes(name.encode())
        digest = artifacts.sha256(tmp_path / name)
        artifacts.put(tmp_path / name, digest, owner)
        with transaction() as session:
            if owner:
                saved = {"phase": "train", "epoch": 1, "batch": 0, "sha256": digest}
                records.checkpoint(session, job_id, fence, saved)
            else:
                records.artifact(session, job_id, name, digest, 5, {"kind": "export"})
                model = digest
    with transaction() as session:
        jobs.succeed(session, job_id, fence)
    assert api.delete(f"{JOBS}/1").status_code == 204
    assert api.get(f"{JOBS}/{job_id}").status_code == 404
    assert artifacts.sound(model)
    assert not (settings().files / "checkpoints" / str(job_id)).exists()
    assert done(database)[-1] == ("ada", "delete", str(job_id))


def test_a_job_that_others_wait_for_is_not_deleted(api) -> None:
    first = submit(api)
    submit(api, after=[first["id"]])
    assert "1 jobs wait for it" in refused(api.delete(f"{JOBS}/1"), 409, "awaited")


@pytest.mark.parametrize("verb", ["pause", "resume", "requeue", "cancel"])
def test_only_the_owner_and_maintainers_change_a_job(api, verb: str) -> None:
    submit(api)
    with transaction() as session:
        theirs = tokens.issue(session, tokens.user_named(session, "bob", "member"), "tests")
    bob = {"Authorization": f"Bearer {theirs}"}
    assert api.post(f"{JOBS}/1/{verb}", headers=bob).status_code == 403
    assert api.delete(f"{JOBS}/1", headers=bob).status_code == 403
    assert api.patch(f"{JOBS}/1", json={}, headers=bob | {"If-Match": "*"}).status_code == 403
    assert api.post(f"{JOBS}/1/clone", headers=bob).json()["jobs"][0]["owner"] == "bob"


# ---- logs


def test_the_log_of_the_newest_attempt_is_text(api, database: Session, tmp_path) -> None:
    submit(api)
    assert "has left a log" in refused(api.get(f"{JOBS}/1/logs"), 404, "no_log")
    job_id, fence = claimed(database)
    assert "Attempt 1 runs on another machine" in refused(api.get(f"{JOBS}/1/logs"), 404, "no_log")
    here = settings().work / f"{job_id}-{fence}" / f"attempt-{fence}.log"
    here.parent.mkdir(parents=True)
    here.write_bytes(b"so far \xff<b>")
    answer = api.get(f"{JOBS}/1/logs")
    assert answer.text == "so far \ufffd<b>"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    digest = artifacts.sha256(here)
    artifacts.put(here, digest)
    with transaction() as session:
        jobs.succeed(session, job_id, fence)
        records.artifact(session, job_id, here.name, digest, 7, {"kind": "log"})
    assert api.get(f"{JOBS}/1/logs").text == "so far \ufffd<b>"
