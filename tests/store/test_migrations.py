"""The migrations make exactly the tables that the code has, forward and back."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import NullPool, create_engine, inspect, text

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


def test_the_migrations_go_back_and_forth(servers, root: Path) -> None:
    url = servers["SPARRING_DATABASE_URL"]
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text("CREATE DATABASE back_and_forth"))
    other = url.replace("/sparring?", "/back_and_forth?")
    migrations.upgrade(other)
    command.downgrade(config(root, other), "base")
    assert set(inspect(create_engine(other, poolclass=NullPool)).get_table_names()) == {"alembic_version"}
    migrations.upgrade(other)
    assert set(Base.metadata.tables) < set(inspect(create_engine(other, poolclass=NullPool)).get_table_names())
