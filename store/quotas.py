"""Quotas: what users and projects may have of the slots. A quota of neither limit and weight 1 is as good as none."""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, delete, literal, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import InstrumentedAttribute, Session

from store.database import uuid7
from store.people import Project, Quota, User

SUBJECTS = ("user", "project")


def page(session: Session) -> Sequence[Row[tuple[Quota, str, str]]]:
    """All quotas with the kind and the name of whom they are of, users first, by name."""
    users = select(Quota, literal("user").label("kind"), User.name).join(User, User.id == Quota.user_id)
    projects = select(Quota, literal("project"), Project.name).join(Project, Project.id == Quota.project_id)
    return [*session.execute(users.order_by(User.name)), *session.execute(projects.order_by(Project.name))]


def subject(session: Session, kind: str, name: str) -> uuid.UUID | None:
    """The id of the user or project of that name."""
    table = User if kind == "user" else Project
    return session.execute(select(table.id).where(table.name == name)).scalar()


def find(session: Session, kind: str, of: uuid.UUID) -> Quota | None:
    """The quota of a user or a project."""
    return session.execute(select(Quota).where(_column(kind) == of)).scalar()


def put(session: Session, kind: str, of: uuid.UUID, guarantee: int, weight: float, maximum: int | None) -> None:
    """Give a user or a project this quota, whatever it had."""
    values: dict[str, Any] = {"guarantee": guarantee, "weight": weight, "maximum": maximum}
    made = postgresql.insert(Quota).values(id=uuid7(), **{f"{kind}_id": of}, **values)
    session.execute(
        made.on_conflict_do_update(index_elements=[f"{kind}_id"], set_=values | {"version": Quota.version + 1})
    )


def edit(session: Session, quota: Quota, version: int, **values: Any) -> bool:
    """Change some of a quota; False if it is no longer at that version."""
    mine = [Quota.id == quota.id, Quota.version == version]
    changed = update(Quota).where(*mine).values(**values, version=Quota.version + 1)
    return session.execute(changed.returning(Quota.id)).scalar() is not None


def remove(session: Session, kind: str, of: uuid.UUID) -> bool:
    """Take a quota away; False if there is none."""
    return session.execute(delete(Quota).where(_column(kind) == of).returning(Quota.id)).scalar() is not None


def _column(kind: str) -> InstrumentedAttribute[uuid.UUID | None]:
    return Quota.user_id if kind == "user" else Quota.project_id
