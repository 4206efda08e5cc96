"""`sparring compare`: methods over their seeds, or single networks, on the same images, and what may be said of each pair."""

from typing import Annotated, Any

import typer
from rich.table import Table

from sparring.client import Client
from sparring.exits import AsJson, exit_codes, out
from sparring.show import console

TESTS = {"mcnemar": "McNemar", "bootstrap": "bootstrap"}


def compare(
    methods: Annotated[list[str], typer.Argument(help="A job, a group, or NAME=ID,ID,ID; two or more of them.")],
    score: Annotated[str, typer.Option(help="Protocol and attack, the same for all.")] = "strict/worst_case",
    as_json: AsJson = False,
) -> None:
    """Say which may be called better on the same images: methods by three jobs or more each, or networks by one each."""
    if len(methods) < 2:
        raise typer.BadParameter("one is compared with nothing; give two or more", param_hint="METHODS")
    asked = [(name or None, jobs.split(",")) for name, _, jobs in (one.rpartition("=") for one in methods)]
    with exit_codes():
        found = Client().compare(asked, score)
    if as_json:
        out(found)
    else:
        _print(found)


def _print(found: dict[str, Any]) -> None:
    threat = found["threat"]
    ball = f"{threat['norm']} {threat['eps']}"
    console.print(
        _methods(found, f"{found['score']}, {found['dataset']}, {ball}, the first {found['images']:,} test images")
    )
    console.print(_pairs(found["pairs"]))
    for one in found["pairs"]:
        console.print(f"{one['one']} and {one['other']}: {one['why']}")
    console.print(found["words"])


def _methods(found: dict[str, Any], title: str) -> Table:
    """Each method over its seeds, and below it its networks."""
    table = Table(title=title)
    for name in ("method", "job", "seed", "audit", "accuracy %", "std", "95 %", "over"):
        table.add_column(name, justify="left" if name in ("method", "audit", "over") else "right")
    for method in found["methods"]:
        if method["n"] > 1:
            mean, std = f"{100 * method['mean']:.1f}", f"{100 * method['std']:.1f}"
            table.add_row(method["name"], "", "", "", mean, std, _interval(method, 100), f"{method['n']} seeds")
        for job in method["jobs"]:
            name = method["name"] if method["n"] == 1 else ""
            numbers = (str(job["number"]), str(job["seed"]), job["trust"], f"{100 * job['accuracy']:.1f}")
            table.add_row(name, *numbers, "", _interval(job, 100), "images")
        table.add_section()
    return table


def _pairs(pairs: list[dict[str, Any]]) -> Table:
    table = Table(title="each pair, the first minus the second, in percentage points")
    for name in ("one", "other", "difference", "95 %", "p", "p (Holm)", "test", "better"):
        table.add_column(name, justify="left" if name in ("one", "other", "test", "better") else "right")
    for one in pairs:
        p = (f"{one['p']:.2g}", f"{one['p_holm']:.2g}")
        numbers = (f"{one['difference']:+.1f}", _interval(one, 1), *p, TESTS[one["test"]])
        table.add_row(one["one"], one["other"], *numbers, one["better"] or "neither")
    return table


def _interval(found: dict[str, Any], scale: int) -> str:
    return f"{scale * found['low']:.1f} – {scale * found['high']:.1f}"
