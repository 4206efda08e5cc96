"""`sparring members`: what there is to choose from, with every setting, as the service's own code describes it."""

from typing import Annotated, Any

import typer
from rich.table import Table

from sparring.client import Client
from sparring.exits import FORBIDDEN, AsJson, exit_codes, out
from sparring.show import console

FAMILIES = {
    "datasets": "datasets",
    "models": "models/architectures",
    "objectives": "objectives",
    "sparsifiers": "sparsifiers",
    "attacks": "attacks",
    "exporters": "exporters",
}


def members(
    family: Annotated[str, typer.Argument(help=", ".join(FAMILIES))],
    name: Annotated[str | None, typer.Argument(help="One of them: its settings.")] = None,
    as_json: AsJson = False,
) -> None:
    """The members of a family, or one with its settings."""
    if family not in FAMILIES:
        raise typer.BadParameter(f"there is no family {family}; there are {', '.join(FAMILIES)}")
    with exit_codes():
        found = Client().request("GET", f"/{FAMILIES[family]}")["items"]
    chosen = [one for one in found if name in (None, one["name"])]
    if not chosen:
        names = ", ".join(one["name"] for one in found)
        console.print(f"There is no {name} among the {family}; there are {names}")
        raise typer.Exit(FORBIDDEN)
    if as_json:
        out(chosen)
    elif name:
        _settings(chosen[0])
    else:
        _listing(chosen)


def _listing(found: list[dict[str, Any]]) -> None:
    table = Table()
    table.add_column("name", no_wrap=True)
    table.add_column("what it is")
    for one in found:
        table.add_row(one["name"], one["doc"].partition("\n")[0])
    console.print(table)


def _settings(one: dict[str, Any]) -> None:
    console.print(f"{one['doc']}\n\n{one['module']}\n")
    table = Table()
    for title in ("setting", "default", "meaning"):
        table.add_column(title, no_wrap=title == "setting")
    for name, setting in one["settings"]["properties"].items():
        if name != "name":
            required = name in one["settings"].get("required", ())
            default = "required" if required else str(setting.get("default"))
            table.add_row(name, default, " ".join(setting.get("description", "").split()))
    console.print(table)
