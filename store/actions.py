"""The log of who did what: a row is written in the same transaction as the change that it tells of, and never changed."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from store.people import Action


def note(session: Session, actor: str, verb: str, kind: str, name: object, **about: Any) -> None:
    """`actor` did `verb` to the `kind` called or numbered `name`; `about` holds JSON values: what was changed, to what."""
    session.add(Action(actor=actor, verb=verb, kind=kind, object=str(name), about=about))


def note_all(session: Session, actor: str, verb: str, kind: str, names: Sequence[object], **about: Any) -> None:
    """`note` of many of one kind, in one statement."""
    rows = [{"actor": actor, "verb": verb, "kind": kind, "object": str(name), "about": about} for name in names]
    if rows:
        session.execute(insert(Action), rows)


def page(
    session: Session, limit: int, before: int | None = None, kind: str | None = None, name: str | None = None
) -> list[Action]:
    """Actions, newest first, with numbers below `before`; of one kind, on one object."""
    wanted = [Action.id < before] if before is not None else []
    wanted += [Action.kind == kind] if kind else []
    wanted += [Action.object == name] if name else []
    return list(session.scalars(select(Action).where(*wanted).order_by(Action.id.desc()).limit(limit)))
