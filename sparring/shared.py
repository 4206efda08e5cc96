"""`sparring queue | workers | usage | quota | explain`: the machines that a team shares, who has them, why a job waits."""

from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from sparring.client import Client
from sparring.exits import AsJson, exit_codes, out
from sparring.show import console

quota = typer.Typer(no_args_is_help=True, help="What users and projects may have of the slots.")
Kind = Annotated[Literal["user", "project"], typer.Argument(help="user or project")]
Whose = Annotated[str, typer.Argument(help="Its name.")]


def queue(
    change: Annotated[Literal["pause", "resume", "drain"] | None, typer.Argument(help="What to do with it.")] = None,
    as_json: AsJson = False,
) -> None:
    """The queue: shown; paused, so that nothing starts; drained, so that what runs saves and leaves too; resumed."""
    with exit_codes():
        path = "/queues/default"
        found = Client().request("POST", f"{path}/{change}") if change else Client().request("GET", path)
    out(found) if as_json else console.print(f"{found['name']}: {found['state']}")


def workers(
    change: Annotated[Literal["drain", "undrain"] | None, typer.Argument(help="What to do with one.")] = None,
    worker: Annotated[str | None, typer.Argument(help="Its id, or the beginning of it.")] = None,
    as_json: AsJson = False,
) -> None:
    """The workers and their slots; drain one, so that it takes nothing new and what it runs moves on, or undrain it."""
    if (change is None) != (worker is None):
        raise typer.BadParameter("give drain or undrain together with a worker's id, or nothing")
    with exit_codes():
        client = Client()
        if change and worker:
            client.request("POST", f"/workers/{_whole(client, worker)}/{change}")
        found = client.request("GET", "/workers")["items"]
    if as_json:
        out(found)
        return
    table = _table("worker", "host", "slots", "busy", "")
    for one in found:
        busy = sum(slot["job"] is not None for slot in one["slots"])
        table.add_row(one["id"], one["host"], _slots(one["slots"]), str(busy), "draining" if one["draining"] else "")
    console.print(table)


def _whole(client: Client, worker: str) -> str:
    ids = [one["id"] for one in client.request("GET", "/workers")["items"] if one["id"].startswith(worker)]
    if len(ids) > 1:
        raise typer.BadParameter(f"{len(ids)} workers begin with {worker}; give more of the id")
    return ids[0] if ids else worker


def _slots(slots: list[dict[str, Any]]) -> str:
    devices = {slot["device"]: slot for slot in slots}
    return ", ".join(
        f"{name} {slot['model']} × {sum(one['device'] == name for one in slots)}" for name, slot in devices.items()
    )


def usage(
    days: Annotated[int, typer.Option(min=1, max=3650, help="Of the last so many days.")] = 30, as_json: AsJson = False
) -> None:
    """Who has had how much of the slots."""
    with exit_codes():
        found = Client().request("GET", "/usage", params={"days": days})
    if as_json:
        out(found)
        return
    table = _table("", "name", f"slot-hours, {days} days", "share %", "slots now", "slot-hours that count")
    for kind in ("users", "projects"):
        for one in found[kind]:
            hours, share = f"{one['hours']:.1f}", f"{100 * one['share']:.1f}"
            table.add_row(kind[:-1], one["name"], hours, share, str(one["running"]), f"{one['counted']:.2f}")
    console.print(table)


def explain(
    name: Annotated[str, typer.Argument(help="A job's number or id.")],
    as_json: AsJson = False,
) -> None:
    """Why a job waits, how many go before it, and when it is likely to start."""
    with exit_codes():
        found = Client().explain(name)
    if as_json:
        out(found)
        return
    reason = f" ({found['reason']})" if found["reason"] else ""
    console.print(f"{found['state']}{reason}: {found['words']}")
    for job in found["blocked_by"]:
        console.print(f"  needs {job}")
    if found["starts_at"]:
        console.print(f"Likely to start at {found['starts_at']}.")


@quota.command("ls")
def list_quotas(as_json: AsJson = False) -> None:
    """All quotas; who has none has a weight of 1 and no limits."""
    with exit_codes():
        found = Client().request("GET", "/quotas")["items"]
    out(found) if as_json else _quotas(found)


@quota.command("set")
def set_quota(
    kind: Kind,
    name: Whose,
    guarantee: Annotated[int, typer.Option(min=0, help="Slots below which its jobs go first.")] = 0,
    weight: Annotated[float, typer.Option(help="Its share is in proportion to this.")] = 1.0,
    maximum: Annotated[int | None, typer.Option(min=0, help="Slots that it has at most.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give a user or a project this quota, whatever it had."""
    with exit_codes():
        asked = {"guarantee": guarantee, "weight": weight, "maximum": maximum}
        found = Client().request("PUT", f"/quotas/{kind}/{name}", json=asked)
    out(found) if as_json else _quotas([found])


@quota.command("rm")
def remove_quota(kind: Kind, name: Whose) -> None:
    """Take a quota away."""
    with exit_codes():
        Client().request("DELETE", f"/quotas/{kind}/{name}")


def _quotas(found: list[dict[str, Any]]) -> None:
    table = _table("", "name", "guarantee", "weight", "maximum")
    for one in found:
        maximum = "–" if one["maximum"] is None else str(one["maximum"])
        table.add_row(one["kind"], one["name"], str(one["guarantee"]), f"{one['weight']:g}", maximum)
    console.print(table)


def _table(*names: str) -> Table:
    table = Table()
    for name in names:
        table.add_column(name, no_wrap=name in ("worker", "name"))
    return table
