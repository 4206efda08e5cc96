"""The pages' addresses. A page is the same rows that the API sends, written as HTML; what changes is fetched by parts."""

import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from sqlalchemy.orm import Session

from api.dashboard import curves, listing, login, newjob, presets, specfile
from api.dashboard.login import Form, Visitor, check_form
from api.dashboard.sheet import LATER, PARTS, Sheet
from api.dashboard.shell import shell
from api.dashboard.templating import STATIC, Static, render
from api.dependencies import Database, Need, job_for, writer
from api.errors import not_found
from api.permissions import Caller
from api.routes.jobs import before, cursor_of
from api.routes.lifecycle import change
from store import lookup, projects, records
from store.tables import STATES, Job

__all__ = ["STATIC", "Static", "router"]

router = APIRouter()
router.include_router(login.router)
router.include_router(presets.router)
router.include_router(newjob.router)
ON_A_PAGE = 50
SEEDS = 100
"""Most jobs of a submission: they are never torn apart by the end of a page."""
Text = Annotated[str, Query(max_length=200)]
Ids = Annotated[list[uuid.UUID], Query(max_length=ON_A_PAGE + SEEDS)]
Verb = Literal["cancel", "pause", "resume", "requeue"]
States = Annotated[list[str], Query(max_length=20)]


@router.get("/")
def home() -> Response:
    """The first page."""
    return RedirectResponse(login.HOME, 303)


# ---- the jobs page


@router.get("/jobs")
def jobs_page(
    request: Request,
    who: Visitor,
    session: Database,
    state: States = [],  # noqa: B006 (FastAPI copies it)
    project: Text = "",
    q: Text = "",
    cursor: Text = "",
) -> Response:
    """The jobs that match, newest first, a page at a time."""
    chosen = chosen_by(who, state, project, q)
    rows = lookup.page(session, chosen, ON_A_PAGE + SEEDS + 1, before(cursor) if cursor else None)
    shown, more = listing.whole_groups([row._tuple() for row in rows], ON_A_PAGE)
    table = _table(session, shown) | _around(session, chosen)
    address = {"state": list(chosen.states), "project": project, "q": q}
    older = (
        urlencode({k: v for k, v in {**address, "cursor": cursor_of(shown[-1][0])}.items() if v}, True) if more else ""
    )
    return render(
        request,
        "jobs.html",
        who,
        **table,
        **shell(session),
        chosen=chosen,
        older=older,
        first=not cursor,
        query=urlencode({key: value for key, value in address.items() if value}, True),
        projects=projects.names(session, who.eyes),
    )


@router.get("/jobs/rows")
def jobs_rows(
    request: Request,
    who: Visitor,
    session: Database,
    ids: Ids = [],  # noqa: B006
    newest: str = "",
    state: States = [],  # noqa: B006
    project: Text = "",
    q: Text = "",
) -> Response:
    """The rows that may have changed, the counts, and whether newer jobs match: what the jobs page asks for every two seconds."""
    chosen = chosen_by(who, state, project, q)
    table = _table(session, [row._tuple() for row in lookup.some(session, who.eyes, ids)] if ids else [])
    head = lookup.page(session, chosen, 1, None)
    newer = bool(newest and head and str(head[0][0].id) != newest)
    asked = {"state": list(chosen.states), "project": project, "q": q}
    query = urlencode({key: value for key, value in asked.items() if value}, True)
    around = _around(session, chosen) | {"chosen": chosen, "newest": newest, "newer": newer, "query": query}
    return render(request, "parts/rows.html", who, **table, **around)


def chosen_by(who: Caller, state: list[str], project: str, q: str) -> lookup.Filter:
    """The filter of a page's address. What no job can match is left out, rather than refused."""
    text, name = ("".join(c for c in value if c.isprintable()).strip() for value in (q, project))
    if text.lstrip("#").isdecimal():
        text = text[:9]  # no job's number is longer, and the database takes no longer one
    return lookup.Filter(who.eyes, tuple(one for one in STATES if one in state), name or None, text or None)


def _table(session: Session, rows: Any) -> dict[str, Any]:
    scored = records.scores(session, [row[0].id for row in rows])
    groups = listing.groups(rows, scored)
    live = [line.job.id for group in groups if any(one.live for one in group.lines) for line in group.lines]
    newest = str(rows[0][0].id) if rows else "-"
    return {"groups": groups, "live": live, "newest_shown": newest, "now": datetime.now(UTC)}


def _around(session: Session, chosen: lookup.Filter) -> dict[str, Any]:
    counts = lookup.counts(session, lookup.Filter(chosen.eyes, (), chosen.project, chosen.text))
    matching = sum(n for state, n in counts.items() if not chosen.states or state in chosen.states)
    return {"facets": listing.facets(counts, chosen.states), "matching": matching}


@router.get("/slots")
def slots(request: Request, who: Visitor, session: Database) -> Response:
    """How many slots are busy, for the foot of the navigation."""
    return render(request, "parts/slots.html", who, **shell(session))


# ---- the page of a job


def seen(session: Session, who: Caller, name: str, need: Need = "see") -> Job:
    """The job in a page's address."""
    return job_for(session, who, name, need)


@router.get("/jobs/{name}")
def job_page(name: str, request: Request, who: Visitor, session: Database) -> Response:
    """Everything about a job."""
    sheet = Sheet(session, seen(session, who, name), who)
    return render(request, "job.html", who, **sheet.all(), **shell(session))


@router.get("/jobs/{name}/parts/{part}")
def job_part(
    name: str,
    part: str,
    request: Request,
    who: Visitor,
    session: Database,
    epoch: Annotated[int | None, Query(ge=0, le=10**6)] = None,
) -> Response:
    """A part of the page, as it is now."""
    if part not in PARTS + LATER:
        raise not_found("part", part[:80])
    sheet = Sheet(session, seen(session, who, name), who, epoch)
    return render(request, f"parts/{part}.html", who, **sheet.part(part))


@router.get("/jobs/{name}/curves")
def job_curves(name: str, who: Visitor, session: Database, series: Text = "") -> Response:
    """What the charts are drawn from; with `series=` one figure step by step."""
    job = seen(session, who, name)
    epochs = records.epochs(session, job.id)
    if series:
        values = records.series(session, job.id, series, curves.POINTS) if series.isprintable() else []
        return JSONResponse(curves.steps(values, len(epochs)))
    drawn = curves.curves(epochs, job)
    return JSONResponse(drawn | {"series": records.series_names(session, job.id)})


@router.get("/jobs/{name}/spec.yaml")
def job_spec(name: str, who: Visitor, session: Database) -> Response:
    """The resolved specification as a file to submit again."""
    job = seen(session, who, name)
    headers = {"content-disposition": f'attachment; filename="job-{job.number}.yaml"'}
    return Response(specfile.as_yaml(job.spec), 200, headers, "application/yaml")


@router.post("/jobs/{name}/{verb}")
def job_change(name: str, verb: Verb, request: Request, form: Form, who: Visitor, session: Database) -> Response:
    """Cancel, pause, resume or requeue a job; then the page again, or its header."""
    check_form(request, form, who)
    job = seen(session, who, name, "change")
    writer(who)
    change(session, who, job, verb)
    if request.headers.get("hx-request"):
        return render(request, "parts/header.html", who, **Sheet(session, job, who).part("header"))
    return RedirectResponse(f"/jobs/{job.id}", 303)


# ---- the interactive API page


@router.get("/api")
def api_page(request: Request, who: Visitor, session: Database) -> Response:
    """Swagger UI on our OpenAPI document."""
    return render(request, "api.html", who, **shell(session))
