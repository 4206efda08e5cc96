"""What an attempt writes touches nothing but its own: beside every job stands another that must stay as it was."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from core.errors import Reason
from made import CPU, queue
from store import attempts, feed, gate, jobs, schedule, workers
from store.database import transaction
from store.settings import settings
from store.tables import Attempt, Job, Slot

Key = tuple[uuid.UUID, int]


@pytest.fixture
def two(database: Session, ada, bob) -> list[Key]:
    """Jobs of two users, each in its second attempt on a worker of its own; the first attempts were lost."""
    machines = [workers.register(database, host, 1, [CPU]) for host in ("a", "b")]
    for user, project in ((ada, "one"), (bob, "two")):
        queue(database, user, project=project)
    for machine in machines:
        claimed = jobs.claim(database, machine)
        late(database, claimed.job_id)
        assert jobs.lose(database, claimed.job_id, claimed.fence)
    found = [jobs.claim(database, machine) for machine in machines]
    database.execute(text("UPDATE users SET usage = 0"))
    database.execute(text("UPDATE projects SET usage = 0"))
    assert {one.fence for one in found} == {2}
    return [(one.job_id, one.fence) for one in found]


def late(session: Session, job_id: uuid.UUID, ago: float = 1) -> None:
    until = text("now() - make_interval(secs => :ago)").bindparams(ago=ago)
    session.execute(update(Job).where(Job.id == job_id).values(lease_until=until))


def rows(session: Session, key: Key) -> dict[str, Any]:
    """All that a running attempt has: its job, attempts, slot, events, its owner's and its project's usage."""
    session.flush()
    session.expire_all()
    job = jobs.find(session, key[0])
    assert job
    kept = {name: getattr(job, name) for name in Job.__table__.columns.keys()}  # noqa: SIM118 (a column collection is no dict)
    tried = session.execute(select(Attempt.__table__).where(Attempt.job_id == key[0]).order_by(Attempt.fence)).all()
    slots = session.execute(select(Slot.worker_id, Slot.fence).where(Slot.job_id == key[0])).all()
    charged = [
        session.execute(text(f"SELECT usage FROM {table} WHERE id = :id"), {"id": one}).scalar_one()
        for table, one in (("users", job.owner_id), ("projects", job.project_id))
    ]
    return {"job": kept, "attempts": tried, "slots": slots, "charged": charged, "newest": job.last_seq}


def last_attempt(session: Session, key: Key) -> Attempt:
    session.expire_all()
    found = session.get(Attempt, key)
    assert found
    return found


def lost(session: Session, job_id: uuid.UUID, fence: int) -> bool:
    late(session, job_id)
    return jobs.lose(session, job_id, fence)


ENDS: dict[str, tuple[Callable[..., bool], str, str | None]] = {
    "done": (jobs.succeed, "done", None),
    "failed": (lambda *key: jobs.fail(*key, Reason.DATA, "broken", retry=False), "failed", "broken"),
    "halted": (lambda *key: jobs.halt(*key, Reason.DISK, "full"), "failed", "full"),
    "left": (lambda *key: jobs.release(*key, "drain"), "left", None),
    "lost": (lost, "lost", "The worker was lost (2 so far)."),
}


@pytest.mark.parametrize("how", ENDS)
def test_the_end_of_an_attempt_is_written_down_and_touches_no_other_job(database: Session, two, how: str) -> None:
    end, outcome, message = ENDS[how]
    mine, other = two
    assert attempts.summarise(database, *mine, progress={"phase": "train"})
    before, first = rows(database, other), last_attempt(database, (mine[0], 1)).ended_at
    database.execute(update(Attempt).values(started_at=text("clock_timestamp() - interval '50 seconds'")))
    before["attempts"] = rows(database, other)["attempts"]
    assert end(database, *mine)
    assert rows(database, other) == before
    attempt = last_attempt(database, mine)
    assert (attempt.outcome, attempt.message) == (outcome, message)
    assert attempt.ended_at
    after = rows(database, mine)
    assert after["slots"] == []
    assert after["charged"] == pytest.approx([50, 50], abs=2)
    assert (after["job"]["worker_id"], after["job"]["progress"], after["job"]["wish"]) == (None, {}, "none")
    assert (last_attempt(database, (mine[0], 1)).outcome, last_attempt(database, (mine[0], 1)).ended_at) == (
        "lost",
        first,
    )


def test_the_slots_of_an_attempt_that_ended_can_be_taken_again(database: Session, two) -> None:
    assert jobs.succeed(database, *two[0])
    assert [slot.fence for slot in database.scalars(select(Slot).where(Slot.job_id.is_(None)))] == [None]


def test_what_an_attempt_notes_of_itself_stands_in_its_row_alone(database: Session, two) -> None:
    mine, other = two
    before = rows(database, other)
    attempts.started(database, *mine, 17, 99)
    attempts.describe(database, *mine, {"cpu": "a processor"})
    for _ in range(2):
        attempts.refused(database, *mine)
    found, old = last_attempt(database, mine), last_attempt(database, (mine[0], 1))
    assert (found.pid, found.pid_started, found.machine, found.refused) == (17, 99, {"cpu": "a processor"}, 2)
    assert (old.pid, old.pid_started, old.machine, old.refused) == (None, None, {}, 0)
    assert rows(database, other) == before


@pytest.mark.parametrize("part", ["progress", "last", "phases", "trust"])
def test_each_part_of_a_summary_is_renewed_by_itself_and_in_its_job_alone(database: Session, two, part: str) -> None:
    mine, other = two
    started = {"progress": {"a": 1}, "last": {"a": 1}, "phases": {"a": 1}, "trust": "passed"}
    assert attempts.summarise(database, *mine, **started)
    before = rows(database, other)
    assert attempts.summarise(database, *mine, **{part: "failed" if part == "trust" else {"b": 2}})
    expected = started | {part: {"trust": "failed", "progress": {"b": 2}}.get(part, {"a": 1, "b": 2})}
    assert {name: rows(database, mine)["job"][name] for name in started} == expected
    assert rows(database, other) == before
    assert not attempts.summarise(database, mine[0], 1, trust="failed"), "an older attempt"


def test_an_older_attempt_is_told_nothing_of_the_job(database: Session, two) -> None:
    (job_id, fence), _ = two
    feed.append(database, job_id, [("noticed", {"text": "x"})])
    assert attempts.newest(database, job_id, fence) == rows(database, (job_id, fence))["newest"]
    assert attempts.newest(database, job_id, fence - 1) is None
    assert attempts.outcome(database, job_id, fence - 1) == "lost"
    assert jobs.succeed(database, *two[1])
    assert [attempts.outcome(database, *key) for key in two] == [None, "done"]


def test_a_heartbeat_renews_its_lease_by_one_lease_and_no_other(database: Session, two) -> None:
    mine, other = two
    late(database, other[0])
    before = rows(database, other)
    assert jobs.heartbeat(database, *mine) == "none"
    left = rows(database, mine)["job"]["lease_until"] - database.execute(text("SELECT now()")).scalar_one()
    assert left == timedelta(seconds=settings().lease_seconds)
    assert rows(database, other) == before


def test_a_lease_is_given_with_the_claim_from_the_time_of_the_claim(database: Session, two) -> None:
    now = database.execute(text("SELECT clock_timestamp()")).scalar_one()
    left = rows(database, two[0])["job"]["lease_until"] - now
    assert timedelta(0) < left <= timedelta(seconds=settings().lease_seconds)


def test_a_claim_clears_what_was_said_of_the_job_and_keeps_when_it_first_started(database: Session, two) -> None:
    (job_id, fence), _ = two
    assert jobs.fail(database, job_id, fence, Reason.MACHINE, "killed", retry=True)
    before = rows(database, (job_id, fence))["job"]
    assert (before["reason"], before["message"]) == ("machine", "killed")
    (machine,) = database.scalars(select(Slot.worker_id).where(Slot.job_id.is_(None)))
    assert jobs.claim(database, machine)
    after = rows(database, (job_id, fence))["job"]
    assert (after["reason"], after["message"], after["worker_id"]) == (None, None, machine)
    assert after["started_at"] == before["started_at"]


def test_a_worker_that_drains_is_told_so_and_no_other(database: Session, two) -> None:
    drained, other = two
    assert workers.drain(database, rows(database, drained)["job"]["worker_id"])
    assert [jobs.heartbeat(database, *key) for key in (drained, other)] == ["drain", "none"]


@pytest.mark.parametrize(("state", "told"), [("open", "none"), ("paused", "none"), ("draining", "drain")])
def test_only_a_draining_queue_asks_what_runs_to_leave(database: Session, two, state: str, told: str) -> None:
    assert gate.put(database, state)
    assert jobs.heartbeat(database, *two[0]) == told
    assert jobs.pause(database, two[0][0])
    assert jobs.heartbeat(database, *two[0]) == "pause", "what people wish is told first"


def test_leases_that_ran_out_are_found_the_longest_ago_first_and_by_pages(database: Session, two, monkeypatch) -> None:
    monkeypatch.setattr(jobs, "settings", lambda: settings().model_copy(update={"lease_seconds": 0.01}))
    assert jobs.expired(database) == [], "both leases are good"
    for key, ago in zip(two, (5, 9), strict=True):
        late(database, key[0], ago)
    assert jobs.expired(database) == [two[1], two[0]]
    assert jobs.expired(database, 1) == [two[1]]


def test_deadlines_that_passed_are_found_the_longest_ago_first_and_by_pages(database: Session, two, ada) -> None:
    ago = [datetime.now(UTC) - timedelta(hours=hours) for hours in (1, 2, -3)]
    waiting = [queue(database, ada, resources={"deadline": when.isoformat()}).id for when in ago]
    database.execute(update(Job).where(Job.id == two[0][0]).values(deadline=ago[0]))
    assert jobs.overdue(database) == [waiting[1], waiting[0]], "not the one in future, nor the one that runs"
    assert jobs.overdue(database, 1) == [waiting[1]]
    assert not jobs.miss(database, waiting[2])
    assert jobs.miss(database, waiting[0])
    assert rows(database, (waiting[0], 0))["job"]["reason"] == "deadline"
    assert jobs.overdue(database) == [waiting[1]]


def test_a_deadline_that_is_still_to_come_is_no_reason_against_a_requeue(database: Session, ada) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    queue(database, ada, resources={"deadline": (soon - timedelta(hours=2)).isoformat()})
    job = queue(database, ada, resources={"deadline": soon.isoformat()})
    assert jobs.cancel(database, job.id)  # now its row is the last
    assert jobs.requeue(database, job.id) == []
    row = rows(database, (job.id, 0))["job"]
    assert (row["state"], row["ended_at"]) == ("queued", None)


def test_usage_is_charged_from_the_attempt_that_ends_and_decays(database: Session, two) -> None:
    (job_id, fence), _ = two
    database.execute(text("UPDATE attempts SET started_at = clock_timestamp() - interval '40 seconds'"))
    database.execute(text("UPDATE attempts SET started_at = now() - interval '1 hour' WHERE fence < :f"), {"f": fence})
    for table in ("users", "projects"):
        database.execute(text(f"UPDATE {table} SET usage = 100, usage_at = clock_timestamp() - interval '2 days'"))
    schedule.charge(database, job_id, fence, 3)
    assert rows(database, (job_id, fence))["charged"] == pytest.approx([145, 145], abs=3)
    when = database.execute(text("SELECT max(clock_timestamp() - usage_at) FROM users WHERE usage > 120")).scalar_one()
    assert when < timedelta(seconds=60)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("end", ["fail", "lose"])
def test_what_others_have_lost_does_not_count(database: Session, two, place: int, end: str) -> None:
    (job_id, fence), other = two[place], two[1 - place]
    database.execute(update(Job).where(Job.id == other[0]).values(deaths=99, losses=99))
    late(database, other[0])
    database.execute(update(Job).where(Job.id == job_id).values(progress={}))  # now its row is the last
    if end == "fail":
        assert jobs.fail(database, job_id, fence, Reason.MACHINE, "killed", retry=True)
    else:
        assert lost(database, job_id, fence)
    row = rows(database, (job_id, fence))["job"]
    assert (row["state"], row["deaths"], row["losses"]) == ("queued", end == "fail", 1 + (end == "lose"))


@pytest.mark.parametrize("place", [0, 1])
def test_what_others_wish_and_their_deadlines_do_not_count(database: Session, two, place: int) -> None:
    (job_id, fence), other = two[place], two[1 - place]
    assert jobs.cancel(database, other[0])
    database.execute(update(Job).where(Job.id == other[0]).values(deadline=text("now() - interval '1 hour'")))
    database.execute(update(Job).where(Job.id == job_id).values(progress={}))  # now its row is the last
    assert jobs.heartbeat(database, job_id, fence) == "none"
    assert jobs.release(database, job_id, fence, "drain")
    row = rows(database, (job_id, fence))["job"]
    assert (row["state"], row["reason"]) == ("queued", "draining")


@pytest.mark.parametrize(
    ("wish", "how", "expected"),
    [
        ("cancel", "done", ("succeeded", None)),
        ("pause", "done", ("succeeded", None)),
        ("cancel", "failed", ("failed", "data")),
        ("pause", "failed", ("failed", "data")),
        ("cancel", "halted", ("cancelled", "user")),
        ("pause", "halted", ("paused", "disk")),
        ("pause", "lost", ("paused", "user_paused")),
    ],
)
def test_a_wish_decides_where_a_job_goes_that_would_go_on_and_no_other(
    database: Session, two, wish, how, expected
) -> None:
    mine, _ = two
    assert getattr(jobs, wish)(database, mine[0])
    assert ENDS[how][0](database, *mine)
    row = rows(database, mine)["job"]
    assert (row["state"], row["reason"]) == expected


@pytest.mark.parametrize("how", ["fails", "leaves", "leaves late"])
def test_a_cancel_that_is_under_way_as_an_attempt_ends_counts(database: Session, two, how: str) -> None:
    job_id, fence = two[0]
    if how == "leaves late":
        database.execute(update(Job).where(Job.id == job_id).values(deadline=text("now() - interval '1 hour'")))
    database.commit()

    def end() -> bool:
        with transaction() as session:
            if how == "fails":
                return jobs.fail(session, job_id, fence, Reason.MACHINE, "killed", retry=True)
            return jobs.release(session, job_id, fence, "drain")

    with ThreadPoolExecutor() as pool, transaction() as cancelling:
        assert jobs.cancel(cancelling, job_id)
        ending = pool.submit(end)
        with pytest.raises(TimeoutError):
            ending.result(0.3)
        cancelling.commit()
        assert ending.result(10)
    assert rows(database, two[0])["job"]["state"] == "cancelled"


def test_what_is_impossible_is_said_to_people_and_by_a_code_to_programs(database: Session, two) -> None:
    with pytest.raises(jobs.Impossible) as found:
        jobs.requeue(database, two[0][0])
    assert str(found.value) == "The job is running; what has ended or is paused is requeued."
    assert found.value.code == "not_ended"
    with pytest.raises(jobs.Impossible) as found:
        jobs.delete(database, two[0][0])
    assert (str(found.value), found.value.code) == ("The job is running; cancel it first.", "running")
    with pytest.raises(jobs.Impossible) as found:
        jobs.requeue(database, uuid.uuid4())
    assert str(found.value).startswith("The job is gone;")


def test_every_change_of_a_state_is_an_event_with_its_reason(database: Session, ada) -> None:
    job = queue(database, ada)
    assert jobs.pause(database, job.id)
    assert jobs.resume(database, job.id)
    assert jobs.cancel(database, job.id)
    told = [(one.body["state"], one.body["reason"]) for one in feed.read(database, job.id, 1)]
    assert told == [("paused", "user_paused"), ("queued", "waiting"), ("cancelled", "user")]


def test_what_is_not_there_is_not_changed(database: Session, two) -> None:
    nobody = uuid.uuid4()
    assert not any(change(database, nobody) for change in (jobs.cancel, jobs.pause, jobs.resume, jobs.miss))
    assert not jobs.edit(database, nobody, 1, {"name": "x"})
    assert jobs.find(database, nobody) is None


def test_an_attempt_appends_to_its_own_running_job_and_is_told_so(database: Session, two) -> None:
    (job_id, fence), other = two
    before, newest = rows(database, other), jobs.find(database, job_id).last_seq
    assert feed.append(database, job_id, [("noticed", {"text": "x"})] * 2, fence)
    assert feed.append(database, job_id, [("noticed", {"text": "y"})]), "people and the service need no fence"
    assert not feed.append(database, job_id, [("noticed", {"text": "z"})], fence - 1)
    found = feed.read(database, job_id, newest)
    assert [(one.seq - newest, one.kind, one.body["text"]) for one in found] == [
        (1, "noticed", "x"),
        (2, "noticed", "x"),
        (3, "noticed", "y"),
    ]
    assert [one.seq - newest for one in feed.read(database, job_id, newest, 2)] == [1, 2]
    assert {one.job_id for one in feed.read(database, job_id)} == {job_id}
    assert rows(database, other) == before
    assert [one.seq for one in feed.read(database, job_id)] == list(range(1, newest + 4))
    assert jobs.pause(database, job_id)
    assert jobs.release(database, job_id, fence, "pause")
    assert not feed.append(database, job_id, [("noticed", {"text": "late"})], fence), "it runs no more"


def test_a_lease_and_a_deadline_hold_up_to_their_last_moment(database: Session, two, ada, monkeypatch) -> None:
    """The time of one transaction stands still."""
    monkeypatch.setattr(jobs, "settings", lambda: settings().model_copy(update={"lease_seconds": 0.01}))
    waiting = queue(database, ada).id
    database.execute(update(Job).values(deadline=text("now()")))
    late(database, two[0][0], 0)
    assert jobs.expired(database) == []
    assert not jobs.lose(database, *two[0])
    assert jobs.overdue(database) == []
    assert not jobs.miss(database, waiting)
    assert jobs.heartbeat(database, *two[0]) == "none"
