"""P24: no secret is found where it does not belong: not in the database, the logs, the answers or the broker."""

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from store import feed, lookup, tokens
from store.database import Base, transaction

PAGE = {"accept": "text/html", "authorization": "", "origin": "http://127.0.0.1:8000"}


def dumped(session: Session) -> str:
    """Every row of every table, as text."""
    tables = [table.name for table in Base.metadata.sorted_tables]
    rows = (str(row) for name in tables for row in session.execute(text(f'SELECT t::text FROM "{name}" t')).scalars())
    return "\n".join(rows)


def remembered() -> str:
    """Every key of the broker, with what it holds."""
    broker: Any = feed.connection()
    keys = list(broker.scan_iter())
    return f"{keys} {[broker.lrange(key, 0, -1) for key in keys if broker.type(key) == b'list']}"


def logged(caplog: pytest.LogCaptureFixture) -> str:
    """What the service has logged; the client of this test runs in the same process, and tells all that it sends."""
    ours = [one for one in caplog.records if not one.name.startswith(("httpx", "httpcore"))]
    return "\n".join(map(caplog.handler.format, ours))


def test_p24_the_secrets_of_a_day_are_found_nowhere(
    api, token: str, database: Session, monkeypatch, caplog, keep: Callable[..., None]
) -> None:
    caplog.set_level(logging.DEBUG)
    answers, secrets = [], [token]
    made = api.post("/api/v1/tokens", json={"name": "laptop"}).json()["token"]
    rotated = api.post(f"/api/v1/tokens/{made.split('_')[1]}/rotate", json={}).json()["token"]
    secrets += [made, rotated]
    logged_in = api.post("/login", data={"token": made}, headers=PAGE, follow_redirects=False)
    cookie = re.findall(r"__Host-sparring=([^;]+)", logged_in.headers["set-cookie"])[0]
    secrets.append(cookie)
    api.cookies.clear()
    answers.append(api.get("/jobs", headers=PAGE | {"cookie": f"__Host-sparring={cookie}"}).text)
    wrong = made[:-1] + ("0" if made[-1] != "0" else "1")
    secrets.append(wrong)
    answers.append(api.post("/login", data={"token": wrong}, headers=PAGE).text)
    answers.append(api.get("/api/v1/me", headers={"Authorization": f"Bearer {wrong}"}).text)
    answers.append(api.get(f"/login?next=/jobs?token={wrong}").text.replace(f"token={wrong}", ""))
    answers += [api.get("/api/v1/tokens").text, api.get("/api/v1/actions").text, api.get("/api/v1/me").text]

    def broken(*_: object) -> None:
        raise RuntimeError("it breaks")

    monkeypatch.setattr(lookup, "page", broken)
    answers.append(api.get("/api/v1/jobs", headers={"Authorization": f"Bearer {rotated}"}).text)
    monkeypatch.undo()
    assert "it breaks" in logged(caplog), "the crash is in the log"
    places = {
        "database": dumped(database),
        "log": logged(caplog),
        "broker": remembered(),
        "answers": "\n".join(answers),
    }
    parts = [part for secret in secrets for part in (secret, secret.rpartition("_")[2][:40])]
    found = [place for place, held in places.items() for part in parts if part in held]
    keep(not found, f"{len(found)} found {found or ''}in {', '.join(places)}", secrets=len(secrets), places=len(places))


def test_p24_the_search_would_find_a_secret(database: Session) -> None:
    ada = tokens.user_named(database, "ada")
    tokens.issue(database, ada, "spr_kept_in_a_name")
    database.commit()
    assert "spr_kept_in_a_name" in dumped(database)


@pytest.mark.parametrize("name", ["DATABASE_URL", "BROKER_URL"])
def test_p24_settings_with_passwords_do_not_show_them(servers: dict[str, str], name: str) -> None:
    from store.settings import StoreSettings

    values = {key.removeprefix("SPARRING_").lower(): value for key, value in servers.items()}
    url = {"DATABASE_URL": "postgresql+psycopg://a:hunter2@h/d", "BROKER_URL": "redis://:hunter2@h/0"}[name]
    found = StoreSettings(**values | {name.lower(): url})
    assert "hunter2" not in repr(found)
    with pytest.raises(ValueError, match=name.lower()) as caught:
        StoreSettings(**values | {name.lower(): f"wrong{url}"})
    assert "hunter2" not in str(caught.value)


def test_p24_an_error_of_the_database_does_not_tell_its_password(monkeypatch) -> None:
    address = "postgresql+psycopg://ada:hunter2@127.0.0.1:1/none"
    with pytest.raises(Exception, match="failed") as caught, transaction(address) as session:
        session.execute(text("SELECT 1"))
    assert "hunter2" not in str(caught.value)
