"""Presets: published tables as specifications, the jobs of their rows, and what was published beside what we got."""

import csv
import io
from dataclasses import asdict, fields

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy.orm import Session

from api import scorecards, shelf
from api.admission import Admission
from api.dependencies import Database, Known, Writer, check_project
from api.errors import Refused, not_found
from api.permissions import Caller
from api.preset_schemas import CellOut, Preset, PresetDetail, PresetRow, Presets, RowsQueued, RunRows, Scorecard
from api.repeats import IdempotencyKey, once, queued
from api.routes.jobs import shown
from core import presets
from core.scorecard import Cell
from store import actions, submission

router = APIRouter(prefix="/presets", tags=["presets"])


@router.get("")
def find(who: Known) -> Presets:
    """The tables and examples that come with Sparring."""
    return Presets(items=[_listed(name) for name in shelf.documents()])


def _listed(name: str) -> Preset:
    table = shelf.tables().get(name)
    if table is None:
        return Preset(id=name, title=shelf.examples()[name]["name"], source="an example", rows=[])
    return Preset(id=name, title=table.title, source=table.source, rows=[row.id for row in table.rows])


@router.get("/{name}")
def show(name: str, who: Known) -> PresetDetail:
    """One of them, with the resolved specification of every row."""
    listed = _listed(_known(name)).model_dump()
    table = shelf.tables().get(name)
    if table is None:
        return PresetDetail(**listed, about="", columns={}, items=[], spec=shelf.examples()[name])
    columns = {key: column.model_dump(mode="json") for key, column in table.columns.items()}
    return PresetDetail(**listed, about=table.about, columns=columns, items=_rows(table), spec=table.spec)


def _rows(table: presets.Preset) -> list[PresetRow]:
    found = []
    for row in table.rows:
        specs = {name: table.jobs[row.id, name].json_dict() for name in row.configurations}
        same = {key: getattr(row, key) for key in ("id", "setting", "reported", "ranked", "note")}
        found.append(PresetRow(**same, configurations=specs))
    return found


def _known(name: str) -> str:
    if name not in shelf.documents():
        raise not_found("preset", name[:80])
    return name


def table_named(name: str) -> presets.Preset:
    """The table of that name; refused where there is none, or where the preset is an example without rows."""
    if _known(name) not in shelf.tables():
        raise Refused(422, "invalid_request", f"{name} is one job and has no rows: submit it as it is.")
    return shelf.tables()[name]


@router.post("/{name}/run", status_code=201)
def run(
    name: str, asked: RunRows, who: Writer, session: Database, idempotency_key: IdempotencyKey = None
) -> RowsQueued:
    """Queue the jobs of some rows, each once a seed. What waits, runs or has succeeded already is not queued again."""

    def make() -> RowsQueued:
        return queue_rows(session, who, name, asked)

    return queued(session, once(session, who, idempotency_key, f"presets {name}", asked, RowsQueued, make))


def queue_rows(session: Session, who: Caller, name: str, asked: RunRows) -> RowsQueued:
    """The jobs that are missing, a group for each row and configuration."""
    table = table_named(name)
    rows = _rows_named(name, [row.id for row in table.rows], asked.rows)
    ways = list(dict.fromkeys(way for row in table.rows for way in row.configurations))
    if unknown := [way for way in asked.configurations or () if way not in ways]:
        raise Refused(422, "invalid_request", f"{name} has no way {unknown[0][:80]}; it has {', '.join(ways)}.")
    planned = table.planned(asked.replicates, frozenset(rows))
    wanted, present = scorecards.missing(
        session, who.eyes, (one for one in planned if one.configuration in (asked.configurations or ways))
    )
    groups: dict[tuple[str, str], list[submission.Asked]] = {}
    admission = Admission(session, who)
    for one in wanted:
        job = admission.with_gpus(presets.named(name, one))
        groups.setdefault((one.row, one.configuration), []).append(
            submission.Asked(job.json_dict(), job.json_dict(), job.digest)
        )
    made = submission.create_all(session, who.id, list(groups.values()))
    if made:
        check_project(session, who, name)
    actions.note_all(session, who.name, "submit", "job", [one.id for one in made], preset=name)
    return RowsQueued(jobs=[shown(session, queued) for queued in made], present=present)


def _rows_named(name: str, known: list[str], asked: list[str] | None) -> list[str]:
    """Rows by id or by their place; refused where there is none."""
    places = {str(place): row for place, row in enumerate(known, 1)}
    rows = [row if row in known else places.get(row, row) for row in (known if asked is None else asked)]
    if unknown := [row for row in rows if row not in known]:
        raise Refused(422, "invalid_request", f"{name} has no row {unknown[0][:80]}; it has {', '.join(known)}.")
    return rows


@router.get("/{name}/scorecard")
def scorecard(name: str, who: Known, session: Database) -> Scorecard:
    """The published numbers beside ours: mean, standard deviation, n, difference, verdict."""
    table = table_named(name)
    cells = [CellOut(**asdict(cell)) for cell in scorecards.cells(session, who.eyes, name)]
    return Scorecard(preset=name, title=table.title, source=table.source, about=table.about, cells=cells)


@router.get("/{name}/scorecard.csv", response_class=Response)
def scorecard_csv(name: str, who: Known, session: Database) -> Response:
    """The same as a table."""
    table_named(name)
    text = io.StringIO()
    out = csv.DictWriter(text, [field.name for field in fields(Cell)])
    out.writeheader()
    for cell in scorecards.cells(session, who.eyes, name):
        out.writerow(asdict(cell) | {"jobs": " ".join(cell.jobs)})
    headers = {"content-disposition": f'attachment; filename="{name}.csv"'}
    return Response(text.getvalue(), 200, headers, "text/csv")
