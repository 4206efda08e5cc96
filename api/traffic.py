"""Every request counted, timed and logged: by the template of its route, so that no name in a path becomes a label."""

import logging
import time

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
registry = CollectorRegistry()
requests = Counter("sparring_requests", "Requests answered.", ["method", "route", "status"], registry=registry)
latency = Histogram(
    "sparring_request_seconds",
    "Seconds until an answer begins (a stream's end says nothing about us).",
    ["method", "route"],
    buckets=BUCKETS,
    registry=registry,
)
log = logging.getLogger("sparring.access")


class Traffic:
    """The layer that counts."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; note how it went when it is over, however it ends."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        noting = Noting(scope, send)
        try:
            await self.app(scope, receive, noting)
        finally:
            noting.over()


class Noting:
    """Passes an answer on, and keeps when it began and with which status."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope, self.send = scope, send
        self.came, self.status, self.waited = time.monotonic(), 500, 0.0

    async def __call__(self, message: Message) -> None:
        """Send on."""
        if message["type"] == "http.response.start":
            self.status, self.waited = message["status"], time.monotonic() - self.came
        await self.send(message)

    def over(self) -> None:
        """Count, time and log."""
        method = self.scope["method"] if self.scope["method"] in METHODS else "other"
        route = template(self.scope)
        requests.labels(method, route, self.status).inc()
        latency.labels(method, route).observe(self.waited)
        milliseconds = round(1000 * (time.monotonic() - self.came), 1)
        told = {"user": self.scope.get("caller"), "method": method, "route": route, "status": self.status}
        log.info("request", extra={"facts": told | {"milliseconds": milliseconds}})


def template(scope: Scope) -> str:
    """The route that answered, as it was declared; `/static` for files of the dashboard, `none` where nothing is.

    A route that was declared for a router does not know under which prefix that was included: what the path has in front.
    """
    found: str | None = getattr(scope.get("route"), "path", None)
    if found is None:
        return "/static" if scope["path"].startswith("/static/") else "none"
    steps = scope["path"].split("/")
    return "/".join(steps[: len(steps) - found.count("/")]) + found
