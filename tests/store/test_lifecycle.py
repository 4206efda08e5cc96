"""What people do to a job: pause, resume, requeue, edit, delete, give it a deadline; each state allows some of it."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from core.errors import Reason
from made import ALL as EYES
from made import queue
from store import jobs, lookup, reaper, records
from store.database import Base
from store.forget import PHASES
from store.tables import Artifact, Check, Checkpoint, Epoch, Job, Result, Series, Slot

GONE = datetime.now(UTC) - timedelta(hours=1)


def running(session: Session, owner: uuid.UUID, worker: uuid.UUID, **changes) -> tuple[uuid.UUID, int]:
    job = queue(session, owner, **changes)
    claimed = jobs.claim(session, worker)
    assert claimed
    assert claimed.job_id == job.id
    return claimed.job_id, claimed.fence


def fresh(session: Session, job_id: uuid.UUID) -> Job:
    session.flush()
    session.expire_all()
    job = jobs.find(session, job_id)
    assert job
    return job


def state(session: Session, job_id: uuid.UUID) -> tuple[str, str | None]:
    job = fresh(session, job_id)
    return job.state, job.reason


# ---- pause and resume


def test_a_queued_job_is_paused_at_once_and_claimed_only_after_it_is_resumed(database: Session, ada, worker) -> None:
    job = queue(database, ada)
    assert jobs.pause(database, job.id)
    assert state(database, job.id) == ("paused", "user_paused")
    assert jobs.claim(database, worker) is None
    assert not jobs.pause(database, job.id)
    assert jobs.resume(database, job.id)
    assert state(database, job.id) == ("queued", "waiting")
    assert jobs.claim(database, worker)


def test_a_running_job_reads_the_pause_with_its_heartbeat_and_leaves_paused(database: Session, ada, worker) -> None:
    key = running(database, ada, worker)
    assert jobs.pause(database, key[0])
    assert jobs.heartbeat(database, *key) == "pause"
    assert jobs.release(database, *key, "pause")
    assert state(database, key[0]) == ("paused", "user_paused")
    assert fresh(database, key[0]).wish == "none"


def test_a_pause_that_is_taken_back_is_not_obeyed_by_an_attempt_that_was_already_leaving(
    database: Session, ada, worker
) -> None:
    key = running(database, ada, worker)
    jobs.pause(database, key[0])
    assert jobs.heartbeat(database, *key) == "pause"
    assert jobs.resume(database, key[0])
    assert jobs.heartbeat(database, *key) == "none"
    assert jobs.release(database, *key, "pause")
    assert state(database, key[0]) == ("queued", "waiting")


@pytest.mark.parametrize("way", ["die", "lose", "drain"])
def test_a_pause_outlives_the_attempt_that_did_not_read_it(database: Session, ada, worker, way: str) -> None:
    key = running(database, ada, worker)
    jobs.pause(database, key[0])
    if way == "die":
        jobs.fail(database, *key, Reason.MACHINE, "killed", retry=True)
    elif way == "drain":
        jobs.release(database, *key, "drain")
    else:
        database.execute(text("UPDATE jobs SET lease_until = now() - interval '1 second'"))
        jobs.lose(database, *key)
    assert state(database, key[0]) == ("paused", "user_paused")


def test_a_cancel_is_not_turned_into_a_pause(database: Session, ada, worker) -> None:
    key = running(database, ada, worker)
    jobs.cancel(database, key[0])
    assert not jobs.pause(database, key[0])
    assert not jobs.resume(database, key[0])
    assert jobs.heartbeat(database, *key) == "cancel"


def test_a_paused_job_is_cancelled_at_once(database: Session, ada) -> None:
    job = queue(database, ada)
    jobs.pause(database, job.id)
    assert jobs.cancel(database, job.id)
    assert state(database, job.id) == ("cancelled", "user")


def test_a_full_disk_pauses_the_job_and_costs_no_attempt(database: Session, ada, worker) -> None:
    key = running(database, ada, worker)
    assert jobs.halt(database, *key, Reason.DISK, "full")
    job = fresh(database, key[0])
    assert (job.state, job.reason, job.message, job.deaths) == ("paused", "disk", "full", 0)
    assert jobs.resume(database, job.id)


# ---- deadlines


@pytest.mark.parametrize("held", [False, True])
def test_a_job_that_waits_past_its_deadline_fails_at_the_next_look(database: Session, ada, held: bool) -> None:
    job = queue(database, ada, resources={"deadline": (datetime.now(UTC) + timedelta(hours=1)).isoformat()})
    if held:
        jobs.pause(database, job.id)
    assert jobs.overdue(database) == []
    database.execute(text("UPDATE jobs SET deadline = now() - interval '1 second'"))
    database.commit()
    reaper.reap()
    assert state(database, job.id) == ("failed", "deadline")
    assert fresh(database, job.id).ended_at


def test_a_running_job_past_its_deadline_is_asked_to_leave_and_has_failed(database: Session, ada, worker) -> None:
    key = running(database, ada, worker, resources={"deadline": GONE.isoformat()})
    assert jobs.overdue(database) == []
    assert jobs.heartbeat(database, *key) == "deadline"
    assert jobs.release(database, *key, "deadline")
    job = fresh(database, key[0])
    assert (job.state, job.reason, job.message) == ("failed", "deadline", "Its deadline passed before it had ended.")


def test_a_cancel_goes_before_a_deadline(database: Session, ada, worker) -> None:
    key = running(database, ada, worker, resources={"deadline": GONE.isoformat()})
    jobs.cancel(database, key[0])
    assert jobs.heartbeat(database, *key) == "cancel"
    assert jobs.release(database, *key, "cancel")
    assert state(database, key[0]) == ("cancelled", "user")


def test_memory_and_deadline_are_columns(database: Session, ada) -> None:
    job = queue(database, ada, resources={"memory": "10GiB", "deadline": "2099-01-01T00:00:00+01:00"})
    assert job.memory == 10 * 2**30
    assert job.deadline == datetime(2098, 12, 31, 23, tzinfo=UTC)
    assert queue(database, ada, resources={"memory": "500MiB"}).memory == 500 * 2**20


# ---- again


@pytest.mark.parametrize("ending", ["succeeded", "failed", "cancelled", "paused"])
def test_a_job_that_ended_or_is_paused_is_queued_once_more_with_new_counters(
    database: Session, ada, worker, ending: str
) -> None:
    key = running(database, ada, worker)
    if ending == "succeeded":
        jobs.succeed(database, *key)
    elif ending == "failed":
        jobs.fail(database, *key, Reason.DIVERGED, "nan", retry=False)
    else:
        getattr(jobs, {"cancelled": "cancel", "paused": "pause"}[ending])(database, key[0])
        jobs.release(database, *key, ending)
    database.execute(text("UPDATE jobs SET losses = 3"))
    assert state(database, key[0])[0] == ending
    assert jobs.requeue(database, key[0]) == []
    job = fresh(database, key[0])
    assert (job.state, job.reason, job.deaths, job.losses, job.ended_at) == ("queued", "waiting", 0, 0, None)
    assert jobs.claim(database, worker).fence == 2


@pytest.mark.parametrize("waits", [True, False])
def test_a_job_that_has_not_ended_is_not_queued_again(database: Session, ada, worker, waits: bool) -> None:
    job_id = queue(database, ada).id if waits else running(database, ada, worker)[0]
    with pytest.raises(jobs.Impossible, match="what has ended or is paused is requeued"):
        jobs.requeue(database, job_id)


def test_a_job_whose_deadline_has_passed_wants_another_first(database: Session, ada) -> None:
    job = queue(database, ada, resources={"deadline": GONE.isoformat()})
    assert jobs.miss(database, job.id)
    with pytest.raises(jobs.Impossible, match="give it another first"):
        jobs.requeue(database, job.id)
    assert jobs.edit(database, job.id, 1, {"deadline": None})
    assert jobs.requeue(database, job.id) == []


def lived(session: Session, owner: uuid.UUID, worker: uuid.UUID, **changes) -> uuid.UUID:
    """A job that has succeeded, with a row of everything."""
    job_id, fence = running(session, owner, worker, **changes)
    row = {"job_id": job_id}
    for number, phase in enumerate(("train", "evaluate"), 1):
        session.add(Checkpoint(**row, fence=fence, phase=phase, epoch=3, batch=0, sha256=str(number) * 64))
    session.add(Epoch(**row, epoch=1, fence=1, stage="t", best=True, values={}, layers=[], checkpoint_sha256="1"))
    session.add(Series(**row, name="loss", chunk=1, level=0, values=[1.0]))
    for network in ("trained", "1-int8"):
        score = {"protocol": "paper", "label": "clean", "position": 0, "accuracy": 1.0, "body": {}}
        session.add(Result(**row, network=network, **score))
        records.artifact(session, job_id, f"{network}.npz", "a" * 64, 1, {"kind": "witness", "network": network})
    session.add(Check(**row, name="eps_0", position=0, body={}))
    for kind in ("weights", "export", "log"):
        records.artifact(session, job_id, kind, "b" * 64, 1, {"kind": kind})
    phases = {phase: {"state": "succeeded"} for phase in PHASES["train"]}
    session.execute(Job.__table__.update().values(phases=phases, trust="passed", last={"epoch": 3}))
    jobs.succeed(session, job_id, fence)
    return job_id


def kept(session: Session, job_id: uuid.UUID) -> dict[str, object]:
    job = fresh(session, job_id)
    return {
        "phases": list(job.phases),
        "results": sorted(session.scalars(select(Result.network).where(Result.job_id == job_id))),
        "files": sorted(one.name for one in records.files(session, job_id)),
        "checks": session.scalar(select(func.count()).select_from(Check)),
        "trust": job.trust,
        "epochs": len(records.epochs(session, job_id)),
        "checkpoints": len(records.checkpoints(session, job_id)),
    }


ALL = ["1-int8.npz", "export", "log", "trained.npz", "weights"]
AGAIN = {
    "train": (["log"], [], 0, 0, 0),
    "evaluate": (["log", "weights"], [], 0, 1, 2),
    "audit": (["log", "trained.npz", "weights"], ["trained"], 0, 1, 2),
    "export": (["log", "trained.npz", "weights"], ["trained"], 1, 1, 2),
}


@pytest.mark.parametrize("phase", AGAIN)
def test_a_requeue_forgets_the_phase_and_those_behind_it_and_nothing_else(
    database: Session, ada, worker, phase: str
) -> None:
    job_id = lived(database, ada, worker)
    assert kept(database, job_id)["files"] == ALL
    gone = jobs.requeue(database, job_id, phase)
    files, results, checks, epochs, checkpoints = AGAIN[phase]
    found = kept(database, job_id)
    before = PHASES["train"][: PHASES["train"].index(phase)]
    assert sorted(found["phases"]) == sorted(before)
    assert (found["files"], found["results"], found["checks"]) == (files, results, checks)
    assert (found["epochs"], found["checkpoints"]) == (epochs, checkpoints)
    assert found["trust"] == ("passed" if phase == "export" else "unaudited")
    assert gone == (["1" * 64, "2" * 64] if phase == "train" else [])
    job = fresh(database, job_id)
    assert (job.from_phase, job.from_fence) == ((None, 0) if phase == "train" else (phase, 1))


def test_a_requeue_without_a_phase_keeps_where_an_earlier_one_began(database: Session, ada, worker) -> None:
    job_id = lived(database, ada, worker)
    jobs.requeue(database, job_id, "evaluate")
    jobs.cancel(database, job_id)
    jobs.requeue(database, job_id)
    assert fresh(database, job_id).from_phase == "evaluate"


@pytest.mark.parametrize(("saved", "begins"), [(False, "evaluate"), (True, "export")])
def test_a_second_requeue_from_a_later_phase_does_what_the_first_one_forgot(
    database: Session, ada, worker, saved: bool, begins: str
) -> None:
    """The checkpoint of before the first still tells the scores whose rows are gone."""
    job_id = lived(database, ada, worker)
    jobs.requeue(database, job_id, "evaluate")
    if saved:
        fence = jobs.claim(database, worker).fence
        again = {"phase": "export", "epoch": 3, "batch": 0, "sha256": "3" * 64}
        records.checkpoint(database, job_id, fence, again)
        jobs.release(database, job_id, fence, "drain")
    jobs.cancel(database, job_id)
    jobs.requeue(database, job_id, "export")
    job = fresh(database, job_id)
    assert (job.from_phase, job.from_fence) == (begins, job.fence)


def test_a_requeue_starts_anew_once_retention_has_removed_what_it_was_to_begin_with(
    database: Session, ada, worker
) -> None:
    job_id = lived(database, ada, worker)
    jobs.requeue(database, job_id, "evaluate")
    jobs.cancel(database, job_id)
    database.execute(text("DELETE FROM checkpoints"))
    with pytest.raises(jobs.Impossible, match="requeue it from train"), database.begin_nested():
        jobs.requeue(database, job_id, "export")
    assert fresh(database, job_id).from_phase == "evaluate", "what could not be done has changed nothing"
    jobs.requeue(database, job_id)
    job = fresh(database, job_id)
    assert (job.state, job.from_phase, job.from_fence) == ("queued", None, 0)


def test_without_a_checkpoint_from_behind_training_nothing_can_be_reused(database: Session, ada, worker) -> None:
    job_id = lived(database, ada, worker)
    database.execute(text("DELETE FROM checkpoints WHERE phase <> 'train'"))
    with pytest.raises(jobs.Impossible, match="no checkpoint from which evaluate could begin; requeue it from train"):
        jobs.requeue(database, job_id, "evaluate")
    assert state(database, job_id)[0] == "succeeded"


def test_an_evaluation_has_no_phase_in_which_it_trains(database: Session, ada, worker) -> None:
    job_id = running(database, ada, worker, kind="evaluate")[0]
    jobs.succeed(database, job_id, 1)
    with pytest.raises(jobs.Impossible, match="no phase train; its phases are prepare, evaluate, audit"):
        jobs.requeue(database, job_id, "train")
    assert jobs.requeue(database, job_id, "evaluate") == []


# ---- edit and delete


def test_an_edit_changes_columns_and_specification_of_the_version_that_was_seen(database: Session, ada) -> None:
    job, other = queue(database, ada), datetime(2099, 1, 1, tzinfo=UTC)
    assert jobs.edit(database, job.id, 1, {"name": "b", "priority": 1, "deadline": other})
    assert not jobs.edit(database, job.id, 1, {"name": "c"})
    job = fresh(database, job.id)
    assert (job.name, job.priority, job.deadline, job.version) == ("b", 1, other, 2)
    assert (job.spec["name"], job.spec["resources"]["priority"]) == ("b", "high")
    assert job.spec["resources"]["deadline"] == "2099-01-01T00:00:00+00:00"
    assert lookup.page(database, lookup.Filter(EYES, text="b"), 10, None)


def test_a_deleted_job_leaves_no_row_behind(database: Session, ada, worker) -> None:
    job_id = lived(database, ada, worker)
    jobs.delete(database, job_id)
    database.flush()
    referring = [
        (table, column)
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if any(key.column.table.name == "jobs" for key in column.foreign_keys)
    ]
    assert len(referring) >= 9
    for table, column in referring:
        assert database.execute(select(func.count()).where(column == job_id).select_from(table)).scalar() == 0, table
    database.expunge_all()
    assert jobs.find(database, job_id) is None
    assert database.scalars(select(Artifact)).all() == []


@pytest.mark.parametrize("named", ["job", "sha256"])
def test_a_job_whose_network_is_still_to_be_judged_is_not_deleted(database: Session, ada, worker, named: str) -> None:
    job_id = lived(database, ada, worker)
    network = {"job": str(job_id), "sha256": "c" * 64} if named == "job" else {"job": None, "sha256": "b" * 64}
    judge = queue(database, ada, kind="evaluate", network=network)
    with pytest.raises(jobs.Impossible, match="1 jobs are to judge a network of it"):
        jobs.delete(database, job_id)
    jobs.cancel(database, judge.id)
    jobs.delete(database, job_id)
    assert database.scalars(select(Artifact)).all() == []


def test_a_running_job_is_not_deleted(database: Session, ada, worker) -> None:
    job_id, _ = running(database, ada, worker)
    with pytest.raises(jobs.Impossible, match="cancel it first"):
        jobs.delete(database, job_id)
    assert database.scalars(select(Slot)).one().job_id == job_id
