"""Jobs that wait for others: when they may start, what they are told, and the race with a predecessor that ends."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.orm import Session

from core.errors import Reason
from made import queue, spec
from store import jobs, submission
from store.database import transaction
from store.tables import Job


def fresh(session: Session, job_id: uuid.UUID) -> Job:
    session.flush()
    session.expire_all()
    job = jobs.find(session, job_id)
    assert job
    return job


def claimed(session: Session, worker: uuid.UUID) -> tuple[uuid.UUID, int] | None:
    found = jobs.claim(session, worker)
    return (found.job_id, found.fence) if found else None


def after(session: Session, owner: uuid.UUID, *on: Job, **changes) -> Job:
    return queue(session, owner, after=[str(one.id) for one in on], **changes)


def test_a_job_waits_until_all_that_it_names_have_succeeded(database: Session, ada, worker) -> None:
    first, second = queue(database, ada), queue(database, ada)
    last = after(database, ada, first, second)
    assert (last.state, last.blockers, last.message) == ("queued", 2, "It waits for 2 jobs to succeed.")
    for left in (1, 0):
        key = claimed(database, worker)
        assert key
        assert key[0] in (first.id, second.id)
        jobs.succeed(database, *key)
        assert fresh(database, last.id).blockers == left
    assert fresh(database, last.id).message is None
    assert claimed(database, worker)[0] == last.id


def test_what_has_succeeded_already_holds_nobody_up(database: Session, ada, worker) -> None:
    first = queue(database, ada)
    jobs.succeed(database, *claimed(database, worker))
    last = after(database, ada, fresh(database, first.id))
    assert (last.blockers, last.message) == (0, None)


@pytest.mark.parametrize(("ending", "words"), [("failed", "But 1 failed"), ("cancelled", "But 1 cancelled")])
def test_a_predecessor_that_does_not_succeed_leaves_its_followers_waiting_and_says_so(
    database: Session, ada, worker, ending: str, words: str
) -> None:
    first = queue(database, ada)
    last = after(database, ada, first)
    if ending == "cancelled":
        jobs.cancel(database, first.id)
    else:
        jobs.fail(database, *claimed(database, worker), Reason.DIVERGED, "nan", retry=False)
    job = fresh(database, last.id)
    assert (job.state, job.blockers) == ("queued", 1)
    assert words in job.message
    assert claimed(database, worker) is None
    jobs.requeue(database, first.id)
    assert fresh(database, last.id).message == "It waits for 1 job to succeed."
    jobs.succeed(database, *claimed(database, worker))
    assert claimed(database, worker)[0] == last.id


def test_once_met_it_is_met_for_ever(database: Session, ada, worker) -> None:
    first = queue(database, ada)
    last = after(database, ada, first)
    jobs.succeed(database, *claimed(database, worker))
    jobs.requeue(database, first.id)
    assert fresh(database, last.id).blockers == 0


def test_a_job_that_others_wait_for_is_not_deleted_until_they_are(database: Session, ada) -> None:
    first = queue(database, ada)
    last = after(database, ada, first)
    with pytest.raises(jobs.Impossible, match="1 jobs wait for it"):
        jobs.delete(database, first.id)
    jobs.delete(database, last.id)
    jobs.delete(database, first.id)


def test_a_paused_follower_is_told_again_when_it_is_resumed(database: Session, ada) -> None:
    first = queue(database, ada)
    last = after(database, ada, first)
    jobs.pause(database, last.id)
    assert fresh(database, last.id).message is None
    jobs.resume(database, last.id)
    assert fresh(database, last.id).message == "It waits for 1 job to succeed."


def test_the_followers_of_one_submission_all_wait_and_are_told_in_one_go(database: Session, ada) -> None:
    on = [queue(database, ada) for _ in range(7)]
    asked = [submission.Asked(spec(after=[str(one.id) for one in on], seed=n), {}, "x") for n in range(3)]
    made = submission.create_all(database, ada, [asked[:1], asked[1:]])
    assert {job.message for job in made} == {"It waits for 7 jobs to succeed."}
    assert [job.number for job in made] == [8, 9, 10]
    assert len({job.group_id for job in made}) == 2


@pytest.mark.parametrize("first_to_commit", ["predecessor", "follower"])
def test_a_job_submitted_while_its_predecessor_ends_never_waits_for_ever(
    database: Session, ada, worker, first_to_commit: str
) -> None:
    first = queue(database, ada)
    key = claimed(database, worker)
    database.commit()

    def submit() -> uuid.UUID:
        with transaction() as session:
            return after(session, ada, first).id

    def succeed() -> bool:
        with transaction() as session:
            return jobs.succeed(session, *key)

    with ThreadPoolExecutor() as pool, transaction() as early:
        if first_to_commit == "predecessor":
            assert jobs.succeed(early, *key)
            late = pool.submit(submit)
        else:
            last_id = after(early, ada, first).id
            late = pool.submit(succeed)
        with pytest.raises(TimeoutError):
            late.result(0.5)
        early.commit()
        found = late.result(10)
    last = fresh(database, found if first_to_commit == "predecessor" else last_id)
    assert (last.blockers, last.message) == (0, None)


def test_two_predecessors_that_succeed_at_once_let_their_follower_go(database: Session, ada) -> None:
    from store import workers

    two = workers.register(database, "host", 2, [workers.Device("cpu:0", "cpu", "x", 1, 2)])
    last = after(database, ada, queue(database, ada), queue(database, ada))
    keys = [claimed(database, two), claimed(database, two)]
    database.commit()

    def succeed(key) -> bool:
        with transaction() as session:
            return jobs.succeed(session, *key)

    with ThreadPoolExecutor() as pool:
        assert list(pool.map(succeed, keys)) == [True, True]
    assert fresh(database, last.id).blockers == 0
