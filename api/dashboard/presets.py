"""The pages of the presets: which tables there are, and each table beside ours."""

from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from starlette.background import BackgroundTask

from api import scorecards, shelf
from api.dashboard import scoretable, specfile
from api.dashboard.login import Form, Visitor, check_form
from api.dashboard.shell import shell
from api.dashboard.templating import render
from api.dependencies import Database, writer
from api.errors import Refused, not_found
from api.preset_schemas import RunRows
from api.routes.presets import queue_rows, table_named
from store import queue

router = APIRouter(prefix="/presets")


@router.get("")
def presets_page(request: Request, who: Visitor, session: Database) -> Response:
    """All presets, with how many of each table's numbers were reached."""
    tables = [
        (name, table, scoretable.tally(scorecards.cells(session, name))) for name, table in shelf.tables().items()
    ]
    return render(request, "presets.html", who, **shell(session), tables=tables, examples=shelf.examples())


@router.get("/{name}")
def preset_page(name: str, request: Request, who: Visitor, session: Database) -> Response:
    """A table's scorecard; of an example, its specification."""
    if name in shelf.examples():
        text = specfile.as_yaml(shelf.examples()[name])
        return render(request, "example.html", who, **shell(session), name=name, text=text)
    if name not in shelf.tables():
        raise not_found("preset", name[:80])
    table, cells = shelf.tables()[name], scorecards.cells(session, name)
    heads = scoretable.heads(table, cells)
    lines = scoretable.lines(table, heads, cells)
    tally = scoretable.tally(cells)
    values: dict[str, Any] = {"heads": heads, "lines": lines, "tally": tally, **shell(session)}
    values["swept"] = urlencode([("jobs", job) for job in scoretable.swept(table, cells)])
    return render(request, "scorecard.html", who, name=name, table=table, **values)


@router.post("/{name}/run")
def preset_run(name: str, request: Request, form: Form, who: Visitor, session: Database) -> Response:
    """Queue the jobs that are missing: of one row, or of all; then the jobs page."""
    check_form(request, form, who)
    seeds = form.get("replicates", "1")
    if not (seeds.isascii() and seeds.isdecimal() and len(seeds) < 3 and 1 <= int(seeds) <= 20):
        raise Refused(422, "invalid_request", "replicates must be a number from 1 to 20.")
    if form.get("row") and form["row"] not in [row.id for row in table_named(name).rows]:
        raise not_found("row", form["row"][:80])
    rows = [form["row"]] if form.get("row") else None
    queue_rows(session, writer(who), name, RunRows(rows=rows, replicates=int(seeds)))
    answer = RedirectResponse(f"/jobs?project={name}", 303)
    answer.background = BackgroundTask(queue.ring)  # after the commit, which comes when this returns
    return answer
