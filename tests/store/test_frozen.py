"""A machine that is frozen or cut off in the middle of a transaction: its locks end, and what it was about is done again."""

import time

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from made import queue
from store import jobs, reaper
from store.database import engine, patiently
from store.settings import settings

SHORTER = text("SET LOCAL idle_in_transaction_session_timeout = '1s'")


def test_postgres_waits_for_half_a_minute(database: Session) -> None:
    assert database.execute(text("SHOW idle_in_transaction_session_timeout")).scalar() == "30s"


def test_the_reaper_looks_again_soon(database: Session, ada, worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else no lost job of anybody's would be found until the machine wakes or the connection is given up, for hours."""
    monkeypatch.setattr(jobs, "settings", lambda: settings().model_copy(update={"lease_seconds": 0.01}))
    queue(database, ada)
    assert jobs.claim(database, worker)
    database.commit()
    with Session(engine()) as frozen:
        frozen.execute(SHORTER)
        frozen.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": reaper.LOCK})
        assert reaper.reap() == 0
        time.sleep(1.5)
        assert reaper.reap() == 1
        with pytest.raises(DBAPIError):
            frozen.commit()


def test_what_the_machine_was_about_is_done_again_when_it_wakes(database: Session, ada) -> None:
    tries = []

    def work(session: Session) -> int:
        session.execute(SHORTER)
        tries.append(1)
        time.sleep(1.5 if len(tries) == 1 else 0)
        return session.execute(text("SELECT 2")).scalar()

    assert patiently(work) == 2
    assert tries == [1, 1]
