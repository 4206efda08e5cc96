"""Databases of every past revision, with a row in each table: forward, back, and old processes beside the new schema."""

import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, NullPool, Table, create_engine, insert, inspect, select, text

ROOT = Path(__file__).parents[2]
SCRIPTS = ScriptDirectory.from_config(Config(ROOT / "alembic.ini"))
REVISIONS = [script.revision for script in reversed(list(SCRIPTS.walk_revisions()))]
FILLED = {("quotas", "user_id")}
"""Columns that may be null and that a constraint of the table wants all the same."""
Rows = dict[str, dict[str, Any]]


def config(url: str) -> Config:
    found = Config(ROOT / "alembic.ini")
    found.attributes["url"] = url
    return found


@pytest.fixture
def url(servers, request) -> str:
    """A database of the test's own."""
    name = "history_" + re.sub(r"\W", "_", request.node.name)[-40:].lower()
    address = servers["SPARRING_DATABASE_URL"]
    engine = create_engine(address, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    return address.replace("/sparring?", f"/{name}?")


def tables(connection: Connection) -> list[Table]:
    """The tables that there are, each behind those that it refers to."""
    metadata = MetaData()
    metadata.reflect(connection)
    return [table for table in metadata.sorted_tables if table.name != "alembic_version"]


def choices(connection: Connection, table: Table) -> dict[str, str]:
    """The first value that a constraint allows a column to have."""
    found = {}
    for check in inspect(connection).get_check_constraints(table.name):
        if listed := re.match(r"\(?\(?(\w+) = ANY \(ARRAY\['([^']*)'", check["sqltext"]):
            found[listed[1]] = listed[2]
    return found


def value(python: type) -> Any:
    made = {str: "text", int: 1, float: 0.5, bool: False, dict: {}, list: [], bytes: b"x", uuid.UUID: uuid.uuid4()}
    return (made | {datetime: datetime(2026, 1, 31, tzinfo=UTC)})[python]


def row(connection: Connection, table: Table, others: Rows) -> dict[str, Any]:
    """What must be given for a row of a table: no more than a column needs that has no default."""
    allowed, found = choices(connection, table), {}
    for column in table.columns:
        wanted = (table.name, column.name) in FILLED or not (column.nullable or column.server_default)
        if not wanted:
            continue
        key = next(iter(column.foreign_keys), None)
        if key is not None:
            found[column.name] = others[key.column.table.name][key.column.name]
        elif column.name in allowed:
            found[column.name] = allowed[column.name]
        else:
            found[column.name] = value(column.type.python_type)
    return found


def fill(connection: Connection) -> Rows:
    """One row in every table; returns what was given and what the database added."""
    made: Rows = {}
    for table in tables(connection):
        added = connection.execute(insert(table).values(row(connection, table, made)).returning(*table.columns))
        made[table.name] = dict(added.mappings().one())
    return made


def held(connection: Connection) -> Rows:
    """The one row of each table, nothing where it is gone."""
    rows = {table.name: connection.execute(select(table)).mappings().one_or_none() for table in tables(connection)}
    return {name: dict(row or {}) for name, row in rows.items()}


def lost(before: Rows, after: Rows) -> Iterator[str]:
    """Rows that are gone, and values that are not the same, of tables and columns that both have."""
    for name in before.keys() & after.keys():
        if not after[name]:
            yield f"the row of {name}"
        for column in before[name].keys() & after[name].keys():
            if before[name][column] != after[name][column]:
                yield f"{name}.{column}: {before[name][column]!r}, then {after[name][column]!r}"


@pytest.mark.parametrize("revision", REVISIONS)
def test_p25_data_of_every_past_revision_survive_the_way_forward_and_each_step_back(url: str, revision: str) -> None:
    engine = create_engine(url, poolclass=NullPool)
    command.upgrade(config(url), revision)
    with engine.begin() as connection:
        before = fill(connection)
    command.upgrade(config(url), "head")
    with engine.begin() as connection:
        after = held(connection)
    assert before.keys() <= after.keys()
    assert list(lost(before, after)) == []
    for step in reversed(REVISIONS[REVISIONS.index(revision) : -1]):
        command.downgrade(config(url), step)
        with engine.begin() as connection:
            assert list(lost(before, held(connection))) == [], step
    command.upgrade(config(url), "head")


def test_p25_data_of_the_present_revision_survive_as_far_back_as_there_is_a_place_for_them(url: str) -> None:
    engine = create_engine(url, poolclass=NullPool)
    command.upgrade(config(url), "head")
    with engine.begin() as connection:
        before = fill(connection)
    for step in reversed(REVISIONS[:-1]):
        command.downgrade(config(url), step)
        with engine.begin() as connection:
            there = held(connection)
        assert there
        assert list(lost(before, there)) == [], step
    command.upgrade(config(url), "head")
    with engine.begin() as connection:
        assert list(lost(there, held(connection))) == []


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_p25_what_a_process_of_a_past_revision_writes_is_taken_by_the_present_schema(url: str, revision: str) -> None:
    """It names the columns that it knows, in inserts and in updates, and reads them back."""
    engine = create_engine(url, poolclass=NullPool)
    command.upgrade(config(url), revision)
    with engine.begin() as connection:
        known = tables(connection)
        wanted = {table.name: choices(connection, table) for table in known}
    command.upgrade(config(url), "head")
    made: Rows = {}
    with engine.begin() as connection:
        for table in known:
            given = row(connection, table, made)
            assert wanted[table.name].items() <= choices(connection, table).items()
            added = connection.execute(insert(table).values(given).returning(*table.columns))
            made[table.name] = dict(added.mappings().one())
            connection.execute(table.update().values(made[table.name]))
        for table in known:
            assert dict(connection.execute(select(table)).mappings().one()) == made[table.name]


def test_p25_events_of_before_are_placed_by_their_time_each_job_s_in_its_own_order(url: str) -> None:
    engine = create_engine(url, poolclass=NullPool)
    command.upgrade(config(url), "0003")
    with engine.begin() as connection:
        job = fill(connection)["jobs"]
        connection.execute(text("DELETE FROM events"))
        other = job | {"id": uuid.uuid4(), "number": job["number"] + 1}
        connection.execute(insert(next(t for t in tables(connection) if t.name == "jobs")).values(other))
        for one, seq, second in ((job, 1, 1), (other, 1, 2), (job, 2, 4), (job, 3, 3), (other, 2, 5)):
            connection.execute(
                text(
                    "INSERT INTO events (job_id, seq, kind, body, created_at) VALUES (:job, :seq, 'x', '{}', to_timestamp(:s))"
                ),
                {"job": one["id"], "seq": seq, "s": second},
            )
    command.upgrade(config(url), "head")
    with engine.begin() as connection:
        rows = connection.execute(text("SELECT job_id, seq, position FROM events ORDER BY position")).all()
    assert [(job_id == job["id"], seq, position) for job_id, seq, position in rows] == [
        (True, 1, 1),
        (False, 1, 2),
        (True, 2, 3),
        (True, 3, 4),
        (False, 2, 5),
    ]
