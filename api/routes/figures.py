"""The thesis's figures from what jobs left, as JSON, CSV, SVG, PDF and PNG of the same values."""

import csv
import io
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response

from api import figures
from api.dependencies import Database, Known, SeenJob, job_for
from api.drawing import Theme, draw
from api.errors import Refused
from api.figures import Figure, Format, Name
from api.schemas import FigureOut, Figures, Printable
from api.sparsity import sparsity
from core.anatomy import Anatomy
from store import records
from store.tables import ENDED

router = APIRouter(tags=["figures"])
TYPES = {"csv": "text/csv; charset=utf-8", "svg": "image/svg+xml", "pdf": "application/pdf", "png": "image/png"}
PICTURE_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
"""A picture of ours opened as a page of its own: it has styles within, and nothing that runs."""
FILES: dict[int | str, dict[str, Any]] = {
    200: {"content": {kind: {} for kind in ("application/json", *TYPES.values())}}
}
Jobs = Annotated[list[Annotated[Printable, Query(max_length=100)]], Query(min_length=1, max_length=200)]


@router.get("/jobs/{name}/figures")
def listed(job: SeenJob) -> Figures:
    """The figures of a job's weights."""
    dissected = job.last.get("dissected")
    return Figures(items=[FigureOut.of(one) for one in figures.captions(dissected)] if dissected else [])


@router.get("/jobs/{name}/figures/{figure}.{form}", response_class=Response, responses=FILES)
def of_job(job: SeenJob, figure: Name, form: Format, session: Database, theme: Theme = "light") -> Response:
    """A figure of the network that training chose, before its dead channels were cut out."""
    dissected = job.last.get("dissected")
    file = records.file(session, job.id, "anatomy.json")
    if not dissected or not file or not file[0].is_file():
        raise Refused(
            404, "not_found", f"Job {job.number} has no figures. {figures.absent(job.last, job.state in ENDED)}"
        )
    values = figures.figure(figure, dissected, Anatomy.model_validate_json(file[0].read_bytes()))
    return answer(values, form, theme, job.spec["sparsifier"]["name"], f"job-{job.number}-{figure}.{form}")


@router.get("/figures/sparsity.{form}", response_class=Response, responses=FILES)
def of_jobs(who: Known, session: Database, form: Format, jobs: Jobs, theme: Theme = "light") -> Response:
    """Channel sparsity against lambda1 of jobs that differ in model, lambda1 and seed alone: one line a model."""
    values = sparsity([job_for(session, who, name, "see") for name in jobs])
    return answer(values, form, theme, values.facts["sparsifier"], f"sparsity.{form}")


def answer(figure: Figure, form: Format, theme: Theme, method: str, name: str) -> Response:
    """A figure in one of its formats; what a page shows in place is no attachment."""
    if form == "json":
        return JSONResponse({**vars(figure.caption), "facts": figure.facts, "columns": figure.columns})
    headers = {"content-disposition": f'{"inline" if form in ("svg", "png") else "attachment"}; filename="{name}"'}
    if form == "csv":
        return Response(as_csv(figure), 200, headers, TYPES[form])
    headers |= {"content-security-policy": PICTURE_POLICY}
    return Response(draw(figure, form, theme, method), 200, headers, TYPES[form])


def as_csv(figure: Figure) -> str:
    """The columns, with their names."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(figure.columns)
    rows.writerows(zip(*figure.columns.values(), strict=True))
    return out.getvalue()
