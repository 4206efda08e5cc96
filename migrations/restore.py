"""A backup back into an empty service: `python -m migrations.restore FOLDER`.

The tables are made as they were when the backup was written, filled, and then brought to the present by the migrations.
Files come first, each hashed while it is copied. Nothing is restored over what is there.
"""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

from psycopg import sql
from sqlalchemy import Connection, inspect, text

import migrations
from store import artifacts, backup
from store.database import engine
from store.settings import settings


class NotRestored(Exception):
    """Why a backup cannot be restored here."""


def restore(folder: Path) -> dict[str, int]:
    """Restore a backup; returns the rows of each table."""
    path = folder / "tables" / backup.MANIFEST
    if not path.is_file():
        raise NotRestored(f"{folder} holds no whole backup: there is no {path}")
    about = json.loads(path.read_text())
    with engine().connect() as connection:
        _refuse_what_is_not_empty(connection)
    migrations.upgrade(settings().database_url, about["revision"])
    with engine().begin() as connection:
        for name, columns in about["columns"].items():
            _fill(connection, name, columns, folder / "tables" / f"{name}.copy.gz", about["rows"][name])
        _files(connection, folder / "files")
    migrations.upgrade(settings().database_url)
    rows: dict[str, int] = about["rows"]
    return rows


def _refuse_what_is_not_empty(connection: Connection) -> None:
    """A fresh installation has tables, made by its first start, and nothing in them but perhaps a first user."""
    for name in inspect(connection).get_table_names():
        if name == "jobs" and connection.execute(text("SELECT EXISTS (SELECT FROM jobs)")).scalar():
            raise NotRestored("the database holds jobs: name an empty one in SPARRING_DATABASE_URL")
        if name != "alembic_version":
            raise NotRestored("the database has tables already: name an empty one in SPARRING_DATABASE_URL")


def _fill(connection: Connection, name: str, columns: list[str], path: Path, rows: int) -> None:
    """Fill a table, and have its numbers go on behind those it has."""
    into = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(name), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with gzip.open(path, "rb") as file, connection.connection.cursor() as cursor:
        with cursor.copy(into) as copy:
            while block := file.read(2**20):
                copy.write(block)
        if cursor.rowcount != rows:
            raise NotRestored(f"{path} has {cursor.rowcount} rows, not {rows}")
    for column in inspect(connection).get_columns(name):
        if str(column.get("default") or "").startswith("nextval("):
            _go_on(connection, name, column)


def _go_on(connection: Connection, name: str, column: Any) -> None:
    called = {"table": name, "column": column["name"]}
    most = f'(SELECT coalesce(max("{column["name"]}"), 0) + 1 FROM "{name}")'  # noqa: S608 (names of our schema)
    connection.execute(text(f"SELECT setval(pg_get_serial_sequence(:table, :column), {most}, false)"), called)


def _files(connection: Connection, files: Path) -> None:
    """Put the files that the rows name in their places."""
    for file in backup.named(connection):
        if not backup.copied(backup.kept(file, files), artifacts.place(*file), file[0]):
            sys.stderr.write(f"missing or damaged: {backup.kept(file, files)}\n")


def main(folder: str) -> int:
    """0 if all is back."""
    try:
        rows = restore(Path(folder))
    except NotRestored as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{sum(rows.values())} rows restored\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
