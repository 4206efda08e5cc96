"""`sparring data ls | fetch | check`: datasets on this machine, or with --service where the service keeps them."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from sparring import local
from sparring.client import Client
from sparring.exits import FAILED, AsJson, exit_codes, out
from sparring.local import DATA
from sparring.show import console

app = typer.Typer(no_args_is_help=True, help="Datasets on this machine, or where the service keeps them.")
Service = Annotated[
    bool, typer.Option("--service", help="In the service's data folder instead of one of this machine.")
]
SECONDS_BETWEEN_LOOKS = 0.5


@app.command("ls")
def ls(service: Service = False, as_json: AsJson = False) -> None:
    """The datasets there are; with --service, what is on disk of each."""
    if service:
        with exit_codes():
            kept = {one["name"]: one["on_disk"] for one in Client().request("GET", "/datasets")["items"]}
        out(kept) if as_json else _states(kept)
        return
    found = local.datasets()
    out(found) if as_json else console.print("\n".join(f"{name:<22} {doc}" for name, doc in found.items()))


@app.command("fetch")
def fetch(
    context: typer.Context,
    name: str,
    to: Annotated[Path, typer.Option(envvar="SPARRING_DATA", help="The data folder.")] = DATA,
    mirror: Annotated[str | None, typer.Option(help="Another place than the official one.")] = None,
    service: Service = False,
) -> None:
    """Download a dataset from its official place, and check it."""
    if not service:
        raise typer.Exit(local.fetch(name, to, mirror))
    for option in ("to", "mirror"):
        if getattr(context.get_parameter_source(option), "name", "") == "COMMANDLINE":
            problem = "is for this machine: a service fetches from the official place into its own data folder"
            raise typer.BadParameter(problem, param_hint=f"--{option}")
    with exit_codes():
        ended = _followed(Client(), name)
    if ended["error"]:
        print(ended["error"], file=sys.stderr)
        raise typer.Exit(FAILED)
    console.print(f"{name} is in the service's data folder, {ended['bytes']} bytes")


@app.command("check")
def check(
    name: str, to: Annotated[Path, typer.Option("--in", envvar="SPARRING_DATA", help="The data folder.")] = DATA
) -> None:
    """Check the files of a dataset on this machine; a service checks its own when it is asked to fetch them."""
    raise typer.Exit(local.check(name, to))


def _followed(client: Client, name: str) -> dict[str, Any]:
    """How a fetch by the service has ended, with a bar for the file that it downloads."""
    now: dict[str, Any] = client.request("POST", f"/datasets/{name}/fetch")
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=None)
        while now["state"] == "fetching":
            bar.update(task, description=now["file"] or name, completed=now["bytes"], total=now["total"])
            time.sleep(SECONDS_BETWEEN_LOOKS)
            found = client.request("GET", "/datasets")["items"]
            now = next(one["on_disk"] for one in found if one["name"] == name)
    return now


def _states(kept: dict[str, Any]) -> None:
    table = Table()
    for title in ("name", "state", "bytes", "at", "error"):
        table.add_column(title, no_wrap=title in ("name", "state"))
    for name, now in kept.items():
        table.add_row(name, now["state"], str(now["bytes"]), now["at"] or "", now["error"] or "")
    console.print(table)
