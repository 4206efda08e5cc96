"""Projects: listed, made, shown to the team or to their members alone, removed when empty."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session

from api import etags
from api.dependencies import Database, Known, Writer
from api.errors import Refused, not_found
from api.etags import IfMatch
from api.people_schemas import NewProject, ProjectChange, ProjectOut, ProjectPage
from api.permissions import Caller, demand
from api.repeats import IdempotencyKey, once
from api.schemas import Cursor, Printable
from core.errors import Problem
from store import actions, projects, users
from store.people import Project

router = APIRouter(prefix="/projects", tags=["projects"])


@router.get("")
def find(
    who: Known, session: Database, limit: Annotated[int, Query(ge=1, le=200)] = 50, cursor: Cursor = None
) -> ProjectPage:
    """The projects that the caller sees, by name."""
    rows = projects.page(session, who.eyes, limit + 1, cursor)
    members = projects.members(session, [one.id for one in rows])
    items = [ProjectOut.of(one, members.get(one.id, [])) for one in rows[:limit]]
    return ProjectPage(items=items, next_cursor=rows[limit - 1].name if len(rows) > limit else None)


@router.post("", status_code=201)
def add(asked: NewProject, who: Writer, session: Database, idempotency_key: IdempotencyKey = None) -> ProjectOut:
    """A new project. One for the team also comes into being with its first job."""

    def make() -> ProjectOut:
        mine = {who.id} if asked.visibility == "private" else set()
        project = projects.add(session, asked.name, asked.visibility, _ids(session, asked.members) | mine)
        if project is None:
            raise Refused(409, "exists", f"There is a project {asked.name} already.")
        actions.note(session, who.name, "add", "project", project.name, **asked.model_dump(exclude={"name"}))
        return _shown(session, project)

    return once(session, who, idempotency_key, "projects", asked, ProjectOut, make)


@router.get("/{name}")
def show(name: Printable, who: Known, session: Database, response: Response) -> ProjectOut:
    """A project and its members."""
    project = _named(session, who, name)
    etags.tag(response, project.version)
    return _shown(session, project)


@router.patch("/{name}")
def change(
    name: Printable, asked: ProjectChange, who: Known, session: Database, response: Response, if_match: IfMatch = None
) -> ProjectOut:
    """Show a project to the team or to its members alone, and say who they are; for maintainers who see it."""
    project = _named(session, who, name, lock=True)
    demand(who, "maintainer")
    etags.check(if_match, project.version)
    visibility = asked.visibility or project.visibility
    members = None if asked.members is None else _ids(session, asked.members)
    if members is None and visibility == "private" != project.visibility:
        members = projects.owners(session, project) | {who.id}
    projects.change(session, project, visibility, members)
    actions.note(session, who.name, "change", "project", project.name, **asked.model_dump(exclude_none=True))
    etags.tag(response, project.version)
    return _shown(session, project)


@router.delete("/{name}", status_code=204)
def remove(name: Printable, who: Known, session: Database) -> None:
    """Remove a project without jobs; for maintainers who see it."""
    project = _named(session, who, name, lock=True)
    demand(who, "maintainer")
    if not projects.remove(session, project):
        raise Refused(409, "not_empty", f"Project {name} has jobs.")
    actions.note(session, who.name, "remove", "project", name)


def _named(session: Session, who: Caller, name: str, lock: bool = False) -> Project:
    project = projects.named(session, who.eyes, name, lock)
    if project is None:
        raise not_found("project", name[:80])
    return project


def _ids(session: Session, names: list[str]) -> set[uuid.UUID]:
    """The users of these names; refused where there is none."""
    found = users.ids(session, names)
    wrong = [
        Problem(f"/members/{place}", "is no user", name, "the name of one")
        for place, name in enumerate(names)
        if name not in found
    ]
    if wrong:
        raise Refused(422, "invalid_request", "; ".join(map(str, wrong)), tuple(wrong))
    return set(found.values())


def _shown(session: Session, project: Project) -> ProjectOut:
    return ProjectOut.of(project, projects.members(session, [project.id]).get(project.id, []))
