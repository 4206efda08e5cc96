"""A copy of all that the service keeps, made while it runs: `python -m store.backup FOLDER`.

First every table, in one transaction that sees the database as it was at one moment; then the files that these rows name.
Files are only added and never changed, so what a row names then is there still: only old checkpoints are removed, and who
removes files asks first whether a backup is under way (`removing`). So no row of a backup lacks its file.

The tables are written as `COPY` has them, beside the revision of the schema: a backup can be restored by any later version,
under any version of Postgres, and needs none of its programs. A second backup into the same folder copies new files only.
"""

import gzip
import json
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, select, text
from sqlalchemy.orm import Session

from core.files import sha256
from store import artifacts
from store.database import Base, engine, unhurried
from store.tables import Artifact, Checkpoint

LOCK = 0x5BA_221C8
MANIFEST = "backup.json"
File = tuple[str, uuid.UUID | None]
"""A digest, and the job whose checkpoint it is."""


def removing(session: Session) -> bool:
    """Whether files may be removed until this transaction ends; not while a backup is under way."""
    asked = text("SELECT pg_try_advisory_xact_lock_shared(:lock)")
    return bool(session.execute(asked, {"lock": LOCK}).scalar())


def remove(session: Session, job_id: uuid.UUID, digests: list[str]) -> None:
    """Remove checkpoints that no row names; while a backup is under way they stay, for retention to find."""
    if digests and removing(session):
        for digest in digests:
            artifacts.remove(digest, job_id)


def remove_all(session: Session, job_id: uuid.UUID) -> None:
    """The same for all checkpoints of a job that is no more."""
    if removing(session):
        artifacts.remove_all(job_id)


def save(folder: Path) -> list[File]:
    """Write a backup; returns the files that rows name and that are missing or damaged here, and so in the backup too."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    new = folder / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    with engine().connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
        connection.commit()  # the moment of the backup comes after: whoever was removing files has committed
        try:
            with connection.begin():
                unhurried(connection)
                about, files = _tables(connection, new), list(named(connection))
            unsound = [file for file in files if not _keep(file, folder / "files")]
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK})
    (new / MANIFEST).write_text(json.dumps(about, indent=1))
    shutil.rmtree(folder / "tables", ignore_errors=True)
    new.rename(folder / "tables")
    return unsound


def _tables(connection: Connection, folder: Path) -> dict[str, Any]:
    """Write every table; returns the manifest."""
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    rows = {table.name: _write(connection, table, folder) for table in Base.metadata.sorted_tables}
    return {"revision": revision, "at": datetime.now(UTC).isoformat(), "rows": rows, "columns": _columns()}


def _columns() -> dict[str, list[str]]:
    return {table.name: [column.name for column in table.columns] for table in Base.metadata.sorted_tables}


def _write(connection: Connection, table: Table, folder: Path) -> int:
    """Write a table's rows, compressed, as text; returns how many."""
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    path = folder / f"{table.name}.copy.gz"
    with gzip.open(path, "wb", compresslevel=1) as file, closing(connection.connection.cursor()) as cursor:
        with cursor.copy(f'COPY "{table.name}" ({columns}) TO STDOUT') as copy:
            for block in copy:
                file.write(block)
        return int(cursor.rowcount)


def named(connection: Connection) -> Iterator[File]:
    """The files that rows name."""
    for (digest,) in connection.execute(select(Artifact.sha256).distinct()):
        yield digest, None
    for digest, job_id in connection.execute(select(Checkpoint.sha256, Checkpoint.job_id).distinct()):
        yield digest, job_id


def kept(file: File, files: Path) -> Path:
    """Where a backup has a file."""
    digest, job_id = file
    return files / "checkpoints" / str(job_id) / digest if job_id else files / digest[:2] / digest


def _keep(file: File, files: Path) -> bool:
    """Have a file in the backup, whole; False if it is not sound here."""
    target = kept(file, files)
    return target.exists() or copied(artifacts.place(*file), target, file[0])


def copied(source: Path, target: Path, digest: str) -> bool:
    """Copy a file, on disk and not in a cache; False, and no file, if its bytes do not hash to `digest`."""
    if not source.is_file():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{digest}.{uuid.uuid4().hex[:8]}")
    try:
        shutil.copyfile(source, beside)
        if sha256(beside) != digest:
            return False
        with beside.open("rb") as opened:
            os.fsync(opened.fileno())
        beside.rename(target)
        return True
    finally:
        beside.unlink(missing_ok=True)


def main(folder: str) -> int:
    """0 if the backup is whole, 1 if files are missing or damaged."""
    unsound = save(Path(folder))
    for digest, job_id in unsound:
        sys.stderr.write(f"missing or damaged: {artifacts.place(digest, job_id)}\n")
    about = json.loads((Path(folder) / "tables" / MANIFEST).read_text())
    sys.stdout.write(f"{sum(about['rows'].values())} rows at revision {about['revision']} in {folder}\n")
    return 1 if unsound else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
