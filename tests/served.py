"""A small dataset in MNIST's form, and a web server that stands in for its authors' place."""

import gzip
import hashlib
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from core.datasets.base import File, Source


def idx(array: np.ndarray) -> bytes:
    """The file format of MNIST."""
    sizes = struct.pack(f">{array.ndim}i", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def small_digits() -> dict[str, bytes]:
    """Four IDX files in MNIST's form: 40 + 10 images."""
    rng = np.random.default_rng(0)
    files = {}
    for split, n in (("train", 40), ("t10k", 10)):
        files[f"{split}-images-idx3-ubyte"] = idx(rng.integers(0, 256, (n, 28, 28)))
        files[f"{split}-labels-idx1-ubyte"] = idx(np.arange(n) % 10)
    return files


def sources(files: dict[str, bytes], url: str) -> tuple[Source, ...]:
    """What MNIST says of its files, of these ones at that address."""
    return tuple(Source(f"{url}/{name}.gz", (File(f"MNIST/raw/{name}", sha(data)),)) for name, data in files.items())


def gzipped(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files as their authors serve them."""
    return {f"{name}.gz": gzip.compress(data) for name, data in files.items()}


@dataclass
class Host:
    """A web server: its address, what it serves, what it was asked for; it answers while `open` is set."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    open: threading.Event = field(default_factory=threading.Event)


@contextmanager
def hosting() -> Iterator[Host]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            found.asked.append(name)
            data = found.files.get(name)
            self.send_response(200 if data else 404)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write((data or b"")[:9])
            self.wfile.flush()
            found.open.wait()
            self.wfile.write((data or b"")[9:])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Host(f"http://127.0.0.1:{server.server_port}/some/place")
    found.open.set()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield found
    finally:
        found.open.set()
        server.shutdown()
        server.server_close()
        thread.join()
