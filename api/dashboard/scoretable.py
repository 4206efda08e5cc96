"""What the scorecard page shows, as plain values: columns with one scale each, and cells with their places on it."""

from collections.abc import Sequence
from dataclasses import dataclass

from api.dashboard.figures import Scale
from core.intervals import wilson
from core.presets import Column, Preset
from core.scorecard import TOLERANCE, Cell

WORDS = {"beaten": "beaten", "met": "met", "undecided": "undecided", "missed": "missed", None: "not run"}
ICONS = {"beaten": "passed", "met": "succeeded", "undecided": "queued", "missed": "failed", None: "waiting"}


@dataclass(frozen=True)
class Head:
    """A column: its name, the radius it was measured at, the ends of its scale, and whether its numbers compare."""

    key: str
    title: str
    eps: str
    comparable: str
    why: str | None
    scale: Scale
    kind: str


@dataclass(frozen=True)
class Shown:
    """A cell: numbers as they are written, and where they stand on the column's scale, in per cent of its width."""

    head: Head
    ours: str
    spread: str
    paper: str
    difference: str
    at: float | None
    low: float | None
    high: float | None
    paper_at: float | None
    bar: tuple[float, float] | None
    missed: bool
    images: int | None


@dataclass(frozen=True)
class Line:
    """A row of the table."""

    id: str
    setting: str
    ranked: bool
    note: str | None
    jobs: list[str]
    logs: int
    collapsed: int
    configuration: str | None
    cells: list[Shown]
    verdict: str
    icon: str


def heads(preset: Preset, cells: Sequence[Cell]) -> list[Head]:
    """The columns that have a number at all."""
    found = []
    for key, column in preset.columns.items():
        some = [cell for cell in cells if cell.metric == key]
        if any(cell.ours is not None or cell.reported is not None for cell in some):
            found.append(_head(key, column, some))
    return found


def _head(key: str, column: Column, cells: Sequence[Cell]) -> Head:
    numbers = [value for cell in cells for value in (cell.ours, cell.reported) if value is not None]
    room = max(2.0, 0.15 * (max(numbers) - min(numbers)))
    scale = Scale(float(max(0, int(min(numbers) - room))), float(min(100, int(max(numbers) + room) + 1)))
    eps = (
        "" if column.eps is None else f"ε {column.eps}" if column.eps.denominator == 255 else f"ε {float(column.eps):g}"
    )
    kind = "spars" if column.is_sparsity else "clean" if column.metric == "clean" else ""
    return Head(key, column.title, eps, column.comparable, column.why, scale, kind)


def lines(preset: Preset, columns: Sequence[Head], cells: Sequence[Cell]) -> list[Line]:
    """The rows, in the table's order."""
    found = []
    for row in preset.rows:
        mine = {cell.metric: cell for cell in cells if cell.row == row.id}
        any_cell = next(iter(mine.values()), None)
        verdict = any_cell.row_verdict if any_cell else None
        jobs = any_cell.jobs if any_cell else []
        shown = [_shown(head, mine.get(head.key)) for head in columns]
        plain = not any(cell.judged for cell in mine.values())
        ids = [job for job in jobs if not job.startswith("presets/")]
        found.append(
            Line(
                row.id,
                row.setting,
                row.ranked,
                row.note,
                ids,
                len(jobs) - len(ids),
                any_cell.collapsed if any_cell else 0,
                any_cell.configuration if any_cell else None,
                shown,
                _word(row.ranked, plain, verdict, any_cell),
                "" if plain and jobs else ICONS[verdict],
            )
        )
    return found


def _word(ranked: bool, plain: bool, verdict: str | None, cell: Cell | None) -> str:
    if not ranked:
        return "not ranked"
    if cell and cell.collapsed and not cell.n:
        return "collapsed"
    return "" if plain and cell and cell.jobs else WORDS[verdict]


def _shown(head: Head, cell: Cell | None) -> Shown:
    if cell is None:
        return Shown(head, "", "", "", "", None, None, None, None, None, False, None)
    at = head.scale.at
    ours, paper = cell.ours, cell.reported
    low, high = _ends(cell)
    bar = None
    if paper is not None and cell.judged:
        bar = (at(paper - (0 if head.kind == "spars" else TOLERANCE)), at(head.scale.high))
    return Shown(
        head,
        "" if ours is None else f"{ours:.1f}",
        "" if cell.std is None else f"±{cell.std:.1f}",
        "" if paper is None else f"{paper:.2f}",
        "" if cell.difference is None else f"{cell.difference:+.1f}".replace("-", "−"),
        None if ours is None else at(ours),
        None if low is None else at(low),
        None if high is None else at(high),
        None if paper is None else at(paper),
        bar,
        cell.verdict == "missed",
        cell.images,
    )


def _ends(cell: Cell) -> tuple[float | None, float | None]:
    """The ends of a cell's line: one standard deviation over seeds; of one seed, the 95 % interval over its images."""
    if cell.ours is not None and cell.std is not None:
        return cell.ours - cell.std, cell.ours + cell.std
    if cell.ours is None or not cell.images:
        return None, None
    low, high = wilson(round(cell.ours / 100 * cell.images), cell.images)
    return 100 * low, 100 * high


def swept(preset: Preset, cells: Sequence[Cell]) -> list[str]:
    """This service's RGSM jobs behind the table: what channel sparsity against lambda1 can be drawn from."""
    groups = {row for (row, _), job in preset.jobs.items() if job.sparsifier.name == "rgsm"}
    jobs = [job for cell in cells if cell.row in groups for job in cell.jobs if not job.startswith("presets/")]
    return list(dict.fromkeys(jobs))


def tally(cells: Sequence[Cell]) -> dict[str, int]:
    """How many of the numbers that compare were met or beaten, missed, are undecided, or have not been run."""
    compared = [cell for cell in cells if cell.judged]
    verdicts = [cell.verdict for cell in compared]
    good = verdicts.count("met") + verdicts.count("beaten")
    counts = {"met": good, "missed": verdicts.count("missed"), "undecided": verdicts.count("undecided")}
    return counts | {"not run": verdicts.count(None), "all": len(compared)}
