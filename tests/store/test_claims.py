"""What is claimed, and for what bells ring."""

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from made import CPU, queue
from store import feed, gate, jobs, quotas, schedule, workers
from store.database import transaction
from store.tables import Job

GPU = workers.Device("gpu:0", "gpu", "H", 2**37, 1)


@pytest.mark.parametrize(("state", "bells"), [("open", 1), ("paused", 0), ("draining", 0)])
def test_bells_ring_and_claims_start_jobs_only_while_the_queue_is_open(
    database: Session, ada, worker, state: str, bells: int
) -> None:
    queue(database, ada)
    assert gate.put(database, state)
    assert jobs.waiting(database) == bells
    assert (jobs.claim(database, worker) is not None) == bool(bells)


def test_no_bell_rings_for_a_job_that_waits_for_another_or_for_a_worker_that_drains(
    database: Session, ada, worker
) -> None:
    first = queue(database, ada)
    queue(database, ada, after=[str(first.id)])
    workers.register(database, "other", 2, [CPU])
    assert jobs.waiting(database) == 1, "two free slots, and one job that may start"
    workers.drain(database, worker)
    assert jobs.waiting(database) == 1
    database.execute(text("UPDATE workers SET draining = true"))
    assert jobs.waiting(database) == 0


def test_no_bell_rings_on_a_processor_for_a_job_that_wants_a_gpu_nor_the_other_way_round(
    database: Session, ada
) -> None:
    workers.register(database, "host", 1, [GPU])
    queue(database, ada)
    assert jobs.waiting(database) == 0
    queue(database, ada, resources={"gpus": 1})
    queue(database, ada, resources={"gpus": 2})
    assert jobs.waiting(database) == 1


def test_a_job_that_somebody_is_just_changing_is_passed_over(database: Session, ada, worker) -> None:
    first, second = queue(database, ada).id, queue(database, ada).id
    database.execute(update(Job).where(Job.id == second).values(memory=1))
    database.commit()
    with transaction() as changing:
        changing.execute(select(Job).where(Job.id == first).with_for_update())
        claimed = jobs.claim(database, worker)
        assert claimed
        assert claimed.job_id == second
        assert jobs.succeed(database, *claimed[:2])
        assert jobs.claim(database, worker) is None
    assert jobs.claim(database, worker).job_id == first


@pytest.mark.parametrize("kind", ["user", "project"])
def test_a_quota_of_the_usual_weight_and_no_guarantee_is_as_good_as_none(
    database: Session, ada, bob, worker, kind: str
) -> None:
    wanted = queue(database, ada, project="ada").id
    queue(database, bob, project="bob")
    for name, usage in (("ada", 100), ("bob", 150)):
        change = text(f"UPDATE {kind}s SET usage = :usage, usage_at = now() WHERE name = :name")
        database.execute(change, {"usage": usage, "name": name})
    of = quotas.subject(database, kind, "ada")
    assert of
    quotas.put(database, kind, of, 0, 1.0, None)
    claimed = jobs.claim(database, worker)
    assert claimed
    assert claimed.job_id == wanted


def test_a_claim_looks_at_64_needs_of_a_user_and_at_everybody(database: Session, ada, bob) -> None:
    for memory in range(66):
        job = queue(database, ada)
        database.execute(update(Job).where(Job.id == job.id).values(memory=memory))
    queue(database, bob)
    seen = [one.user for one in schedule.first(database)]
    assert (seen.count(ada), seen.count(bob)) == (64, 1)


def test_no_bell_rings_for_a_job_that_runs(database: Session, ada, worker) -> None:
    queue(database, ada)
    assert jobs.claim(database, worker)
    workers.register(database, "other", 2, [CPU])
    assert jobs.waiting(database) == 0


def test_a_job_that_waits_for_another_is_claimed_when_that_has_succeeded(database: Session, ada, worker) -> None:
    first = queue(database, ada)
    behind = queue(database, ada, after=[str(first.id)], resources={"priority": "high"})
    claimed = jobs.claim(database, worker)
    assert claimed.job_id == first.id
    workers.register(database, "other", 2, [CPU])
    assert jobs.succeed(database, *claimed[:2])
    assert jobs.claim(database, worker).job_id == behind.id


def test_a_worker_takes_its_own_slots_alone(database: Session, ada, worker) -> None:
    without = workers.register(database, "other", 2, [])
    queue(database, ada)
    assert jobs.claim(database, without) is None
    assert jobs.claim(database, worker)


def test_a_deadline_of_a_job_that_somebody_is_just_changing_is_looked_at_later(database: Session, ada) -> None:
    job_id = queue(database, ada, resources={"deadline": "2020-01-01T00:00:00+00:00"}).id
    database.commit()
    with transaction() as changing:
        changing.execute(select(Job).where(Job.id == job_id).with_for_update())
        database.execute(text("SET LOCAL lock_timeout = '2s'"))
        assert not jobs.miss(database, job_id)
    assert jobs.miss(database, job_id)


def test_a_database_that_is_there_answers(database: Session) -> None:
    assert feed.database_answers(database) is True
