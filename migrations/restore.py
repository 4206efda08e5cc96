"""A backup back into an empty service: `python -m migrations.restore FOLDER`.

The tables are made as they were when the backup was written, filled, and then brought to the present by the migrations.
Files come first, each hashed while it is copied. Nothing is restored over what is there.
"""

import gzip
import json
import sys
from contextlib import closing
from pathlib import Path

from psycopg import sql
from sqlalchemy import Connection, inspect, text

import migrations
from store import artifacts, backup
from store.database import engine, unhurried
from store.settings import settings


class NotRestored(Exception):
    """Why a backup cannot be restored here."""


def restore(folder: Path) -> tuple[dict[str, int], list[backup.File]]:
    """Restore a backup; returns the rows of each table, and the files that rows name and that are not whole in it."""
    path = folder / "tables" / backup.MANIFEST
    if not path.is_file():
        raise NotRestored(f"{folder} holds no whole backup: there is no {path}")
    about = json.loads(path.read_text())
    with engine().connect() as connection:
        if inspect(connection).get_table_names():
            raise NotRestored("the database has tables already: name an empty one in SPARRING_DATABASE_URL")
    migrations.upgrade(settings().database_url, about["revision"])
    with engine().begin() as connection:
        unhurried(connection)
        for name, columns in about["columns"].items():
            _fill(connection, name, columns, folder / "tables" / f"{name}.copy.gz", about["rows"][name])
        unsound = [file for file in backup.named(connection) if not _put(file, folder / "files")]
    migrations.upgrade(settings().database_url)
    return about["rows"], unsound


def _fill(connection: Connection, name: str, columns: list[str], path: Path, rows: int) -> None:
    """Fill a table, and have its numbers go on behind those it has."""
    into = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(name), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with gzip.open(path, "rb") as file, closing(connection.connection.cursor()) as cursor:
        with cursor.copy(into) as copy:
            while block := file.read(2**20):
                copy.write(block)
        if cursor.rowcount != rows:
            raise NotRestored(f"{path} has {cursor.rowcount} rows, not {rows}")
    for column in columns:
        _go_on(connection, name, column)


def _go_on(connection: Connection, name: str, column: str) -> None:
    """Set the sequence that numbers a column, if one does."""
    numbered = {"name": name, "column": column}
    if connection.execute(text("SELECT pg_get_serial_sequence(:name, :column)"), numbered).scalar():
        most = f'(SELECT coalesce(max("{column}"), 0) + 1 FROM "{name}")'  # noqa: S608 (names of our schema)
        numbers = text(f"SELECT setval(pg_get_serial_sequence(:name, :column), {most}, false)")
        connection.execute(numbers, numbered)


def _put(file: backup.File, files: Path) -> bool:
    """Put a file in its place; False if it is missing or damaged."""
    return backup.copied(backup.kept(file, files), artifacts.place(*file), file[0])


def main(folder: str) -> int:
    """0 if all is back, 1 if some files are not, 2 if nothing is restored."""
    try:
        rows, unsound = restore(Path(folder))
    except NotRestored as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for file in unsound:
        sys.stderr.write(f"missing or damaged: {backup.kept(file, Path(folder) / 'files')}\n")
    sys.stdout.write(f"{sum(rows.values())} rows restored\n")
    return 1 if unsound else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
