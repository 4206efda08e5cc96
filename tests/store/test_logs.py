"""Lines of the log: what they hold, and what they never do."""

import json
import logging
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from store import logs

TOKEN = "spr_0123456789ab_" + "c" * 56
SAID = """
import logging
from store import logs
logs.configure()
with logs.about(job="j", fence=3):
    logging.getLogger("worker.attempt").warning("two\\nlines")
"""


def record(message: str, *arguments: Any, **more: Any) -> logging.LogRecord:
    return logging.LogRecord("store.x", logging.WARNING, __file__, 1, message, arguments, more.get("error"))


def test_a_line_is_one_json_object_with_what_it_is_about() -> None:
    with logs.about(worker="w", job="j"), logs.about(fence=2):
        line = json.loads(logs.Json().format(record("said %s", "two\nlines")))
    assert datetime.fromisoformat(line.pop("time")).tzinfo is not None
    told = {"level": "warning", "logger": "store.x", "message": "said two\nlines"}
    assert line == told | {"worker": "w", "job": "j", "fence": 2}
    assert "job" not in json.loads(logs.Json().format(record("after")))


def test_a_traceback_is_in_the_line_and_not_behind_it() -> None:
    try:
        raise ValueError(f"no {TOKEN}")
    except ValueError:
        line = logs.Json().format(record("failed", error=sys.exc_info()))
    assert "\n" not in line
    assert "ValueError: no spr_0123456789ab_***" in json.loads(line)["error"]


@pytest.mark.parametrize("form", [logs.Json, logs.Text])
@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (f"token {TOKEN}.", "token spr_0123456789ab_***."),
        ("postgresql+psycopg://sparring:geheim@host/x", "postgresql+psycopg://sparring:***@host/x"),
        ("redis://:geheim@redis:6379/0", "redis://:***@redis:6379/0"),
        ("http://host:8000/jobs and ada@example.org", "http://host:8000/jobs and ada@example.org"),
    ],
)
def test_no_secret_is_logged(form: type[logging.Formatter], said: str, kept: str) -> None:
    with logs.about(job="j"):
        line = form().format(record(said))
    assert kept in line
    assert "geheim" not in line
    assert "c" * 56 not in line


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_process_logs_in_the_format_of_the_settings(servers, root: Path, form: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SAID],
        cwd=root,
        env=os.environ | {"SPARRING_LOG_FORMAT": form},
        capture_output=True,
        text=True,
    )
    if form == "json":
        line = json.loads(done.stderr)
        assert (line["message"], line["job"], line["fence"]) == ("two\nlines", "j", 3)
    else:
        assert done.stderr.endswith("WARNING worker.attempt two\nlines job=j fence=3\n")
