"""Around every request: an id, a limit on the body, and the headers that keep a browser out of trouble. Plain ASGI."""

import json
import logging
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
log = logging.getLogger(__name__)


class Guard:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, unless its body is too large."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["request_id"] = uuid.uuid4().hex
        sender = Sender(send, scope["request_id"])
        try:
            await self.app(scope, limited(receive), sender)
        except TooLarge:
            await _refuse(scope, sender)


class TooLarge(Exception):
    """More bytes have come than a body may have."""


class Sender:
    """Adds the headers to the answer."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.send, self.request_id, self.started = send, request_id, False

    async def __call__(self, message: Message) -> None:
        """Send on."""
        if message["type"] == "http.response.start":
            self.started = True
            present = {name for name, _ in message["headers"]}
            added = HEADERS | {"x-request-id": self.request_id, "cache-control": "no-store"}
            message["headers"] = list(message["headers"]) + [
                (name.encode(), value.encode()) for name, value in added.items() if name.encode() not in present
            ]
        await self.send(message)


def limited(receive: Receive) -> Receive:
    """`receive`, counting: what the client says about the length is not believed."""
    left = settings().body_limit

    async def counted() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise TooLarge
        return message

    return counted


async def _refuse(scope: Scope, send: Sender) -> None:
    if send.started:
        return
    limit = settings().body_limit
    body = {
        "type": "urn:sparring:problem:body_too_large",
        "title": "Content Too Large",
        "status": 413,
        "detail": f"The body is larger than {limit} bytes.",
        "instance": scope["path"],
        "code": "body_too_large",
        "request_id": scope["request_id"],
        "errors": [{"pointer": "", "message": "is too large", "got": None, "expected": f"at most {limit} bytes"}],
    }
    headers = [(b"content-type", b"application/problem+json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})
