"""A receiver of webhooks: an https server on this machine, with a certificate of its own, that keeps what it is sent."""

import asyncio
import ssl
import subprocess
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

HOST = "receiver.example.org"


class Got(NamedTuple):
    """A request."""

    path: str
    headers: dict[str, str]
    body: bytes
    sni: str | None


class Receiver:
    """Answers each request with the next of `statuses`, the last of them for ever; None drips an answer that never ends."""

    def __init__(self, folder: Path, address: str = "127.0.0.1", port: int = 0) -> None:
        self.got: list[Got] = []
        self.connections = 0
        self.statuses: list[int | None] = [204]
        self.server = ThreadingHTTPServer((address, port), self._handler())
        self.server.daemon_threads = True
        self.server.socket = self._context(folder).wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def _context(self, folder: Path) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate(folder))

        def named(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            self.connections += 1
            self.sni = name

        context.sni_callback = named
        return context

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.got.append(Got(self.path, dict(self.headers), body, receiver.sni))
                receiver._answer(self)

            def do_GET(self) -> None:
                receiver.got.append(Got(self.path, dict(self.headers), b"", receiver.sni))
                receiver._answer(self)

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        return Handler

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        try:
            if status is None:
                for letter in "HTTP/1.1 200 OK\r\nX: " + "x" * 100:
                    handler.wfile.write(letter.encode())
                    time.sleep(0.1)
                return
            handler.send_response(status)
            handler.send_header("location", "/elsewhere")
            handler.end_headers()
        except OSError:
            return  # whoever asked has gone

    def stop(self) -> None:
        """Close the port."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for `HOST` that stands for itself, and its key; made once a folder."""
    made = folder / "receiver.pem", folder / "receiver.key"
    if not made[0].exists():
        about = ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}", "-days", "2"]
        use = ["-addext", "keyUsage=critical,keyCertSign,digitalSignature"]
        kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command = ["openssl", "req", *kind, *about, *use, "-out", str(made[0]), "-keyout", str(made[1])]
        subprocess.run(command, check=True, capture_output=True)
    return made


@contextmanager
def receiving(folder: Path, address: str = "127.0.0.1", port: int = 0) -> Iterator[Receiver]:
    """A receiver for as long as the block takes."""
    receiver = Receiver(folder, address, port)
    try:
        yield receiver
    finally:
        receiver.stop()


def aside(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """`asyncio.run` in a thread of its own: once a browser test has run, this one has a loop already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
