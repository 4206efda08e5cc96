"""`sparring token`, `user`, `project`: who may come in, by which tokens, and who sees what."""

from typing import Annotated, Any

import typer
from rich.table import Table

from sparring.client import Client
from sparring.exits import AsJson, exit_codes, out
from sparring.show import console

token = typer.Typer(no_args_is_help=True, help="API tokens.")
user = typer.Typer(no_args_is_help=True, help="Users, for administrators.")
project = typer.Typer(no_args_is_help=True, help="Projects: of the team, or private.")
Name = Annotated[str, typer.Argument(help="Its name.")]
TokenId = Annotated[str, typer.Argument(help="The token's id, as `sparring token ls` gives it.")]
Role = Annotated[str, typer.Option(help="viewer, member, maintainer or admin.")]
Members = Annotated[list[str] | None, typer.Option("--member", help="A member, by name; give it for each of them.")]
Private = Annotated[bool | None, typer.Option("--private/--team", help="Seen by its members alone, or by all.")]


def _ask(method: str, path: str, **sent: Any) -> Any:
    """One request, and its answer; what is refused ends the command."""
    with exit_codes(), Client() as client:
        return client.request(method, path, **sent)


def _all(path: str, **parameters: Any) -> list[dict[str, Any]]:
    """Every item of a list, page by page."""
    found: list[dict[str, Any]] = []
    while True:
        page = _ask("GET", path, params=parameters)
        found += page["items"]
        if not page.get("next_cursor"):
            return found
        parameters["cursor"] = page["next_cursor"]


def _table(items: list[dict[str, Any]], *columns: str) -> None:
    table = Table(*columns)
    for one in items:
        cells = (one[column] for column in columns)
        table.add_row(*(", ".join(cell) if isinstance(cell, list) else str(cell or "–") for cell in cells))
    console.print(table)


def _changed(path: str, change: dict[str, Any]) -> dict[str, Any]:
    """Change what is there, whatever its version."""
    return dict(_ask("PATCH", path, json=change, headers={"If-Match": "*"}))


@token.command("ls")
def list_tokens(
    of: Annotated[str | None, typer.Option("--user", help="Another user's, for administrators.")] = None,
    as_json: AsJson = False,
) -> None:
    """The tokens that are valid."""
    found = _all("/tokens", **({"user": of} if of else {}))
    out(found) if as_json else _table(found, "id", "name", "scopes", "created_at", "expires_at")


@token.command("new")
def new_token(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    days: Annotated[float | None, typer.Option(help="How long it is valid.")] = None,
    scope: Annotated[str | None, typer.Option(help="read, write or admin: each holds those before it.")] = None,
    of: Annotated[str | None, typer.Option("--user", help="For another user, by administrators.")] = None,
    as_json: AsJson = False,
) -> None:
    """A new token; it is shown once."""
    asked = {"name": name, "days": days, "scopes": [scope] if scope else None, "user": of}
    made = _ask("POST", "/tokens", json=asked)
    out(made) if as_json else print(made["token"])


@token.command()
def rotate(
    token_id: TokenId,
    overlap: Annotated[float, typer.Option(min=0, max=720, help="Hours for which the old one is still valid.")] = 24,
    as_json: AsJson = False,
) -> None:
    """A new secret of the same name and scopes; it is shown once."""
    made = _ask("POST", f"/tokens/{token_id}/rotate", json={"overlap_hours": overlap})
    out(made) if as_json else print(made["token"])


@token.command()
def revoke(token_id: TokenId) -> None:
    """End a token at once."""
    _ask("DELETE", f"/tokens/{token_id}")


@user.command("ls")
def list_users(as_json: AsJson = False) -> None:
    """All users."""
    found = _all("/users")
    out(found) if as_json else _table(found, "name", "role", "disabled_at", "created_at")


@user.command("add")
def add_user(name: Name, role: Role = "member", as_json: AsJson = False) -> None:
    """A new user, with a first token, which is shown once."""
    made = _ask("POST", "/users", json={"name": name, "role": role})
    first = _ask("POST", "/tokens", json={"name": "first", "user": name})
    out(made | {"token": first["token"]}) if as_json else print(first["token"])


@user.command("role")
def set_role(name: Name, role: Annotated[str, typer.Argument(help="The role.")], as_json: AsJson = False) -> None:
    """Give a user another role."""
    found = _changed(f"/users/{name}", {"role": role})
    out(found) if as_json else print(f"{name} is {found['role']}")


@user.command("disable")
def disable(name: Name, as_json: AsJson = False) -> None:
    """Keep a user out: their tokens and sessions end at once, their jobs go on."""
    found = _changed(f"/users/{name}", {"disabled": True})
    out(found) if as_json else print(f"{name} is disabled")


@user.command("enable")
def enable(name: Name, as_json: AsJson = False) -> None:
    """Let a user in again: those of their tokens that were not revoked are valid again."""
    found = _changed(f"/users/{name}", {"disabled": False})
    out(found) if as_json else print(f"{name} may come in")


@project.command("ls")
def list_projects(as_json: AsJson = False) -> None:
    """The projects that you see."""
    found = _all("/projects")
    out(found) if as_json else _table(found, "name", "visibility", "members", "jobs", "created_at")


@project.command("add")
def add_project(name: Name, private: Private = None, member: Members = None, as_json: AsJson = False) -> None:
    """A new project; who makes a private one is a member."""
    asked = {"name": name, "visibility": "private" if private else "team", "members": member or []}
    made = _ask("POST", "/projects", json=asked)
    out(made) if as_json else print(f"{name}: {made['visibility']}")


@project.command("share")
def share(name: Name, private: Private = None, member: Members = None, as_json: AsJson = False) -> None:
    """Who sees a project: the team or its members, and who they are (all of them; left out, they stay)."""
    visibility = None if private is None else "private" if private else "team"
    found = _changed(f"/projects/{name}", {"visibility": visibility, "members": member})
    out(found) if as_json else print(f"{name}: {found['visibility']}, members: {', '.join(found['members']) or 'none'}")


@project.command("rm")
def remove(name: Name) -> None:
    """Remove a project that has no jobs."""
    _ask("DELETE", f"/projects/{name}")
