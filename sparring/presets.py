"""`sparring presets`: published tables, the jobs of their rows, and what was published beside what we got."""

from typing import Annotated, Any

import typer
from rich.table import Table

from sparring.client import Client
from sparring.exits import AsJson, exit_codes, out
from sparring.show import console

app = typer.Typer(no_args_is_help=True, help="Published tables, and ours beside them.")
Preset = Annotated[str, typer.Argument(help="A preset's name, as `sparring presets ls` gives it.")]
QUIET = "bright_black"
"""What is shown and never ranked."""


@app.command("ls")
def list_presets(as_json: AsJson = False) -> None:
    """All presets: tables with their rows, and examples of one job."""
    with exit_codes():
        found = Client().presets()
    if as_json:
        out(found)
        return
    table = Table()
    for name in ("name", "rows", "what it shows", "source"):
        table.add_column(name, justify="right" if name == "rows" else "left", no_wrap=name == "name")
    for one in found:
        table.add_row(one["id"], str(len(one["rows"])) if one["rows"] else "–", one["title"], one["source"])
    console.print(table)


@app.command("show")
def show_preset(name: Preset, as_json: AsJson = False) -> None:
    """A table: its rows and what was reported; with --json the resolved specification of each row too."""
    with exit_codes():
        found = Client().preset(name)
    if as_json:
        out(found)
        return
    table = Table(title=f"{found['title']} ({found['source']})")
    for title in ("", "row", "setting", *(column["title"] for column in found["columns"].values()), "ways to run it"):
        table.add_column(title)
    for place, row in enumerate(found["items"], 1):
        numbers = (f"{row['reported'][key]:g}" if key in row["reported"] else "–" for key in found["columns"])
        table.add_row(str(place), row["id"], row["setting"], *numbers, ", ".join(row["configurations"]))
    console.print(table)
    if found["about"]:
        console.print(found["about"])


@app.command()
def run(
    name: Preset,
    rows: Annotated[str | None, typer.Option(help="Rows by place or id, with commas between; all if left out.")] = None,
    ways: Annotated[str | None, typer.Option(help="Ways to run them, with commas between; all if left out.")] = None,
    replicates: Annotated[int, typer.Option(min=1, max=20, help="Seeds of each row: 1, 2, ...")] = 1,
    as_json: AsJson = False,
) -> None:
    """Queue the jobs of a table's rows; those that are done, run or wait already are not queued again."""
    with exit_codes():
        client = Client()
        chosen = [words.split(",") if words else None for words in (rows, ways)]
        done = client.run_preset(name, chosen[0], replicates, chosen[1])
    if as_json:
        out(done)
        return
    for job in done["jobs"]:
        console.print(f"#{job['number']} {job['name']}, seed {job['seed']}: {client.url}/jobs/{job['id']}")
    if done["present"]:
        console.print(f"{len(done['present'])} of these jobs were there already.")


@app.command()
def scorecard(
    name: Annotated[str | None, typer.Argument(help="A table; all of them if left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """What was published, ours as mean ± std of n seeds, the difference, and a verdict that follows from them."""
    with exit_codes():
        client = Client()
        names = [name] if name else [one["id"] for one in client.presets() if one["rows"]]
        cards = [client.scorecard(one) for one in names]
    if as_json:
        out([cell for card in cards for cell in card["cells"]])
    for card in () if as_json else cards:
        _print(card)


def _print(found: dict[str, Any]) -> None:
    table = Table(title=f"{found['title']} ({found['source']})")
    for title in ("row", "setting", "number", "eps", "paper", "ours", "n", "difference", "verdict", "row's verdict"):
        right = title in ("eps", "paper", "ours", "n", "difference")
        table.add_column(title, justify="right" if right else "left", no_wrap=title != "setting")
    before = None
    for cell in found["cells"]:
        first, before = cell["row"] != before, cell["row"]
        table.add_row(*_line(cell, first), style=None if cell["ranked"] else QUIET, end_section=False)
    console.print(table)
    for text in dict.fromkeys(_remarks(found)):
        console.print(text)


def _line(cell: dict[str, Any], first: bool) -> tuple[str, ...]:
    way = f" ({cell['configuration']})" if cell["configuration"] not in (None, "published") else ""
    row = (cell["row"], cell["setting"] + way) if first else ("", "")
    ours = (
        "–"
        if cell["ours"] is None
        else f"{cell['ours']:.2f}" + (f" ± {cell['std']:.2f}" if cell["std"] is not None else "")
    )
    eps = "–" if cell["eps"] is None else f"{cell['eps']:.4g}"
    paper = "–" if cell["reported"] is None else f"{cell['reported']:.2f}"
    difference = "–" if cell["difference"] is None else f"{cell['difference']:+.2f}"
    overall = (cell["row_verdict"] or "–") if first else ""
    return (*row, cell["title"], eps, paper, ours, str(cell["n"]), difference, _verdict(cell), overall)


def _verdict(cell: dict[str, Any]) -> str:
    if cell["reported"] is None:
        return ""
    if not cell["ranked"]:
        return "not ranked"
    if cell["comparable"] != "yes":
        return "not comparable" if cell["comparable"] == "no" else str(cell["comparable"])
    if not cell["judged"]:
        return ""
    return cell["verdict"] or ("collapsed" if cell["collapsed"] else "not run")


def _remarks(found: dict[str, Any]) -> list[str]:
    """What stands below the table: why cells do not compare, runs that collapsed, the table's own remarks."""
    why = [f"{cell['title' if cell['ranked'] else 'setting']}: {cell['why']}" for cell in found["cells"] if cell["why"]]
    collapsed = [
        f"{cell['row']}: {cell['collapsed']} of {len(cell['jobs'])} runs collapsed and are not averaged."
        for cell in found["cells"]
        if cell["collapsed"]
    ]
    return [*why, *collapsed, *([found["about"]] if found["about"] else [])]
