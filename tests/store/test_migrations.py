"""The migrations make exactly the tables that the code has, forward and back."""

from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, NullPool, create_engine, inspect, text
from sqlalchemy.exc import IntegrityError

import migrations
from store.database import Base


def config(root: Path, url: str) -> Config:
    found = Config(root / "alembic.ini")
    found.attributes["url"] = url
    return found


def test_the_migrations_make_the_tables(servers, root: Path) -> None:
    url = servers["SPARRING_DATABASE_URL"]
    command.check(config(root, url))
    names = set(inspect(create_engine(url, poolclass=NullPool)).get_table_names())
    assert names == set(Base.metadata.tables) | {"alembic_version"}


def test_the_migrations_make_the_keys(servers) -> None:
    """Alembic compares everything but primary keys."""
    found = inspect(create_engine(servers["SPARRING_DATABASE_URL"], poolclass=NullPool))
    for name, table in Base.metadata.tables.items():
        assert set(found.get_pk_constraint(name)["constrained_columns"]) == {c.name for c in table.primary_key}, name


def new_database(url: str, name: str) -> str:
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    return url.replace("/sparring?", f"/{name}?")


def test_the_migrations_go_back_and_forth(servers, root: Path) -> None:
    other = new_database(servers["SPARRING_DATABASE_URL"], "back_and_forth")
    migrations.upgrade(other)
    command.downgrade(config(root, other), "base")
    assert set(inspect(create_engine(other, poolclass=NullPool)).get_table_names()) == {"alembic_version"}
    migrations.upgrade(other)
    assert set(Base.metadata.tables) < set(inspect(create_engine(other, poolclass=NullPool)).get_table_names())


def results(engine: Engine, columns: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return sorted(tuple(row) for row in connection.execute(text(f"SELECT {columns} FROM results")))


def add_result(engine: Engine, **columns: object) -> None:
    """A result of one job, past the table's references: only the key is of interest."""
    row = {
        "job_id": "00000000-0000-0000-0000-000000000001",
        "protocol": "paper",
        "position": 0,
        "body": "{}",
        **columns,
    }
    names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text(f"INSERT INTO results ({names}) VALUES ({values})"), row)


def test_results_from_before_are_of_the_trained_network_and_survive_the_way_back(servers, root: Path) -> None:
    other = new_database(servers["SPARRING_DATABASE_URL"], "results_of_networks")
    engine = create_engine(other, poolclass=NullPool)
    command.upgrade(config(root, other), "0001")
    add_result(engine, label="fgsm", accuracy=0.5)
    migrations.upgrade(other)
    add_result(engine, label="fgsm", accuracy=0.25, network="1-int8")
    with pytest.raises(IntegrityError, match="pk_results"):
        add_result(engine, label="fgsm", accuracy=0.125, network="1-int8")
    assert results(engine, "network, accuracy") == [("1-int8", 0.25), ("trained", 0.5)]
    command.downgrade(config(root, other), "0001")
    assert results(engine, "label, accuracy") == [("fgsm", 0.5)]


def test_the_outcomes_of_images_move_into_a_column_of_their_own_and_back(servers, root: Path) -> None:
    other = new_database(servers["SPARRING_DATABASE_URL"], "outcomes_of_images")
    engine = create_engine(other, poolclass=NullPool)
    command.upgrade(config(root, other), "0002")
    body = '{"draws": 1, "survived": "0110"}'
    add_result(engine, label="clean", accuracy=0.5)
    add_result(engine, label="fgsm", accuracy=0.5, body=body)
    migrations.upgrade(other)
    assert results(engine, "label, body::text, outcomes::text") == [
        ("clean", "{}", "{}"),
        ("fgsm", '{"draws": 1}', '{"survived": "0110"}'),
    ]
    told = '{"queries": [1, 2], "distance": [0.5, 0], "survived": "01", "predicted": [3, 4]}'
    add_result(engine, label="pgd", accuracy=0.5, outcomes=told)
    for _ in range(2):
        command.downgrade(config(root, other), "0002")
        assert results(engine, "label, body::text") == [("clean", "{}"), ("fgsm", body), ("pgd", told)]
        migrations.upgrade(other)
    assert results(engine, "label, outcomes::text")[1:] == [("fgsm", '{"survived": "0110"}'), ("pgd", told)]
