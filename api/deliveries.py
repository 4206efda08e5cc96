"""Sends what waits for webhooks, in a thread of every api: signed, each try counted before it is made.

Several apis share the work without knowing of one another: a delivery that is due is given to one of them (store/webhooks.py).
"""

import asyncio
import hashlib
import hmac
import json
import logging
import ssl
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
from sqlalchemy.exc import SQLAlchemyError

from api import receivers
from store import webhooks
from store.database import transaction
from store.settings import settings
from store.webhooks import Due

log = logging.getLogger(__name__)
Outcome = tuple[int | None, str | None]
"""The status of an answer, and why the try did not do."""
LONGEST = 300
"""Characters of an error that are kept."""


def body(one: Due) -> bytes:
    """What is sent: the same at each try."""
    link = f"{settings().url.rstrip('/')}/jobs/{one.about['id']}" if one.about else None
    job = one.about | {"link": link} if one.about else None
    told: dict[str, Any] = {"event": one.event, "delivery": str(one.id), "at": one.at.isoformat(), "job": job}
    return json.dumps(told, ensure_ascii=False).encode()


def signature(secret: str, timestamp: str, sent: bytes) -> str:
    """HMAC-SHA256 (RFC 2104) of `timestamp.body`, in hexadecimal."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + sent, hashlib.sha256).hexdigest()


def headers(one: Due, sent: bytes) -> dict[str, str]:
    """What a receiver needs to know whether to believe it, and whether it has it already."""
    timestamp = str(int(time.time()))
    return {
        "Content-Type": "application/json",
        "User-Agent": "Sparring",
        "Sparring-Event": one.event,
        "Sparring-Delivery": str(one.id),
        "Sparring-Timestamp": timestamp,
        "Sparring-Signature": f"sha256={signature(one.secret, timestamp, sent)}",
    }


async def send(one: Due, trusted: ssl.SSLContext) -> Outcome:
    """One try. Whatever goes wrong with a receiver is its delivery's error, and nobody else's."""
    try:
        sent = body(one)
        status = await receivers.post(one.url, sent, headers(one, sent), trusted)
    except TimeoutError:
        return None, f"no answer within {receivers.SECONDS:g} s"
    except httpx.RemoteProtocolError:  # whose message quotes what came
        return None, "the answer is not HTTP"
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"[:LONGEST]
    return status, None if 200 <= status < 300 else f"answered {status}"


async def send_all(due: Sequence[Due]) -> list[Outcome]:
    """A try of each, all at once."""
    trusted = ssl.create_default_context()
    return await asyncio.gather(*(send(one, trusted) for one in due))


def look(runner: asyncio.Runner) -> int:
    """Try what is due, and write what became of it; returns how many that were."""
    with transaction() as session:
        due = webhooks.due(session)
    if not due:
        return 0
    for one, outcome in zip(due, runner.run(send_all(due)), strict=True):
        note(one, *outcome)
    return len(due)


def note(one: Due, status: int | None, error: str | None) -> None:
    """Write what became of a try; while the database is away it is not written, and the delivery sent again."""
    if error:
        log.warning("delivery %s, try %d: %s", one.id, one.attempt, error)
    try:
        with transaction() as session:
            webhooks.settle(session, one, status, error)
    except SQLAlchemyError as unwritten:
        log.warning("delivery %s cannot be noted: %s", one.id, str(unwritten).splitlines()[0])


class Sender(threading.Thread):
    """Looks again and again until it is stopped."""

    def __init__(self) -> None:
        super().__init__(name="sender", daemon=True)
        self.stopped = threading.Event()

    def run(self) -> None:
        """The loop. A database that is away is waited for, and any other error is logged: others are to be told all the same."""
        with asyncio.Runner() as runner:
            runner.get_loop().set_default_executor(ThreadPoolExecutor(webhooks.AT_ONCE))  # looks names up, one each
            while not self.stopped.wait(settings().reaper_seconds):
                try:
                    while look(runner) and not self.stopped.is_set():
                        continue
                except SQLAlchemyError as error:
                    log.warning("the sender cannot look: %s", str(error).splitlines()[0])
                except Exception:
                    log.exception("the sender goes on after an error of its own")

    def stop(self) -> None:
        """End the loop; a try that is under way is made again by whoever looks next."""
        self.stopped.set()
        self.join(timeout=5)
