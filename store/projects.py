"""Projects: whose jobs they hold, and who sees them."""

import uuid
from collections.abc import Iterable

from sqlalchemy import delete, exists, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from store.database import uuid7
from store.people import Member, Project, User
from store.sight import Eyes, seen_by
from store.tables import Job


def page(session: Session, eyes: Eyes, limit: int, after: str | None = None) -> list[Project]:
    """The projects that these eyes see, by name, after a name."""
    wanted = [Project.name > after] if after is not None else []
    return list(session.scalars(select(Project).where(seen_by(eyes), *wanted).order_by(Project.name).limit(limit)))


def names(session: Session, eyes: Eyes) -> list[str]:
    """The names of all projects that these eyes see."""
    return list(session.scalars(select(Project.name).where(seen_by(eyes)).order_by(Project.name)))


def named(session: Session, eyes: Eyes, name: str, lock: bool = False) -> Project | None:
    """The project of that name, if these eyes see it; with `lock` nobody else changes it until the transaction ends."""
    rows = select(Project).where(Project.name == name, seen_by(eyes)).execution_options(populate_existing=True)
    return session.scalars(rows.with_for_update(key_share=True) if lock else rows).one_or_none()


def hidden(session: Session, eyes: Eyes, name: str) -> bool:
    """Whether there is a project of that name which these eyes do not see."""
    return bool(session.execute(select(exists().where(Project.name == name, ~seen_by(eyes)))).scalar())


def members(session: Session, project_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, list[str]]:
    """The names of each project's members, in order."""
    rows = select(Member.project_id, User.name).join(User, User.id == Member.user_id)
    found: dict[uuid.UUID, list[str]] = {}
    for project_id, name in session.execute(rows.where(Member.project_id.in_(list(project_ids))).order_by(User.name)):
        found.setdefault(project_id, []).append(name)
    return found


def owners(session: Session, project: Project) -> set[uuid.UUID]:
    """Who has jobs in a project."""
    return set(session.scalars(select(Job.owner_id).where(Job.project_id == project.id).distinct()))


def add(session: Session, name: str, visibility: str, users: Iterable[uuid.UUID]) -> Project | None:
    """A new project with its members; None if there is one of that name, seen or not."""
    made = insert(Project).values(id=uuid7(), name=name, visibility=visibility)
    project = session.scalars(made.on_conflict_do_nothing(index_elements=["name"]).returning(Project)).one_or_none()
    if project:
        _put_members(session, project, users)
    return project


def change(session: Session, project: Project, visibility: str, users: Iterable[uuid.UUID] | None) -> None:
    """Show a project to all or to its members alone, and if `users` are given make them its members."""
    project.visibility, project.version = visibility, project.version + 1
    session.flush()
    if users is not None:
        session.execute(delete(Member).where(Member.project_id == project.id))
        _put_members(session, project, users)


def _put_members(session: Session, project: Project, users: Iterable[uuid.UUID]) -> None:
    rows = [{"project_id": project.id, "user_id": user_id} for user_id in set(users)]
    if rows:
        session.execute(insert(Member).values(rows))


def remove(session: Session, project: Project) -> bool:
    """Remove an empty project, with its members and quota; False if it has jobs."""
    if session.execute(select(exists().where(Job.project_id == project.id))).scalar():
        return False
    session.execute(delete(Project).where(Project.id == project.id))
    return True
