"""Who runs next."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from made import CPU, queue
from store import jobs, tokens, workers
from store.database import transaction
from store.schedule import Claim
from store.workers import Device


def finish(session: Session, claimed) -> None:
    assert jobs.succeed(session, claimed.job_id, claimed.fence)


def test_within_a_user_priority_comes_before_age(database: Session, ada, worker) -> None:
    names = [("old", "normal"), ("low", "low"), ("high", "high"), ("new", "normal")]
    made = {queue(database, ada, name=name, resources={"priority": priority}).id: name for name, priority in names}
    order = []
    while claimed := jobs.claim(database, worker):
        order.append(made[claimed.job_id])
        finish(database, claimed)
    assert order == ["high", "old", "new", "low"]


def test_one_job_of_another_user_comes_before_the_rest_of_a_long_queue(database: Session, ada, bob, worker) -> None:
    for _ in range(50):
        queue(database, ada)
    first = jobs.claim(database, worker)
    database.execute(text("UPDATE attempts SET started_at = now() - interval '10 seconds'"))
    finish(database, first)
    wanted = queue(database, bob).id
    assert jobs.claim(database, worker).job_id == wanted


def test_high_priority_does_not_overtake_another_user(database: Session, ada, bob, worker) -> None:
    database.execute(text("UPDATE users SET usage = 1000 WHERE name = 'ada'"))
    queue(database, ada, resources={"priority": "high"})
    wanted = queue(database, bob, resources={"priority": "low"}).id
    assert jobs.claim(database, worker).job_id == wanted


def test_usage_is_halved_every_day(database: Session, ada, bob, worker) -> None:
    database.execute(text("UPDATE users SET usage = 1000, usage_at = now() - interval '3 days' WHERE name = 'ada'"))
    database.execute(text("UPDATE users SET usage = 200 WHERE name = 'bob'"))
    wanted = queue(database, ada).id
    queue(database, bob)
    assert jobs.claim(database, worker).job_id == wanted, "1000 / 8 is less than 200"


def test_who_comes_back_after_years_is_charged_as_anybody(database: Session, ada, worker) -> None:
    database.execute(text("UPDATE users SET usage = 1000, usage_at = now() - interval '1100 days' WHERE name = 'ada'"))
    database.execute(text("UPDATE projects SET usage = 1000, usage_at = now() - interval '1100 days'"))
    queue(database, ada)
    claimed = jobs.claim(database, worker)
    database.execute(text("UPDATE attempts SET started_at = now() - interval '10 seconds'"))
    finish(database, claimed)
    assert database.execute(text("SELECT usage FROM users")).scalar_one() == pytest.approx(10, abs=1)


def test_ten_users_get_equal_shares(database: Session, worker) -> None:
    users = [tokens.user_named(database, f"user-{number}") for number in range(10)]
    for _ in range(10):
        for user in users:
            queue(database, user)
    served: dict[uuid.UUID, int] = dict.fromkeys(users, 0)
    for _ in range(50):
        claimed = jobs.claim(database, worker)
        served[jobs.find(database, claimed.job_id).owner_id] += 1
        database.execute(text("UPDATE attempts SET started_at = now() - interval '60 seconds' WHERE ended_at IS NULL"))
        finish(database, claimed)
    assert set(served.values()) == {5}


def test_a_job_with_a_gpu_waits_for_one_and_does_not_block_the_others(database: Session, ada, worker) -> None:
    queue(database, ada, resources={"gpus": 1, "priority": "high"})
    small = queue(database, ada)
    assert jobs.claim(database, worker).job_id == small.id


def test_gpu_jobs_take_gpu_slots(database: Session, ada) -> None:
    machine = workers.register(
        database, "gpu-a", 1, [CPU, Device("gpu:0", "gpu", "H", 2**37, 1), Device("gpu:1", "gpu", "H", 2**37, 1)]
    )
    for _ in range(3):
        queue(database, ada, resources={"gpus": 1})
    claims = [jobs.claim(database, machine) for _ in range(3)]
    assert [claimed.devices for claimed in claims if claimed] == [["gpu:0"], ["gpu:1"]]


def test_a_worker_with_two_slots_of_a_device_runs_two_jobs(database: Session, ada) -> None:
    machine = workers.register(database, "host", 1, [Device("cpu:0", "cpu", "x", 2**34, 2)])
    for _ in range(3):
        queue(database, ada)
    claims = [jobs.claim(database, machine) for _ in range(3)]
    assert [one.slots for one in claims if one] == ["cpu:0/0", "cpu:0/1"]
    finish(database, claims[0])
    assert jobs.claim(database, machine).slots == "cpu:0/0"


def test_claims_wait_for_one_another_and_never_share_a_slot(database: Session, ada, worker) -> None:
    for _ in range(2):
        queue(database, ada)
    database.commit()
    with transaction() as one:
        assert jobs.claim(one, worker)
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(claim_alone, worker)
            with pytest.raises(TimeoutError):
                other.result(0.3)
            one.commit()
            assert other.result(5) is None
    states = database.execute(text("SELECT state, count(*) FROM jobs GROUP BY state")).all()
    assert dict(states) == {"running": 1, "queued": 1}


def claim_alone(worker: uuid.UUID) -> Claim | None:
    with transaction() as session:
        return jobs.claim(session, worker)


@pytest.mark.slow
def test_a_claim_among_fifty_thousand_is_quick(database: Session, ada, bob, worker) -> None:
    """Not a timed test of the promise (that is issue 5's): the plan must not count or sort the whole queue."""
    job = queue(database, ada)
    columns = "group_id, project_id, owner_id, name, kind, seed, spec, submitted, digest, priority, gpus, state, wish, trust, fence, deaths, losses, last_seq, progress, phases, last"
    database.execute(
        text(
            f"INSERT INTO jobs (id, number, {columns}) SELECT gen_random_uuid(), 10 + n, {columns} FROM jobs, generate_series(1, 50000) n WHERE id = :id"
        ),
        {"id": job.id},
    )
    wanted = queue(database, bob).id
    database.execute(text("UPDATE users SET usage = 100 WHERE name = 'ada'"))
    database.commit()
    database.execute(text("ANALYZE jobs"))
    assert jobs.claim(database, worker).job_id == wanted
