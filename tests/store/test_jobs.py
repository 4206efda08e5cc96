"""The life of a job: every transition, and what a late or fenced writer may still do (nothing)."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from core.errors import Reason
from made import ALL, CPU, queue, spec
from store import attempts, feed, jobs, lookup, schedule, submission, workers
from store.database import transaction
from store.tables import Attempt, Job, Slot


def running(session: Session, owner: uuid.UUID, worker: uuid.UUID) -> tuple[uuid.UUID, int]:
    job = queue(session, owner)
    claimed = jobs.claim(session, worker)
    assert claimed
    assert claimed.job_id == job.id
    return claimed.job_id, claimed.fence


def state(session: Session, job_id: uuid.UUID) -> tuple[str, str | None]:
    session.expire_all()
    job = jobs.find(session, job_id)
    assert job
    return job.state, job.reason


def history(session: Session, job_id: uuid.UUID) -> list[str]:
    return [event.body["state"] for event in feed.read(session, job_id) if event.kind == "state_changed"]


def expire(session: Session, job_id: uuid.UUID) -> None:
    session.execute(update(Job).where(Job.id == job_id).values(lease_until=text("now() - interval '1 second'")))


def test_jobs_are_numbered_within_their_project(database: Session, ada) -> None:
    numbers = [queue(database, ada, project=project).number for project in ("a", "a", "b", "a")]
    assert numbers == [1, 2, 1, 3]


def test_the_jobs_of_one_submission_are_a_group(database: Session, ada) -> None:

    made = submission.create(database, ada, [submission.Asked(spec(seed=seed), {}, "x") for seed in (1, 2, 3)])
    assert len({job.group_id for job in made}) == 1
    assert [job.number for job in made] == [1, 2, 3]
    assert [job.seed for job in lookup.group(database, made[0].group_id)] == [1, 2, 3]


def test_a_claim_starts_an_attempt_with_a_lease_a_fence_and_a_slot(database: Session, ada, worker) -> None:
    job_id, fence = running(database, ada, worker)
    assert fence == 1
    assert state(database, job_id) == ("running", None)
    slot = database.scalars(select(Slot)).one()
    assert (slot.job_id, slot.fence) == (job_id, 1)
    attempt = database.scalars(select(Attempt)).one()
    assert (attempt.device, attempt.ended_at) == ("cpu:0", None)
    assert history(database, job_id) == ["queued", "running"]


def test_without_a_free_slot_nothing_is_claimed(database: Session, ada, worker) -> None:
    running(database, ada, worker)
    queue(database, ada)
    assert jobs.claim(database, worker) is None


def test_a_job_is_claimed_once_however_many_ask(database: Session, ada) -> None:
    several = workers.register(database, "host", 2, [workers.Device("cpu:0", "cpu", "x", 1, 8)])
    queue(database, ada)
    database.commit()

    def claim(_: int) -> schedule.Claim | None:
        with transaction() as session:
            return jobs.claim(session, several)

    with ThreadPoolExecutor(4) as pool:
        assert sum(claimed is not None for claimed in pool.map(claim, range(8))) == 1


def test_success_ends_the_job_and_frees_the_slot(database: Session, ada, worker) -> None:
    job_id, fence = running(database, ada, worker)
    assert jobs.succeed(database, job_id, fence)
    assert state(database, job_id) == ("succeeded", None)
    assert database.scalars(select(Slot)).one().job_id is None
    assert database.scalars(select(Attempt)).one().outcome == "done"


def test_an_error_that_is_not_worth_another_try_ends_the_job(database: Session, ada, worker) -> None:
    job_id, fence = running(database, ada, worker)
    assert jobs.fail(database, job_id, fence, Reason.DIVERGED, "the loss is nan", retry=False)
    assert state(database, job_id) == ("failed", "diverged")


def test_a_death_queues_the_job_again_twice_and_then_fails_it(database: Session, ada, worker) -> None:
    job_id, _ = running(database, ada, worker)
    for fence, expected in ((1, "queued"), (2, "queued"), (3, "failed")):
        assert jobs.fail(database, job_id, fence, Reason.MACHINE, "killed", retry=True)
        assert state(database, job_id)[0] == expected
        jobs.claim(database, worker)


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ("cancel", ("cancelled", "user")),
        ("pause", ("paused", "user_paused")),
        ("drain", ("queued", "draining")),
        ("none", ("queued", "waiting")),
    ],
)
def test_an_attempt_that_left_goes_where_it_was_asked_to(database: Session, ada, worker, wish: str, expected) -> None:
    job_id, fence = running(database, ada, worker)
    if wish in ("cancel", "pause"):
        assert getattr(jobs, wish)(database, job_id)
    assert jobs.release(database, job_id, fence, wish)
    assert state(database, job_id) == expected
    job = jobs.find(database, job_id)
    assert (job.deaths, job.losses, job.wish) == (0, 0, "none")


def test_a_waiting_job_is_cancelled_at_once(database: Session, ada) -> None:
    job = queue(database, ada)
    assert jobs.cancel(database, job.id)
    assert state(database, job.id) == ("cancelled", "user")
    assert not jobs.cancel(database, job.id)


def test_a_running_job_is_told_with_its_heartbeat(database: Session, ada, worker) -> None:
    job_id, fence = running(database, ada, worker)
    assert jobs.heartbeat(database, job_id, fence) == "none"
    assert jobs.cancel(database, job_id)
    assert state(database, job_id)[0] == "running"
    assert jobs.heartbeat(database, job_id, fence) == "cancel"


def test_a_draining_worker_is_told_with_the_heartbeat_and_claims_nothing(database: Session, ada, worker) -> None:
    job_id, fence = running(database, ada, worker)
    workers.drain(database, worker)
    assert jobs.heartbeat(database, job_id, fence) == "drain"
    assert jobs.release(database, job_id, fence, "drain")
    assert jobs.claim(database, worker) is None


@pytest.mark.parametrize(
    "leave",
    [
        lambda session, *key: jobs.release(session, *key, "drain"),
        lambda session, *key: jobs.release(session, *key, "pause"),
        lambda session, *key: jobs.fail(session, *key, Reason.MACHINE, "killed", retry=True),
    ],
)
def test_a_cancel_that_came_late_still_counts(database: Session, ada, worker, leave) -> None:
    """The attempt was leaving for another reason; where the job would go on, it is cancelled."""
    job_id, fence = running(database, ada, worker)
    assert jobs.cancel(database, job_id)
    assert leave(database, job_id, fence)
    assert state(database, job_id) == ("cancelled", "user")
    assert jobs.find(database, job_id).ended_at
    assert history(database, job_id)[-1] == "cancelled"


def test_a_cancel_that_comes_as_the_attempt_leaves_finds_the_job(database: Session, ada, worker) -> None:
    job_id, fence = running(database, ada, worker)
    database.commit()

    def cancel() -> bool:
        with transaction() as session:
            return jobs.cancel(session, job_id)

    with ThreadPoolExecutor() as pool, transaction() as leaving:
        assert jobs.release(leaving, job_id, fence, "drain")
        asked = pool.submit(cancel)
        with pytest.raises(TimeoutError):
            asked.result(0.3)
        leaving.commit()
        assert asked.result(10)
    assert state(database, job_id) == ("cancelled", "user")


def test_the_newest_event_is_told_after_a_write_that_is_still_under_way(database: Session, ada, worker) -> None:
    """So that whoever asks after a broken connection never learns too little, and writes twice."""
    key = running(database, ada, worker)
    database.commit()

    def newest() -> int | None:
        with transaction() as session:
            return attempts.newest(session, *key)

    before = newest()
    with ThreadPoolExecutor() as pool, transaction() as writing:
        feed.append(writing, key[0], [("noticed", {"text": "x"})], key[1])
        asked = pool.submit(newest)
        with pytest.raises(TimeoutError):
            asked.result(0.3)
        writing.commit()
        assert asked.result(10) == before + 1


def test_a_lease_renewed_while_the_reaper_looks_is_kept(database: Session, ada, worker) -> None:
    job_id, fence = running(database, ada, worker)
    expire(database, job_id)
    database.commit()

    def lose() -> bool:
        with transaction() as session:
            return jobs.lose(session, job_id, fence)

    with ThreadPoolExecutor() as pool, transaction() as beating:
        assert jobs.heartbeat(beating, job_id, fence) == "none"
        looked = pool.submit(lose)
        with pytest.raises(TimeoutError):
            looked.result(0.3)
        beating.commit()
        assert looked.result(10) is False
    assert state(database, job_id)[0] == "running"


def test_a_lost_worker_costs_a_loss_and_not_a_death(database: Session, ada, worker) -> None:
    job_id, fence = running(database, ada, worker)
    assert not jobs.lose(database, job_id, fence), "the lease is still good"
    expire(database, job_id)
    assert jobs.lose(database, job_id, fence)
    job = jobs.find(database, job_id)
    assert (job.state, job.reason, job.losses, job.deaths) == ("queued", "worker_lost", 1, 0)


def test_after_ten_losses_the_job_has_failed(database: Session, ada, worker) -> None:
    job_id, _ = running(database, ada, worker)
    for fence in range(1, 11):
        expire(database, job_id)
        assert jobs.lose(database, job_id, fence)
        assert state(database, job_id)[0] == ("failed" if fence == 10 else "queued")
        jobs.claim(database, worker)


def test_a_cancelled_job_whose_worker_is_lost_is_cancelled(database: Session, ada, worker) -> None:
    job_id, fence = running(database, ada, worker)
    jobs.cancel(database, job_id)
    expire(database, job_id)
    assert jobs.lose(database, job_id, fence)
    assert state(database, job_id) == ("cancelled", "user")


def test_a_fenced_attempt_changes_nothing(database: Session, ada, worker) -> None:
    job_id, old = running(database, ada, worker)
    expire(database, job_id)
    jobs.lose(database, job_id, old)
    claimed = jobs.claim(database, worker)
    assert claimed.fence == old + 1
    before = feed.read(database, job_id)
    assert jobs.heartbeat(database, job_id, old) is None
    assert not jobs.succeed(database, job_id, old)
    assert not jobs.fail(database, job_id, old, Reason.INTERNAL, "late", retry=True)
    assert not jobs.release(database, job_id, old, "cancel")
    assert not attempts.summarise(database, job_id, old, last={"epoch": 9})
    assert not feed.append(database, job_id, [("noticed", {"text": "late"})], old)
    assert len(feed.read(database, job_id)) == len(before)
    assert state(database, job_id)[0] == "running"
    assert database.scalars(select(Slot)).one().fence == claimed.fence


def test_an_ended_job_takes_no_more_writes(database: Session, ada, worker) -> None:
    job_id, fence = running(database, ada, worker)
    jobs.succeed(database, job_id, fence)
    assert not jobs.succeed(database, job_id, fence)
    assert not jobs.fail(database, job_id, fence, Reason.INTERNAL, "x", retry=False)
    assert jobs.heartbeat(database, job_id, fence) is None


def test_the_owner_is_charged_for_the_time(database: Session, ada, worker) -> None:
    job_id, fence = running(database, ada, worker)
    database.execute(update(Attempt).values(started_at=text("now() - interval '100 seconds'")))
    jobs.succeed(database, job_id, fence)
    usage = database.execute(text("SELECT usage FROM users WHERE name = 'ada'")).scalar()
    assert usage == pytest.approx(100, abs=1)


def test_lists_come_newest_first_by_pages_and_by_filter(database: Session, ada) -> None:
    for number in range(5):
        queue(database, ada, name=f"net-{number}", project="a" if number % 2 else "b")
    database.commit()
    first = lookup.page(database, lookup.Filter(ALL), 2, None)
    assert [row[0].name for row in first] == ["net-4", "net-3"]
    last = first[-1][0]
    rest = lookup.page(database, lookup.Filter(ALL), 10, (last.created_at, last.id))
    assert [row[0].name for row in rest] == ["net-2", "net-1", "net-0"]
    assert [row[0].name for row in lookup.page(database, lookup.Filter(ALL, project="a"), 10, None)] == [
        "net-3",
        "net-1",
    ]
    assert [row[0].name for row in lookup.page(database, lookup.Filter(ALL, text="T-2"), 10, None)] == ["net-2"]
    assert lookup.page(database, lookup.Filter(ALL, text="%"), 10, None) == []
    assert lookup.counts(database, lookup.Filter(ALL)) == {"queued": 5}


def test_leases_are_left_alone_while_postgres_is_young(database: Session, ada, worker, monkeypatch) -> None:
    job_id, _ = running(database, ada, worker)
    expire(database, job_id)
    from store.settings import settings

    long = settings().model_copy(update={"lease_seconds": 86_000.0})
    monkeypatch.setattr(jobs, "settings", lambda: long)
    assert jobs.expired(database) == []
    monkeypatch.setattr(jobs, "settings", lambda: long.model_copy(update={"lease_seconds": 0.01}))
    assert [found for found, _ in jobs.expired(database)] == [job_id]


def test_bells_ring_for_free_slots_of_living_workers_only(database: Session, ada, worker) -> None:
    assert jobs.waiting(database) == 0
    for _ in range(3):
        queue(database, ada)
    assert jobs.waiting(database) == 1
    workers.register(database, "other", 3, [CPU])
    assert jobs.waiting(database) == 2
    database.execute(text("UPDATE workers SET seen_at = now() - interval '1 hour'"))
    assert jobs.waiting(database) == 0


def test_bells_ring_for_jobs_that_fit_the_free_slots_only(database: Session, ada, worker) -> None:
    for _ in range(2):
        queue(database, ada, resources={"gpus": 1})
    assert jobs.waiting(database) == 0, "there is no GPU"
    gpu = [workers.Device(f"gpu:{number}", "gpu", "x", 1, 1) for number in range(5)]
    workers.register(database, "other", 3, [CPU, *gpu])
    assert jobs.waiting(database) == 2, "five GPUs and two processors, but two jobs"
    queue(database, ada)
    assert jobs.waiting(database) == 3
