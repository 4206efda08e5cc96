"""Users: who they are, what role they have, whether they may come in. The last administrator stays one."""

import uuid

from sqlalchemy import and_, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from store.database import uuid7
from store.people import User

ABLE = and_(User.role == "admin", User.disabled_at.is_(None))
"""An administrator who may come in."""


class LastAdmin(Exception):
    """Without this user nobody could administer the service."""


def page(session: Session, limit: int, after: str | None = None) -> list[User]:
    """Users by name, after a name."""
    wanted = [User.name > after] if after is not None else []
    return list(session.scalars(select(User).where(*wanted).order_by(User.name).limit(limit)))


def named(session: Session, name: str, lock: bool = False) -> User | None:
    """The user of that name; with `lock` nobody else changes them, or an administrator, until the end of the transaction.

    All are locked at once, in the order of their ids: of two who demote each other, one waits, and sees it.
    """
    rows = select(User).execution_options(populate_existing=True)
    if not lock:
        return session.scalars(rows.where(User.name == name)).one_or_none()
    every = rows.where(or_(User.name == name, ABLE)).order_by(User.id).with_for_update(key_share=True)
    return next((user for user in session.scalars(every).all() if user.name == name), None)


def ids(session: Session, names: list[str]) -> dict[str, uuid.UUID]:
    """The ids of users by name; who does not exist is left out."""
    return dict(session.execute(select(User.name, User.id).where(User.name.in_(names))).tuples().all())


def add(session: Session, name: str, role: str) -> User | None:
    """A new user; None if there is one of that name."""
    made = insert(User).values(id=uuid7(), name=name, role=role).on_conflict_do_nothing(index_elements=["name"])
    return session.scalars(made.returning(User)).one_or_none()


def change(session: Session, user: User, role: str, disabled: bool) -> None:
    """Give a user, locked by `named`, a role, and let them in or not: no token or session of a disabled user is valid.

    Raises `LastAdmin` where no administrator who may come in would be left.
    """
    if role != "admin" or disabled:
        _check_admins(session, user)
    user.role, user.version = role, user.version + 1
    user.disabled_at = (user.disabled_at or func.now()) if disabled else None
    session.flush()
    session.refresh(user)


def _check_admins(session: Session, but: User) -> None:
    if list(session.scalars(select(User.id).where(ABLE))) == [but.id]:
        raise LastAdmin(f"{but.name} is the only administrator who may come in; make another one first.")
