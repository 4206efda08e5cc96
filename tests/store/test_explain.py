"""Why a job waits, and when it will start; how the queue is paused and drained; who has had how much."""

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from made import CPU, queue
from store import explain as explaining
from store import gate, jobs, lookup, quotas, schedule, usage, workers
from store.estimate import History, seconds
from store.explain import Explanation, explain
from store.tables import Dependency, Job
from store.workers import Device

GPU = Device("gpu:0", "gpu", "H", 80 * 2**30, 1)


def ran(session: Session, job: Job, minutes: int) -> None:
    """The job has run for so long, and succeeded."""
    attempt = "INSERT INTO attempts (job_id, fence, worker_id, device, machine, started_at, ended_at) SELECT :job, 1, id, 'cpu:0', '{}', now() - make_interval(mins => :minutes), now() FROM workers LIMIT 1"
    session.execute(text(attempt), {"job": job.id, "minutes": minutes})
    session.execute(text("UPDATE jobs SET state = 'succeeded', fence = 1 WHERE id = :job"), {"job": job.id})


def why(session: Session, job: Job) -> Explanation:
    session.refresh(job)
    return explain(session, job)


def minutes(session: Session, found: Explanation) -> float:
    assert found.starts_at
    return (found.starts_at - schedule.clock(session)) / timedelta(minutes=1)


def test_an_estimate_is_the_median_of_the_jobs_most_alike_and_no_longer_than_allowed() -> None:
    history = History([(("a", "g"), 10.0), (("b", "g"), 30.0), (("a", "h"), 20.0), (("c", "i"), 99.0)])
    assert history.expected(("a", "i"), 1000) == 15
    assert history.expected(("x", "g"), 1000) == 20
    assert history.expected(("c", "x"), 50) == 50
    assert history.expected(("x", "x"), 70) == 70
    assert [seconds(one) for one in ("90s", "30m", "24h", "7d")] == [90, 1800, 86_400, 604_800]


def test_the_next_job_goes_at_once_and_others_when_those_before_them_will_have_ended(
    database: Session, ada, worker
) -> None:
    ran(database, queue(database, ada), minutes=20)
    first, second, third = (queue(database, ada) for _ in range(3))
    assert why(database, first).before == 0
    assert minutes(database, why(database, first)) == pytest.approx(0, abs=0.1)
    assert jobs.claim(database, worker).job_id == first.id
    database.execute(text("UPDATE jobs SET progress = '{\"eta\": 300}' WHERE id = :job"), {"job": first.id})
    assert why(database, first) == Explanation("running", None, "It is running.")
    assert (why(database, second).before, why(database, third).before) == (0, 1)
    assert minutes(database, why(database, second)) == pytest.approx(5, abs=0.1)
    assert minutes(database, why(database, third)) == pytest.approx(25, abs=0.1)
    assert why(database, third).words == "1 job goes before it."


def test_without_progress_an_attempt_is_taken_to_run_as_long_as_it_may(database: Session, ada, worker) -> None:
    queue(database, ada)
    second = queue(database, ada)
    jobs.claim(database, worker)
    assert minutes(database, why(database, second)) == pytest.approx(60, abs=0.1)


def test_a_job_that_needs_others_names_them(database: Session, ada, worker) -> None:
    first, second = queue(database, ada), queue(database, ada)
    database.add(Dependency(job_id=second.id, on_id=first.id, met=False))
    database.execute(text("UPDATE jobs SET blockers = 1 WHERE id = :job"), {"job": second.id})
    assert why(database, second).blocked_by == (first.id,)


def test_a_job_for_which_there_are_no_slots_says_what_is_missing(database: Session, ada) -> None:
    job = queue(database, ada, resources={"gpus": 2})
    assert why(database, job).words == "No worker is there. It needs 2 GPUs."
    workers.register(database, "host", 1, [CPU])
    assert why(database, job).words == "No worker has such slots. It needs 2 GPUs; none has any."
    workers.register(database, "other", 2, [CPU, GPU])
    assert "the most that one has is 1, the largest slot 80.0 GiB" in why(database, job).words
    database.execute(text("UPDATE jobs SET gpus = 1, memory = :memory"), {"memory": 90 * 2**30})
    assert why(database, job).words.startswith("No worker has such slots. It needs 1 GPU with 90.0 GiB in each slot;")


def test_a_job_at_its_quota_says_so_and_when_it_will_go(database: Session, ada, bob, worker) -> None:
    workers.register(database, "other", 2, [CPU])
    quotas.put(database, "user", ada, 0, 1.0, 1)
    queue(database, ada)
    second = queue(database, ada)
    assert jobs.claim(database, worker)
    assert jobs.claim(database, worker) is None
    found = why(database, second)
    assert (found.reason, found.before) == ("quota", 0)
    assert found.words == "Its user has 1 of at most 1 slots. 0 jobs go before it."
    assert minutes(database, found) == pytest.approx(60, abs=0.1)


def test_a_maximum_holds_in_claims_of_users_and_of_projects(database: Session, ada, bob) -> None:
    machine = workers.register(database, "host", 1, [Device("cpu:0", "cpu", "x", 2**34, 8)])
    for _ in range(4):
        queue(database, ada)
        queue(database, bob, project="other")
    quotas.put(database, "user", ada, 0, 1.0, 2)
    quotas.put(database, "project", quotas.subject(database, "project", "other"), 0, 1.0, 3)
    claimed = 0
    while jobs.claim(database, machine):
        claimed += 1
    assert claimed == 5


def test_a_guarantee_and_a_weight_hold_in_claims(database: Session, ada, bob, worker) -> None:
    database.execute(text("UPDATE users SET usage = 1000 WHERE name = 'ada'"))
    database.execute(text("UPDATE users SET usage = 400 WHERE name = 'bob'"))
    queue(database, bob)
    mine = queue(database, ada)
    assert _next(database, worker) != mine.id
    quotas.put(database, "user", ada, 0, 3.0, None)
    assert _next(database, worker) == mine.id
    quotas.put(database, "user", ada, 0, 1.0, None)
    quotas.put(database, "project", mine.project_id, 1, 1.0, None)
    assert _next(database, worker) != mine.id, "both are of the project"
    quotas.put(database, "user", ada, 1, 1.0, None)
    quotas.remove(database, "project", mine.project_id)
    assert _next(database, worker) == mine.id


def _next(session: Session, worker) -> object:
    """Who would be claimed; nothing is kept."""
    with session.begin_nested() as inside:
        found = jobs.claim(session, worker).job_id
        inside.rollback()
    return found


@pytest.mark.parametrize(("state", "words"), [("paused", "is paused"), ("draining", "is draining")])
def test_a_queue_that_is_not_open_starts_nothing_and_says_so(database: Session, ada, worker, state, words) -> None:
    running = queue(database, ada)
    claimed = jobs.claim(database, worker)
    assert claimed.job_id == running.id
    other = workers.register(database, "other", 2, [CPU])
    waiting = queue(database, ada)
    assert jobs.waiting(database) == 1
    assert gate.put(database, state)
    assert jobs.claim(database, other) is None
    assert jobs.waiting(database) == 0
    assert words in why(database, waiting).words
    assert jobs.heartbeat(database, *claimed[:2]) == ("drain" if state == "draining" else "none")
    assert not gate.put(database, "open", version=1), "it is at version 2"
    assert gate.put(database, "open", version=2)
    assert jobs.heartbeat(database, *claimed[:2]) == "none"
    assert jobs.claim(database, other).job_id == waiting.id


def test_an_attempt_is_charged_to_its_user_and_its_project(database: Session, ada, worker) -> None:
    queue(database, ada)
    claimed = jobs.claim(database, worker)
    database.execute(text("UPDATE attempts SET started_at = now() - interval '2 hours'"))
    assert jobs.succeed(database, claimed.job_id, claimed.fence)
    for table in ("users", "projects"):
        used = database.execute(text(f"SELECT sum(usage) FROM {table}")).scalar()
        assert used == pytest.approx(7200 * 0.9715, rel=1e-3), "7200 s, of which the first are half forgotten in a day"
    (had,) = usage.by(database, "project", 30)
    assert (had.name, had.running, had.share) == ("default", 0, 1.0)
    assert had.hours == pytest.approx(2, abs=0.01)
    assert had.counted == pytest.approx(2 * 0.9715, rel=1e-2)


def test_a_job_of_two_gpus_gets_two_devices_in_one_claim(database: Session, ada) -> None:
    machine = workers.register(database, "host", 1, [GPU, Device("gpu:1", "gpu", "H", 80 * 2**30, 1)])
    queue(database, ada, resources={"gpus": 2})
    claimed = jobs.claim(database, machine)
    assert (claimed.devices, claimed.slots) == (["gpu:0", "gpu:1"], "gpu:0/0,gpu:1/0")
    assert (
        database.execute(text("SELECT count(*) FROM slots WHERE job_id = :job"), {"job": claimed.job_id}).scalar() == 2
    )
    assert lookup.attempts(database, claimed.job_id)[0].device == "gpu:0,gpu:1"
    assert jobs.claim(database, machine) is None


def test_a_job_that_needs_memory_takes_a_slot_that_has_it(database: Session, ada) -> None:
    small = Device("gpu:0", "gpu", "H", 80 * 2**30, 4)
    machine = workers.register(database, "host", 1, [small, Device("gpu:1", "gpu", "H", 80 * 2**30, 1)])
    queue(database, ada, resources={"gpus": 1})
    database.execute(text("UPDATE jobs SET memory = :memory"), {"memory": 21 * 2**30})
    assert jobs.claim(database, machine).devices == ["gpu:1"]
    queue(database, ada, resources={"gpus": 1})
    assert jobs.claim(database, machine).devices == ["gpu:0"]


def test_a_job_that_ends_while_the_forecast_is_made_does_not_upset_it(
    database: Session, ada, worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue(database, ada)
    claimed, parties = jobs.claim(database, worker), schedule.parties
    waiting = queue(database, ada)

    def later(session: Session, ids) -> dict:
        assert jobs.succeed(session, *claimed[:2])
        return parties(session, ids)

    monkeypatch.setattr(schedule, "parties", later)
    assert [start.waiting.job for start in explaining.future(database, explaining.team(database)).starts()] == [
        waiting.id
    ]


def test_who_is_deleted_while_usage_is_read_is_left_out(database: Session, ada, bob, monkeypatch) -> None:
    parties = schedule.parties
    monkeypatch.setattr(schedule, "parties", lambda session, ids: parties(session, set(ids) - {bob}))
    assert [one.name for one in usage.by(database, "user", 30)] == ["ada"]


def test_a_job_that_has_not_run_has_used_nothing(database: Session, ada) -> None:
    for _ in range(2):
        queue(database, ada)
    assert [had.hours for kind in ("user", "project") for had in usage.by(database, kind, 30)] == [0.0, 0.0]
