"""What nobody needs any more, found and removed: `python -m store.retention [--dry-run]`.

Rows go in one transaction, files after its commit; a dry run does the same and rolls back, so it counts what would go and
nothing else. Files are listed before the rows are read that may name them, and a file younger than `orphan_days` is left
alone: it may just be on its way, since an attempt puts a file before it writes the row. An attempt may put one again that is
listed, so its age is looked at once more when its turn has come. Nothing is removed while a backup is under way, and no backup
begins before the last file is gone.
"""

import re
import shutil
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Delete, Text, delete, exists, func, or_, select
from sqlalchemy.orm import Session

from store import backup, requests, workers
from store.database import Base, engine, unhurried
from store.people import BrowserSession, Delivery, IdempotencyKey, Token
from store.settings import settings
from store.tables import ENDED, Attempt, Checkpoint, Job, Slot, Worker

ATTEMPT = re.compile(r"([0-9a-f-]{36})-(\d+)")


class BackupUnderWay(Exception):
    """Nothing may be removed now."""


@dataclass(frozen=True)
class Swept:
    """What was found of one kind: how many rows, which files or folders, how many bytes these have."""

    kind: str
    rows: int = 0
    paths: list[Path] = field(default_factory=list)
    bytes: int = 0

    def __str__(self) -> str:
        about = f"{len(self.paths)} with {self.bytes} bytes" if self.paths or not self.rows else f"{self.rows} rows"
        return f"{self.kind}: {about}"


def sweep(dry_run: bool) -> list[Swept]:
    """Remove it, or only say what would be removed."""
    with Session(engine()) as held, Session(engine()) as session:
        unhurried(held)
        unhurried(session)
        if not backup.removing(held):
            raise BackupUnderWay("a backup is under way: nothing is removed until it has ended")
        swept = [*_rows(session), *_files(session)]
        if dry_run:
            session.rollback()
            return swept
        session.commit()
        for path in (path for one in swept for path in one.paths):
            if _is_old(path):
                _remove(path)
    return swept


def _ago(days: float) -> ColumnElement[Any]:
    return func.now() - func.make_interval(0, 0, 0, 0, 0, 0, days * 86_400)


def _rows(session: Session) -> Iterator[Swept]:
    """Delete rows. A job that is just changed by somebody keeps its checkpoints for this time."""
    dead = _ago(settings().dead_days)
    ended = select(Job.id).where(Job.state.in_(ENDED), Job.ended_at < _ago(settings().checkpoint_days))
    old = session.scalars(ended.where(exists().where(Checkpoint.job_id == Job.id)).with_for_update(skip_locked=True))
    yield _gone(session, "checkpoints of ended jobs", delete(Checkpoint).where(Checkpoint.job_id.in_(list(old))))
    keys = delete(IdempotencyKey).where(IdempotencyKey.created_at < _ago(requests.HOURS / 24))
    yield _gone(session, "answers kept for repeated requests", keys)
    told = delete(Delivery).where(Delivery.created_at < _ago(settings().delivery_days))
    yield _gone(session, "deliveries of webhooks", told)
    invalid = select(Token.id).where(or_(Token.expires_at < dead, Token.revoked_at < dead))
    over = delete(BrowserSession).where(
        or_(BrowserSession.expires_at < func.now(), BrowserSession.token_id.in_(invalid))
    )
    yield _gone(session, "browser sessions", over)
    yield _gone(session, "tokens", delete(Token).where(Token.id.in_(invalid)))
    unseen = select(Worker.id).where(Worker.seen_at < dead)
    idle = delete(Slot).where(Slot.worker_id.in_(unseen), Slot.job_id.is_(None))
    yield _gone(session, "slots of workers never seen again", idle)
    used = or_(exists().where(Attempt.worker_id == Worker.id), exists().where(Job.worker_id == Worker.id))
    yield _gone(
        session, "workers without attempts, never seen again", delete(Worker).where(Worker.id.in_(unseen), ~used)
    )


def _gone(session: Session, kind: str, what: Delete) -> Swept:
    result: Any = session.execute(what.execution_options(synchronize_session=False))
    return Swept(kind, int(result.rowcount))


def _files(session: Session) -> Iterator[Swept]:
    """Find files that no row names any more, and folders that no attempt uses."""
    shared, own = _old(settings().files.glob("[0-9a-f][0-9a-f]/*")), _old(settings().files.glob("checkpoints/*/*"))
    names = _named(session)
    yield _found("files that no row names", [path for path in shared if path.name not in names])
    saved = {(str(job_id), digest) for job_id, digest in session.execute(select(Checkpoint.job_id, Checkpoint.sha256))}
    yield _found("checkpoints that no row names", [path for path in own if (path.parent.name, path.name) not in saved])
    left = _old(settings().work.glob("*-*-*-*-*-*"))
    held = workers.held(session)
    yield _found("folders of attempts that do not run", [path for path in left if _attempt(path) not in held])


def _named(session: Session) -> set[str]:
    """The digests that stand in any column called `sha256`, whichever table it is in, and those that jobs are to judge."""
    judged = select(Job.spec["network"]["sha256"].astext).where(Job.state.not_in(ENDED))
    found = {digest for digest in session.scalars(judged) if digest}
    for table in Base.metadata.sorted_tables:
        for column in table.columns:
            if column.name.endswith("sha256") and isinstance(column.type, Text):
                found.update(session.scalars(select(column).distinct()))
    return found


def _old(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if _is_old(path)]


def _is_old(path: Path) -> bool:
    """Whether its last change, a renaming included, is longer ago than `orphan_days`; False for what has just gone."""
    try:
        return path.lstat().st_ctime < time.time() - settings().orphan_days * 86_400
    except FileNotFoundError:
        return False


def _attempt(path: Path) -> tuple[uuid.UUID, int] | None:
    found = ATTEMPT.fullmatch(path.name)
    return (uuid.UUID(found[1]), int(found[2])) if found else None


def _found(kind: str, paths: list[Path]) -> Swept:
    return Swept(kind, 0, paths, sum(_bytes(path) for path in paths))


def _bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.is_file())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def main(arguments: list[str]) -> int:
    """Print what was removed, or would be; 1 while a backup is under way, 2 for an argument that there is not."""
    if arguments not in ([], ["--dry-run"]):
        sys.stderr.write("python -m store.retention [--dry-run]\n")
        return 2
    try:
        swept = sweep(dry_run=bool(arguments))
    except BackupUnderWay as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("".join(f"{one}\n" for one in swept))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
