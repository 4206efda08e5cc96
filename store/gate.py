"""The one queue: open; paused, so that nothing starts; draining, so that what runs saves and leaves, too."""

from sqlalchemy import update
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from store.tables import Queue

NAME = "default"


def find(session: Session) -> Queue:
    """The queue; before anybody has changed it, it is open."""
    return session.get(Queue, NAME, populate_existing=True) or Queue(name=NAME, state="open", version=1)


def put(session: Session, state: str, version: int | None = None) -> bool:
    """Open, pause or drain it; False if it is no longer at the given version."""
    session.execute(postgresql.insert(Queue).values(name=NAME, state="open", version=1).on_conflict_do_nothing())
    wanted = [Queue.version == version] if version is not None else []
    changed = update(Queue).where(Queue.name == NAME, *wanted).values(state=state, version=Queue.version + 1)
    return session.execute(changed.returning(Queue.name)).scalar() is not None
