"""Around every request: an id, a limit on the body, and the headers that keep a browser out of trouble. Plain ASGI."""

import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import Refused
from core.errors import Problem
from store import logs
from store.settings import settings

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
}


class Guard:
    """The outermost layer: what answers inside, were it the last resort for an error, answers with our headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["request_id"] = uuid.uuid4().hex
        with logs.about(request_id=scope["request_id"]):
            await self.app(scope, limited(receive), Sender(send, scope["request_id"]))


class Sender:
    """Adds the headers to the answer."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.send, self.request_id = send, request_id

    async def __call__(self, message: Message) -> None:
        """Send on."""
        if message["type"] == "http.response.start":
            present = {name for name, _ in message["headers"]}
            added = HEADERS | {"x-request-id": self.request_id, "cache-control": "no-store"}
            message["headers"] = list(message["headers"]) + [
                (name.encode(), value.encode()) for name, value in added.items() if name.encode() not in present
            ]
        await self.send(message)


def limited(receive: Receive) -> Receive:
    """`receive`, counting: what the client says about the length is not believed. Too much is refused where it is read."""
    limit = left = settings().body_limit

    async def counted() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            problem = Problem("", "is too large", None, f"at most {limit} bytes")
            detail = f"The body is larger than {limit} bytes."
            raise Refused(413, "body_too_large", detail, (problem,), Connection="close")
        return message

    return counted
