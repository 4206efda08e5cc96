"""The record: docs/reference/promises.json, one row a promise with its own date, and the page made of it."""

import json
import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from promises.table import COMMANDS, PROMISES
from worker.devices import cpu_model

ROOT = Path(__file__).parents[2]
ROWS = ROOT / "docs/reference/promises.json"
PAGE = ROOT / "docs/reference/promises.md"
HEAD = """# Promises, measured

<!-- Made by `make promises`; do not edit. -->

What Sparring promises of a job, and what was found when it was last tried: `make promises`, or some with
`make promises ONLY=P5,P6`. Each row has its own date. 200 kills without a loss say: under 1.5 % per kill, at 95 %.

| | promise | tried by | asked for | found | kept | when, how often, on |
|---|---|---|---|---|---|---|
"""


def merge(found: Iterable[dict[str, Any]], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with those of `found` in the place of older ones, in the order of the promises."""
    newest = {row["promise"]: row for row in (*rows, *found)}
    return [newest[name] for name in PROMISES if name in newest]


def row(name: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """A promise's row, from what its tests have found: it is kept if each of them says so."""
    repetitions: dict[str, int] = {}
    for part in parts:
        repetitions |= part["repetitions"]
    return {
        "promise": name,
        "figure": "; ".join(part["figure"] for part in parts),
        "met": all(part["met"] for part in parts),
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
        "command": COMMANDS.get(name, f"make promises ONLY={name}"),
        "repetitions": repetitions,
        "machine": machine(),
        "revision": git("rev-parse", "--short", "HEAD") + "+" * bool(git("status", "--porcelain", ":!docs/reference")),
    }


def git(*words: str) -> str:
    """What git says; a revision with a plus was not committed as it was run."""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def machine() -> str:
    """This machine, as the figures depend on it; the load tells how many processes wanted its cores, ours and others."""
    load = f"load {os.getloadavg()[1]:.0f} on {len(os.sched_getaffinity(0))} cores"
    return f"{cpu_model()}, {load}, Python {platform.python_version()}"


def page(rows: list[dict[str, Any]]) -> str:
    """The page of all promises; one that was never tried stands there as unmeasured."""
    found = {row["promise"]: row for row in rows}
    return HEAD + "".join(_line(name, found.get(name)) for name in PROMISES)


def _line(name: str, row: dict[str, Any] | None) -> str:
    promise = PROMISES[name]
    said = ["unmeasured", "", ""]
    if row:
        often = ", ".join(f"{number:,} {what}" for what, number in row["repetitions"].items())
        said = [
            row["figure"],
            "yes" if row["met"] else "**no**",
            "; ".join(filter(None, (row["when"][:10], often, row["machine"]))),
        ]
    return "| " + " | ".join([name, promise.words, promise.test, promise.figure, *said]) + " |\n"


def read() -> list[dict[str, Any]]:
    """The rows so far."""
    return list(json.loads(ROWS.read_text())) if ROWS.exists() else []


def write(rows: list[dict[str, Any]]) -> None:
    """Write rows and page."""
    ROWS.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(page(rows))
