"""A claimed job, and a connection that breaks at COMMIT."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from made import CPU, queue
from store import database as database_module
from store import jobs, tokens, workers
from store.schedule import Claim


@pytest.fixture
def claimed(database: Session) -> Claim:
    """A job that a worker has just claimed."""
    worker = workers.register(database, "host", 1, [CPU])
    queue(database, tokens.user_named(database, "ada"))
    found = jobs.claim(database, worker)
    database.commit()
    assert found
    return found


@pytest.fixture
def break_commit(monkeypatch) -> Callable[[bool], list[bool]]:
    """Break the connection at the next COMMIT, after it took place or before; returns a list that then is not empty."""
    original = database_module.transaction
    monkeypatch.setattr(database_module.time, "sleep", lambda _: None)

    def arm(committed: bool) -> list[bool]:
        broken: list[bool] = []

        @contextmanager
        def breaking(*arguments: str) -> Iterator[Session]:
            with original(*arguments) as session:
                yield session
                if not broken:
                    broken.append(True)
                    session.commit() if committed else session.rollback()
                    raise OperationalError("COMMIT", {}, Exception("server closed the connection"))

        monkeypatch.setattr(database_module, "transaction", breaking)
        return broken

    return arm
