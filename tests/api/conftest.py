"""What the tests of webhooks share: a receiver, what names stand for, networks that may be told."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from receiver import HOST, Receiver, aside, certificate, receiving
from store.settings import settings

Names = dict[str, list[list[str]]]
"""What each name stands for at its first look, its second, ..., the last for ever."""


@pytest.fixture
def inside(servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Say which networks webhooks may go to although they are inside."""

    def allow(networks: str) -> None:
        monkeypatch.setenv("SPARRING_WEBHOOK_NETWORKS", networks)
        settings.cache_clear()

    allow("")
    yield allow
    monkeypatch.undo()
    settings.cache_clear()


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[Names], list[str]]:
    """Let names stand for addresses; returns the list of names that have been asked for."""

    def stand(names: Names) -> list[str]:
        usual, asked = socket.getaddrinfo, list[str]()

        def found(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
            if host not in names:
                return usual(host, port, *rest, **more)
            looks = names[host]
            asked.append(host)
            addresses = looks.pop(0) if len(looks) > 1 else looks[0]
            kinds = [socket.AF_INET6 if ":" in one else socket.AF_INET for one in addresses]
            return [(kind, socket.SOCK_STREAM, 6, "", (one, port)) for kind, one in zip(kinds, addresses, strict=True)]

        monkeypatch.setattr(socket, "getaddrinfo", found)
        return asked

    return stand


@pytest.fixture
def receiver(tmp_path: Path, monkeypatch) -> Iterator[Receiver]:
    """One whose certificate is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate(tmp_path)[0]))
    with receiving(tmp_path) as found:
        yield found


@pytest.fixture
def reached(inside: Callable[[str], None], looked_up: Any) -> None:
    """The receiver's name stands for this machine, and webhooks may go there."""
    inside("127.0.0.1/32")
    looked_up({HOST: [["127.0.0.1"]]})


@pytest.fixture
def runner() -> SimpleNamespace:
    """As the sender's `asyncio.Runner`."""
    return SimpleNamespace(run=aside)
