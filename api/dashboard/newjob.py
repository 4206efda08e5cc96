"""The page where a job is put together: a form beside the YAML, which is checked while it is written and then submitted."""

import json
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from pydantic import Field, ValidationError
from sqlalchemy.orm import Session
from starlette.background import BackgroundTask

from api import shelf
from api.admission import Admission
from api.dashboard import specfile
from api.dashboard.login import Form, Visitor, check_form
from api.dashboard.shell import shell
from api.dashboard.templating import render
from api.dependencies import Database, Known, writer
from api.errors import MOST, Refused, not_found
from api.permissions import Caller
from api.routes.jobs import create, planned
from core.errors import InvalidSpec, Problem
from core.family import Settings
from core.presets import merged
from core.spec import AnySpec
from sparring.documents import Unreadable, read_yaml
from store import queue

router = APIRouter(prefix="/new")
SMALLEST = {"dataset": {"name": "fashion_mnist_sample"}, "model": {"name": "lenet5"}}
Text = Annotated[str, Query(max_length=200)]
Scalar = bool | int | float | Annotated[str, Field(max_length=10_000)]


class Change(Settings):
    """A field of the form that was changed."""

    pointer: Annotated[str, Field(pattern=r"^(/[^/]{1,80}){1,8}$")]
    """The setting (RFC 6901)."""
    value: Scalar | dict[str, Scalar] | None
    """What it is from now on; null takes it out of the document."""


class Asked(Settings):
    """A document to check, and the changes to make in it first."""

    yaml: str
    """The document as it is written."""
    changes: Annotated[tuple[Change, ...], Field(max_length=200)] = ()
    """In their order."""


class Reading(NamedTuple):
    """What a document is: a job, or everything that is wrong with it."""

    document: Any
    problems: tuple[Problem, ...]
    job: AnySpec | None


def read(session: Session, who: Caller, text: str) -> Reading:
    """Read a document as the API would."""
    try:
        document = read_yaml(text)
    except Unreadable as error:
        return Reading(None, (Problem("", f"is not readable: {error}"),), None)
    document = {} if document is None else document  # an empty page: its problems are the fields that must be filled
    try:
        return Reading(document, (), Admission(session, who).job(document))
    except InvalidSpec as error:
        return Reading(document, error.problems[:MOST], None)


# ---- the page


@router.get("")
def new_page(request: Request, who: Visitor, session: Database, preset: Text = "", row: Text = "") -> Response:
    """The form, starting from a preset or from the smallest job there is."""
    return _page(request, who, session, specfile.as_yaml(start(preset, row)))


def start(preset: str, row: str) -> dict[str, Any]:
    """The specification to begin with: of an example, of a table's row as published, else the smallest."""
    if not preset:
        return SMALLEST
    if preset in shelf.examples():
        return shelf.examples()[preset]
    if preset not in shelf.tables():
        raise not_found("preset", preset[:80])
    table = shelf.tables()[preset]
    rows = {one.id: one for one in table.rows}
    if row not in rows:
        raise not_found("row", f"{row[:80] or '(none named)'} in {preset}; its rows are {', '.join(rows)}")
    changes = next(iter(rows[row].configurations.values()))
    named = {"name": f"{preset}-{row}", "project": preset}
    return named | dict(merged(merged(table.spec, rows[row].spec), changes))


def _page(request: Request, who: Caller, session: Session, text: str, problems: tuple[Problem, ...] = ()) -> Response:
    status = 422 if problems else 200
    return render(request, "new.html", who, status, **shell(session), yaml=text, problems=problems)


@router.post("")
def submit(request: Request, form: Form, who: Visitor, session: Database) -> Response:
    """Queue the job; or the page again, with what was written and what is wrong with it."""
    check_form(request, form, who)
    who, text = writer(who), form.get("yaml", "")
    found = read(session, who, text)
    if found.job is None:
        return _page(request, who, session, text, found.problems)
    made = create(session, who, found.job, found.document).jobs
    address = f"/jobs/{made[0].id}" if len(made) == 1 else f"/jobs?project={found.job.project}"
    answer = RedirectResponse(address, 303)
    answer.background = BackgroundTask(queue.ring)  # after the commit, which comes when this returns
    return answer


# ---- while it is written


async def asked(request: Request) -> bytes:
    """The body; reading it as JSON is not for the event loop."""
    return await request.body()


@router.post("/check")
def check(who: Known, session: Database, body: Annotated[bytes, Depends(asked)]) -> Response:
    """The document with the changes made, its values for the form, what is wrong with it, and what the job would be."""
    try:
        question = Asked.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = "/".join(map(str, first["loc"]))
        raise Refused(422, "invalid_request", f"Send {{yaml, changes}}. {where}: {first['msg']}"[:400]) from None
    text = changed(question.yaml, question.changes) if question.changes else question.yaml
    found = read(session, who, text)
    values = found.document if isinstance(found.document, dict) else None
    plan = planned(found.job).model_dump(mode="json") if found.job else None
    problems = [vars(problem) for problem in found.problems]
    return Plain({"yaml": text, "document": values, "problems": problems, "plan": plan})


class Plain(JSONResponse):
    """JSON whatever the values: a document may hold lone surrogates and infinity, which become text."""

    def render(self, content: Any) -> bytes:
        """The body."""
        finite = json.loads(json.dumps(content), parse_constant=str)
        return json.dumps(finite).encode()


def changed(text: str, changes: tuple[Change, ...]) -> str:
    """The document written again with the changes made; one that cannot be read stays as it is."""
    try:
        document = read_yaml(text)
    except Unreadable:
        return text
    for change in changes:
        path = [part.replace("~1", "/").replace("~0", "~") for part in change.pointer.split("/")[1:]]
        document = put(document, path, change.value)
    return specfile.as_yaml(document)


def put(here: Any, path: list[str], value: Any) -> dict[str, Any]:
    """`here` with a value at the path, or without it if that is None; objects that this empties go too."""
    inside = _opened(here, path[0])
    key, *rest = path
    new = put(inside.get(key), rest, value) if rest else value
    if new is None or new == {}:
        return {other: kept for other, kept in inside.items() if other != key}
    return inside | {key: new}


def _opened(here: Any, key: str) -> dict[str, Any]:
    """An object to put a setting in: a member's bare name becomes one."""
    if isinstance(here, str):
        return {"name": here}
    if here is None or isinstance(here, dict):
        return here or {}
    raise Refused(
        422, "invalid_request", f"{key} can only be set in an object, and the document has another value there."
    )
