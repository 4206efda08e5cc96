"""What the tests share: which of them run, a migrated Postgres and a Valkey, the api, the whole service, a browser."""

import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from psycopg.errors import LockNotAvailable
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

import migrations
from local.postgres import Postgres
from local.stack import Stack
from local.valkey import Valkey
from sparring.client import Client
from store import tokens
from store.database import Base, engine, transaction

pytest_plugins = ("promises.trying",)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
REQUIRED = os.environ.get("SPARRING_REQUIRE_BROWSER") == "1"
left_out: list[str] = []

torch.set_num_threads(
    1
)  # the tensors of tests are small: a second thread would mostly wait, and take a core from the rest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without Chromium the browser tests are left out, and the end of the run says how many."""
    if CHROMIUM:
        return
    kept = [item for item in items if "browser" not in item.keywords]
    left_out.extend(item.nodeid for item in items if "browser" in item.keywords)
    config.hook.pytest_deselected(items=[item for item in items if "browser" in item.keywords])
    items[:] = kept


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what was left out."""
    if left_out:
        terminalreporter.write_line(f"{len(left_out)} browser tests not run: install chromium", red=REQUIRED)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where a browser is required, its absence is a failure."""
    if left_out and REQUIRED:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Postgres, migrated, and Valkey, in the settings of this process."""
    home = tmp_path_factory.mktemp("servers")
    with Postgres(home / "postgres") as postgres, Valkey(home / "valkey") as valkey:
        found = {"DATABASE_URL": postgres.url, "BROKER_URL": valkey.broker_url, "LEASE_SECONDS": "3"}
        # The reaper of the api's thread would find what a test of leases has lost before the test does.
        found |= {"REAPER_SECONDS": "3600"}
        found |= {"WEBHOOKS": "on"}
        found |= {"REQUESTS_PER_MINUTE": "1000000", "FAILURES_PER_MINUTE": "1000000"}  # tests are in a hurry
        found |= {folder.upper(): str(home / folder) for folder in ("files", "data", "work")}
        environment = {f"SPARRING_{name}": value for name, value in found.items()}
        os.environ.update(environment)
        migrations.upgrade(postgres.url)
        yield environment
        engine().dispose()
        for name in environment:
            del os.environ[name]


@pytest.fixture
def database(servers: dict[str, str]) -> Iterator[Session]:
    """An empty database, and a transaction in it that is committed at the end."""
    empty()
    with transaction() as session:
        yield session


def empty(tries: int = 300) -> None:
    """Empty every table, while late requests to the api use them in an order of their own.

    Whoever holds some tables and waits for others can be part of a deadlock. So this never waits for long: it lets go of
    all, well before Postgres would look for one (deadlock_timeout, 1 s), and tries again.
    """
    tables = ", ".join(table.name for table in Base.metadata.sorted_tables)
    for left in reversed(range(tries)):
        try:
            with transaction() as session:
                session.execute(text("SET LOCAL lock_timeout = '100ms'"))
                session.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
                return
        except OperationalError as error:
            if not left or not isinstance(error.orig, LockNotAvailable):
                raise


@pytest.fixture
def token(database: Session) -> str:
    """The token of an administrator."""
    made = tokens.issue(database, tokens.user_named(database, "ada", "admin"), "tests")
    database.commit()
    return made


@pytest.fixture(scope="session")
def api_url(servers: dict[str, str]) -> Iterator[str]:
    """The address of the api, served by uvicorn in a thread of this process; its hub runs, its reaper sleeps."""
    import uvicorn

    from api.app import app
    from api.receiving import Receiving

    server = uvicorn.Server(uvicorn.Config(app, port=0, http=Receiving, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def api(api_url: str, token: str) -> Iterator[httpx.Client]:
    """A client of the api, as the administrator, with an empty database."""
    with httpx.Client(base_url=api_url, headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The whole service: real processes, short leases. Has `url`, `token` and `client`."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("SPARRING_")}
    settings = {"SPARRING_LEASE_SECONDS": "3", "SPARRING_HEARTBEAT_SECONDS": "0.5", "SPARRING_GRACE_SECONDS": "15"}
    stack = Stack(tmp_path_factory.mktemp("service"), 0, lambda _: None, **settings)
    stack.start()
    os.environ.update(kept)
    stack.client = Client(stack.url, stack.token)  # type: ignore[attr-defined]
    yield stack
    stack.client.close()  # type: ignore[attr-defined]
    stack.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield found
        found.close()


@pytest.fixture
def name() -> str:
    """A name that no other test has."""
    return f"test-{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return Path(__file__).parent.parent
