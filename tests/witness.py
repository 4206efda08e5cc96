"""What the tests of the embedded servers look with: notes written and read, processes seen and killed, a stranger's knock."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psycopg
import redis

from local.server import Server
from local.valkey import Valkey

STRANGER = 12_346
KNOCK = """
import os, socket, sys
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
try:
    socket.socket(socket.AF_UNIX).connect(sys.argv[1])
    print("connected")
except OSError as error:
    print(type(error).__name__)
"""


def write(server: Server, text: str) -> None:
    """Write a note, acknowledged by the server before this returns."""
    if isinstance(server, Valkey):
        with redis.Redis.from_url(server.url) as client:
            client.rpush("notes", text)
    else:
        sql(server, "CREATE TABLE IF NOT EXISTS notes (text text)")
        sql(server, "INSERT INTO notes VALUES (%s)", text)


def notes(server: Server) -> list[str]:
    """All notes, in the order of writing."""
    if isinstance(server, Valkey):
        with redis.Redis.from_url(server.url, decode_responses=True) as client:
            return client.lrange("notes", 0, -1)
    return [text for (text,) in sql(server, "SELECT text FROM notes ORDER BY ctid")]


def sql(server: Server, query: str, *values: str) -> list[tuple]:
    """The rows that a statement returns."""
    with psycopg.connect(server.url.replace("+psycopg", ""), autocommit=True) as connection:
        cursor = connection.execute(query, values)
        return cursor.fetchall() if cursor.description else []


def processes_in(folder: Path) -> list[int]:
    """The processes whose working folder is in `folder`: all of a server's are."""
    found = []
    for cwd in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if cwd.readlink().is_relative_to(folder):
                found.append(int(cwd.parts[2]))
        except OSError:  # it ended meanwhile, or is another user's
            continue
    return found


def kill(*pids: int) -> None:
    """`kill -9` of what still lives."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def crash(server: Server) -> None:
    """`kill -9` of the server's first process, as its launcher sees it."""
    kill(server.pid)
    eventually(lambda: not server.running)


def end(launcher: subprocess.Popen[str]) -> None:
    """`kill -9` of a launcher."""
    launcher.kill()
    launcher.wait()


def eventually(true: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for something to come true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


def knock(socket: Path, user: int) -> str:
    """What another user meets who connects to a socket (only root can ask)."""
    command = [sys.executable, "-c", KNOCK, str(socket), str(user)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
