"""How often one may ask, and how long a request may take to arrive."""

import socket
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from api import limits, receiving
from api.limits import KEPT, Limit
from promises.figures import p99
from store.settings import settings


def test_a_minutes_worth_comes_at_once_and_then_one_at_a_time() -> None:
    now = [1000.0]
    limit = Limit(lambda: 60, lambda: now[0])
    assert [limit.take("ada") for _ in range(61)] == [0.0] * 60 + [pytest.approx(1.0)]
    assert (limit.take("bob"), limit.wait("ada")) == (0.0, pytest.approx(1.0))
    now[0] += 1
    assert [limit.take("ada") > 0 for _ in range(2)] == [False, True]
    now[0] += 3600
    assert [limit.take("ada") for _ in range(61)] == [0.0] * 60 + [pytest.approx(1.0)], "no more is ever saved up"


def test_callers_without_number_do_not_fill_the_memory() -> None:
    limit = Limit(lambda: 60, lambda: 0.0)
    for _ in range(60):
        limit.take("guilty")
    for number in range(3 * KEPT):
        limit.take(str(number))
    assert len(limit.full) <= KEPT
    assert limit.wait("guilty") > 0, "who owes most is remembered"


@pytest.fixture
def strict(monkeypatch) -> None:
    """Three of each a minute, counted from nothing."""
    few = settings().model_copy(update={"requests_per_minute": 3, "failures_per_minute": 3})
    monkeypatch.setattr(limits, "settings", lambda: few)
    monkeypatch.setattr(limits, "requests", Limit(lambda: 3))
    monkeypatch.setattr(limits, "failures", Limit(lambda: 3))


def test_a_user_who_asks_too_often_is_told_when_to_come_again(api, strict) -> None:
    answers = [api.get("/api/v1/me") for _ in range(4)]
    assert [one.status_code for one in answers] == [200, 200, 200, 429]
    assert answers[3].json()["code"] == "too_often"
    assert 1 <= int(answers[3].headers["retry-after"]) <= 20
    assert api.get("/api/v1/healthz", headers={"Authorization": ""}).status_code == 200


def test_an_address_that_guesses_tokens_is_not_looked_at_for_a_while(api, strict) -> None:
    wrong = {"Authorization": "Bearer spr_x"}
    assert [api.get("/api/v1/me", headers=wrong).status_code for _ in range(4)] == [401, 401, 401, 429]
    assert api.get("/api/v1/me").status_code == 200, "a good token is not refused for the failures of others"


def test_a_log_in_after_too_many_failed_ones_waits(api, token: str, strict) -> None:
    page = {"accept": "text/html", "authorization": "", "origin": "http://127.0.0.1:8000"}
    sent = [api.post("/login", data={"token": "spr_x"}, headers=page) for _ in range(3)]
    assert [one.status_code for one in sent] == [401] * 3
    refused = api.post("/login", data={"token": token}, headers=page)
    assert (refused.status_code, "set-cookie" in refused.headers) == (429, False)
    assert int(refused.headers["retry-after"]) >= 1


# ---- P20


HALF = {
    "nothing": b"",
    "half a head": b"GET /api/v1/healthz HTTP/1.1\r\nHost: x\r\n",
    "half a body": b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
    "a chunk of a body": b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
    "half a second request": b"GET /api/v1/version HTTP/1.1\r\nHost: x\r\n\r\nGET /",
}


def opened(api_url: str, sent: bytes) -> socket.socket:
    place = urlsplit(api_url)
    found = socket.create_connection((place.hostname, place.port))
    found.sendall(sent)
    return found


def closed_after(connection: socket.socket, most: float) -> float:
    """The seconds until the other side has closed."""
    began = time.monotonic()
    connection.settimeout(most)
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic() - began


def still_open(connection: socket.socket) -> bool:
    """Whether the other side takes one more line."""
    try:
        connection.sendall(b"X-Slow: 1\r\n")
    except OSError:
        return False
    return True


def patience(monkeypatch, seconds: float) -> None:
    monkeypatch.setattr(receiving, "settings", lambda: SimpleNamespace(receive_seconds=seconds))


@pytest.mark.parametrize("sent", HALF.values(), ids=HALF)
def test_a_request_that_does_not_arrive_is_given_up(api, api_url: str, sent: bytes, monkeypatch) -> None:
    patience(monkeypatch, 1.0)
    with opened(api_url, sent) as connection:
        assert closed_after(connection, 20) < 10


def test_a_byte_now_and_then_does_not_move_the_deadline(api, api_url: str, monkeypatch) -> None:
    patience(monkeypatch, 1.0)
    with opened(api_url, b"GET / HTTP/1.1\r\n") as connection:
        began = time.monotonic()
        while time.monotonic() - began < 20 and still_open(connection):
            time.sleep(0.2)
        assert time.monotonic() - began < 15


def test_an_answer_may_take_longer_than_a_request(api, api_url: str, monkeypatch) -> None:
    patience(monkeypatch, 0.5)
    job = api.post("/api/v1/jobs", json={"dataset": "fashion_mnist_sample", "model": "lenet5"}).json()["jobs"][0]
    threading.Timer(1.5, lambda: api.post(f"/api/v1/jobs/{job['id']}/cancel")).start()
    with api.stream("GET", f"/api/v1/jobs/{job['id']}/events", headers={"Accept": "text/event-stream"}) as answer:
        assert "cancelled" in answer.read().decode()


def half_open(api: Any, api_url: str, number: int, most: float) -> tuple[list[float], float]:
    """The times of /healthz while so many half-open connections stand, and how long the last of them stood."""
    kinds = list(HALF.values())[:3]
    began = time.monotonic()
    connections = [opened(api_url, kinds[one % len(kinds)]) for one in range(number)]
    times = []
    for _ in range(100):
        asked = time.monotonic()
        assert api.get("/api/v1/healthz").status_code == 200
        times.append(time.monotonic() - asked)
    for connection in connections:
        with connection:
            closed_after(connection, most)
    return times, time.monotonic() - began


def test_p20_half_open_connections_neither_stay_nor_hold_others_up(
    api, api_url: str, times: Callable[[str], int], slack: float, keep: Callable[..., None]
) -> None:
    number = times("half-open connections")
    answered, stood = half_open(api, api_url, number, 60)
    slowest = p99(answered)
    figure = f"closed in {stood:.0f} s, `/healthz` p99 {slowest * 1000:.0f} ms"
    keep(stood <= 30 * slack and slowest < 0.25 * slack, figure, half_open_connections=number)
