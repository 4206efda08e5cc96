"""The attempt's own part in its end: a broken connection costs nothing that was done."""

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core.errors import Diverged
from core.events import Finished
from store import jobs
from store.schedule import Claim
from store.settings import settings
from worker import attempt
from worker.attempt import Attempt
from worker.supervisor import DONE, FAILED, folder


@pytest.fixture
def trying(database: Session, claimed: Claim, monkeypatch, tmp_path) -> Attempt:
    """An attempt in this process, whose science is still to be given."""
    monkeypatch.setattr(attempt, "settings", lambda: settings().model_copy(update={"work": tmp_path}))
    monkeypatch.setattr(attempt, "stored", lambda spec: spec)
    monkeypatch.setattr(attempt.signal, "signal", lambda *_: None)
    monkeypatch.setattr(attempt.torch, "set_num_threads", lambda _: None)
    return Attempt(claimed.job_id, claimed.fence, "cpu:0/0")


@pytest.mark.parametrize("committed", [True, False])
def test_a_finished_job_succeeds_though_the_connection_breaks(
    database: Session, trying: Attempt, monkeypatch, break_commit, committed: bool
) -> None:
    broken: list[list[bool]] = []

    def science(*_: object):
        yield Finished()
        broken.append(break_commit(committed))

    monkeypatch.setattr(attempt, "run", science)
    assert trying.run() == DONE
    assert broken == [[True]]
    database.expire_all()
    assert jobs.find(database, trying.job_id).state == "succeeded"


def test_a_failure_keeps_its_reason_though_the_connection_breaks(
    database: Session, trying: Attempt, monkeypatch, break_commit
) -> None:
    def science(*_: object):
        break_commit(False)
        raise Diverged(epoch=1, batch=2, loss="nan")
        yield

    monkeypatch.setattr(attempt, "run", science)
    assert trying.run() == FAILED
    database.expire_all()
    job = jobs.find(database, trying.job_id)
    assert (job.state, job.reason, job.deaths) == ("failed", "diverged", 1)


def test_a_database_that_stays_away_ends_the_process_and_not_the_job(
    database: Session, trying: Attempt, monkeypatch
) -> None:
    def science(*_: object):
        raise OperationalError("SELECT", {}, Exception("away for ten minutes"))
        yield

    monkeypatch.setattr(attempt, "run", science)
    with pytest.raises(OperationalError):
        trying.run()
    database.expire_all()
    assert jobs.find(database, trying.job_id).state == "running", "the supervisor records a death, worth another try"


def test_an_attempt_works_in_a_folder_that_no_other_attempt_uses(trying: Attempt, monkeypatch) -> None:
    seen = []

    def science(spec: object, place: attempt.Place, *_: object):
        seen.append(place.work)
        yield Finished()

    monkeypatch.setattr(attempt, "run", science)
    trying.run()
    assert seen == [folder(trying.job_id, trying.fence)]
    assert seen != [folder(trying.job_id, trying.fence + 1)]
