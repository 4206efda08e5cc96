"""How long a request may take to arrive: uvicorn's HTTP/1.1, with a deadline from the connection or a request's first byte.

uvicorn alone waits for ever for the rest of a head or a body. Used as `uvicorn --http api.receiving:Receiving`.
"""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from store.settings import settings


class Receiving(H11Protocol):
    """Closes a connection on which a request has not arrived whole by its deadline. Answers may take as long as they want."""

    deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come; it has to ask for something."""
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        """More of a request."""
        super().data_received(data)
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._expect()
        else:
            self._received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._received()
        super().connection_lost(exc)

    def _expect(self) -> None:
        """More bytes do not move a deadline that stands."""
        if self.deadline is None:
            self.deadline = self.loop.call_later(settings().receive_seconds, self._close)

    def _received(self) -> None:
        if self.deadline:
            self.deadline.cancel()
        self.deadline = None

    def _close(self) -> None:
        self.transport.abort()
