"""How often: requests of a user, and failed log-ins of an address. What is too often is told when to come again (429).

Counted in the memory of this process, since the broker may be away and must then neither refuse anybody nor let anybody
guess; with several api processes a limit holds for each. Who has a valid token is never refused for the failures of others at
the same address, which may be a proxy's: a secret has 192 random bits, so the limit protects the service, not the secret.
"""

import math
import threading
import time
from collections.abc import Callable

from fastapi import Request

from api.errors import Refused
from store.settings import settings

MINUTE = 60.0
KEPT = 10_000
"""Callers that are remembered; beyond, those who are soonest in credit again are forgotten."""


class Limit:
    """So many a minute of each caller, with one minute's worth saved up at most (the generic cell rate algorithm)."""

    def __init__(self, per_minute: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute, self.clock = per_minute, clock
        self.full: dict[str, float] = {}
        """When each caller will have a whole minute's worth again."""
        self.lock = threading.Lock()

    def wait(self, key: str) -> float:
        """The seconds until one more is allowed; 0 if it is now."""
        with self.lock:
            return self._wait(key)

    def take(self, key: str) -> float:
        """Count one, unless it is too many; the seconds until it is allowed."""
        with self.lock:
            wait = self._wait(key)
            if not wait:
                self.full[key] = max(self.full.get(key, 0.0), self.clock()) + MINUTE / self.per_minute()
                self._forget()
            return wait

    def _wait(self, key: str) -> float:
        owed = self.full.get(key, 0.0) - self.clock()
        return max(0.0, owed + MINUTE / self.per_minute() - MINUTE)

    def _forget(self) -> None:
        if len(self.full) > KEPT:
            kept = sorted(self.full, key=lambda key: self.full[key])[KEPT // 2 :]
            self.full = {key: self.full[key] for key in kept}


requests = Limit(lambda: settings().requests_per_minute)
failures = Limit(lambda: settings().failures_per_minute)


def count_request(user: object) -> None:
    """Refuse a user's request if there were too many."""
    if wait := requests.take(str(user)):
        raise too_often(f"More than {settings().requests_per_minute} requests a minute", wait)


def failed(request: Request, refusal: Refused) -> Refused:
    """What to answer to a failed log-in: the refusal, or that there were too many from this address."""
    wait = failures.take(address(request))
    return too_often("Too many failed log-ins from this address", wait) if wait else refusal


def check_failures(request: Request) -> None:
    """Refuse to look at a log-in from an address with too many failed ones."""
    if wait := failures.wait(address(request)):
        raise too_often("Too many failed log-ins from this address", wait)


def address(request: Request) -> str:
    """Where a request comes from, as the server or a proxy that it trusts says."""
    return request.client.host if request.client else ""


def too_often(what: str, wait: float) -> Refused:
    """The refusal."""
    seconds = math.ceil(wait)
    return Refused(429, "too_often", f"{what}: come again in {seconds} s.", Retry_After=str(seconds))
