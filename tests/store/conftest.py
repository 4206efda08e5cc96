"""Two users and a worker."""

import uuid

import pytest
from sqlalchemy.orm import Session

from made import CPU
from store import tokens, workers


@pytest.fixture
def ada(database: Session) -> uuid.UUID:
    return tokens.user_named(database, "ada")


@pytest.fixture
def bob(database: Session) -> uuid.UUID:
    return tokens.user_named(database, "bob")


@pytest.fixture
def worker(database: Session) -> uuid.UUID:
    return workers.register(database, "host", 1, [CPU])
