"""How api, worker and attempt log: one line an event, for people or as JSON, with what the event is about, without secrets.

JSON has `time`, `level`, `logger`, `message`, `error` (a traceback, where there is one), and what `about` says: `request_id`
in the api, `worker`, `job` and `fence` in worker and attempt. The access log adds `user`, `method`, `route`, `status`,
`milliseconds`; it has the route's template and no query.
"""

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from store.settings import settings

SECRETS = (
    (re.compile(r"\bspr_([0-9a-f]{12})_[0-9a-f]+"), r"spr_\1_***"),
    (re.compile(r"\bwhs_[0-9a-f]+"), "whs_***"),
    (re.compile(r"(://[^\s:/@]*:)[^\s@/]+@"), r"\1***@"),
)
"""Tokens, secrets of webhooks, passwords in addresses: nobody means to log one, but an error of a library may quote it."""
OWN_HANDLERS = ("uvicorn", "uvicorn.error")
_about: ContextVar[dict[str, Any]] = ContextVar("about", default={})  # noqa: B039 (it is never changed, only replaced)


@contextmanager
def about(**what: Any) -> Iterator[None]:
    """Say in every line that is logged meanwhile, here and in threads started for it, what it is about."""
    before = _about.set(_about.get() | what)
    try:
        yield
    finally:
        _about.reset(before)


def configure() -> None:
    """Log to the standard error stream in the format of the settings; once a process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter({"text": Text, "json": Json}[settings().log_format]())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.captureWarnings(True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells whole addresses, which may hold a receiver's key
    for name in OWN_HANDLERS:  # a server's own lines would stand beside ours in a format of their own
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


def facts(record: logging.LogRecord) -> dict[str, Any]:
    """What a line is about; the record's own `facts` first."""
    return getattr(record, "facts", {}) | _about.get()


def clean(line: str) -> str:
    """A line without what might be a secret."""
    for pattern, instead in SECRETS:
        line = pattern.sub(instead, line)
    return line


class Text(logging.Formatter):
    """2026-01-31 12:00:00,000 INFO store.reaper message job=... fence=..."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        """The line, with the facts behind the message."""
        told = "".join(f" {name}={value}" for name, value in facts(record).items())
        return super().formatMessage(record) + told

    def format(self, record: logging.LogRecord) -> str:
        """The line, traceback included."""
        return clean(super().format(record))


class Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **facts(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return clean(json.dumps(line, default=str))
