"""The engine, the session, patience while Postgres is away, and how constraints are named."""

import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import CheckConstraint, Connection, DateTime, Engine, MetaData, create_engine, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, REAL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Session

from store.settings import settings

Found = TypeVar("Found")
AWAY = (OperationalError, InterfaceError)
"""What is raised while Postgres is away; every other error comes again however often one tries."""
IDLE_SECONDS = 30
"""A transaction in which nothing happens for so long is that of a machine that was frozen or cut off: Postgres ends it, since
its locks would hold everybody up (the reaper's lock, the row of a job)."""
log = logging.getLogger(__name__)
NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """The base of all tables: UTC times, JSONB, and relationships that raise rather than load lazily (there are none)."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy's own form)
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
        list[float]: ARRAY(REAL),
    }


def one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    """A constraint: the column has one of these values."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


@cache
def engine(url: str | None = None) -> Engine:
    """One engine a process and address; a dead connection is noticed before it is used."""
    options = {"options": f"-c idle_in_transaction_session_timeout={IDLE_SECONDS}s"}
    address = url or settings().database_url
    return create_engine(address, pool_pre_ping=True, pool_size=10, max_overflow=20, connect_args=options)


def unhurried(connection: Connection | Session) -> None:
    """Let this transaction be idle for as long as it takes: it waits for files, and is not cut off."""
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))


@contextmanager
def transaction(url: str | None = None) -> Iterator[Session]:
    """A session that commits at the end of the block, or rolls back if it raises."""
    with Session(engine(url), expire_on_commit=False) as session:
        yield session
        session.commit()


def patiently(work: Callable[[Session], Found]) -> Found:
    """Do `work` in a transaction; while Postgres is away do it again every second, for `silence_seconds`.

    The connection may break after the commit, so work that took place may be done once more: a fence must make that harmless.
    """
    began = time.monotonic()
    while True:
        try:
            with transaction() as session:
                return work(session)
        except DBAPIError as error:
            if not _is_away(error) or time.monotonic() - began > settings().silence_seconds:
                raise
            log.warning("Postgres is away: %s", str(error).splitlines()[0])
        time.sleep(1)


def _is_away(error: DBAPIError) -> bool:
    """Whether Postgres is away, or has ended this session alone."""
    return isinstance(error, AWAY) or error.connection_invalidated


def uuid7() -> uuid.UUID:
    """A time-ordered id (RFC 9562, section 5.7): 48 bits of milliseconds, then random bits."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | int.from_bytes(os.urandom(10))
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    return uuid.UUID(int=(value & ~(0x3 << 62)) | (0x2 << 62))
