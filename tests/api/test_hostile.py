"""P19: whatever is sent, nobody is answered with a 5xx, nobody waits, and the memory stays: bodies, parameters, paths by chance.

Every route of the OpenAPI document is asked. How many requests each campaign sends stands in promises/table.py.
"""

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import site

GOOD = {"dataset": "fashion_mnist_sample", "model": "lenet5", "train": {"epochs": 1}, "project": "p"}
ODD: list[Any] = [
    None, True, -1, 0, 2**31, 2**63, 2**64, 1e308, -0.0, "", " ", "\0", "\ud800", "a\nb", "‮", "'; DROP TABLE jobs; --",
    "../../etc/passwd", "%00", "<img onerror>", "x" * 10_000, [], [[]], {}, {"": {}}, {"name": None}, [None] * 300, "1e999",
    "9" * 400, "NaN", "00000000-0000-0000-0000-000000000000",
]  # fmt: skip
PIECES = [
    b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"{", b"[" * 3000, b'"\\ud800"', b",,", b"\r\n",
    b"!!python/object/apply:os.system [true]", b"&a [*a]", b"\xef\xbb\xbf", b"\x80\x04\x95",
]  # fmt: skip
KINDS = ["application/json", "application/yaml", "text/plain", "", "application/json; charset=utf-16", "\xff"]
PATHS = [
    "..", "../..", "%2e%2e", "%2e%2e%2f", "%252e%252e", "..%5c", "....//", "%00", "%ff", "%c0%ae", ";a=b", "x" * 4000, "%0d%0aX:1",
    "~", "*", "%F0%9F%92%A9", "1" * 30, "-1", "0x10", "null", ".git/config", "a/b", "@", "%u002e", "１",
]  # fmt: skip
SLOWEST = 60.0
"""Seconds: a busy machine is not a hang."""


def memory() -> int:
    """Bytes of this process, in which the api runs."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def routes() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of each."""
    for path, methods in site.openapi()["paths"].items():
        for method, about in methods.items():
            yield method.upper(), path, about


def bodies(chance: random.Random) -> Iterator[bytes]:
    """A good body, cut, spliced and stuffed."""
    while True:
        body = bytearray(json.dumps(GOOD | {chance.choice(["name", "seed", "zzz"]): chance.choice(ODD)}).encode())
        for _ in range(chance.randrange(4)):
            place = chance.randrange(len(body) + 1)
            body[place : place + chance.randrange(5)] = chance.choice(PIECES)
        yield bytes(body[: chance.randrange(1, len(body) + 1)] if chance.random() < 0.3 else body)


def values(chance: random.Random, schema: dict[str, Any], named: dict[str, Any], depth: int = 0) -> Any:
    """A value that follows a schema here and there."""
    if chance.random() < 0.15 or depth > 8:
        return chance.choice(ODD)
    if "$ref" in schema:
        return values(chance, named[schema["$ref"].rpartition("/")[2]], named, depth + 1)
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return values(chance, chance.choice(schema[several]), named, depth + 1)
    if "enum" in schema or "const" in schema:
        return chance.choice(schema.get("enum") or [schema["const"]])
    match schema.get("type"):
        case "object":
            fields = schema.get("properties", {}).items()
            return {key: values(chance, inner, named, depth + 1) for key, inner in fields if chance.random() < 0.7}
        case "array":
            return [values(chance, schema.get("items", {}), named, depth + 1) for _ in range(chance.randrange(3))]
        case "integer":
            return chance.choice([0, 1, 5, -1, 2**31, 2**63, schema.get("maximum", 7), schema.get("minimum", 0)])
        case "number":
            return chance.choice([0.0, 0.5, -1.5, 1e300, schema.get("maximum", 7)])
        case "boolean":
            return chance.choice([True, False])
    return chance.choice(["default", "fashion_mnist_sample", "lenet5", "ada", "1", "x" * 70])


def asked(chance: random.Random, method: str, path: str, about: dict[str, Any]) -> dict[str, Any]:
    """A request to a route, after its schema."""
    named, filled, query, headers = site.openapi()["components"]["schemas"], {}, {}, {}
    for one in about.get("parameters", ()):
        value = values(chance, one.get("schema", {}), named)
        text = value if isinstance(value, str) else json.dumps(value)
        if one["in"] == "path":
            filled[one["name"]] = chance.choice(["1", "ada", "default", text])[:200] or "1"
        elif chance.random() < 0.5:
            (query if one["in"] == "query" else headers)[one["name"]] = clean(text)[:500]
    for key, value in filled.items():
        path = path.replace(f"{{{key}}}", httpx.URL("", params={"a": clean(value)}).query.decode()[2:])
    sent: dict[str, Any] = {"method": method, "url": path, "params": query}
    content = about.get("requestBody", {}).get("content", {}).get("application/json")
    if content:
        sent["content"] = json.dumps(values(chance, content["schema"], named)).encode()
        headers["content-type"] = "application/json"
    plain = {key: value.encode("ascii", "ignore").decode() for key, value in headers.items()}
    return sent | {
        "headers": {key: "".join(c for c in value if c.isprintable()).strip() for key, value in plain.items()}
    }


def clean(text: str) -> str:
    """Without lone surrogates, which no client can put in an address."""
    return text.encode("utf-8", "replace").decode()


class Watched:
    """A client that notes every 5xx and every long wait, and reads no endless stream."""

    def __init__(self, api: httpx.Client) -> None:
        self.api, self.statuses, self.slowest, self.before = api, [], 0.0, memory()

    def send(self, **request: Any) -> None:
        began = time.monotonic()
        answer = self.api.request(**request)
        assert answer.status_code < 500, (request, answer.text[:300])
        self.slowest = max(self.slowest, time.monotonic() - began)
        assert self.slowest < SLOWEST, request
        self.statuses.append(answer.status_code)

    def grown(self) -> int:
        return memory() - self.before


def raw(api: httpx.Client, number: int) -> Watched:
    """Bodies by chance, to every route that takes one."""
    watched, chance = Watched(api), random.Random(1)
    takers = [path for method, path, about in routes() if "requestBody" in about and "{" not in path]
    for body, _ in zip(bodies(chance), range(number), strict=False):
        kind = chance.choice(KINDS[:2] * 3 + KINDS)
        headers = {"content-type": kind.encode("latin-1")} if kind else {}
        watched.send(method="POST", url=chance.choice(takers), content=body, headers=headers)
    large = 200_000_000 if number >= 1000 else 3_000_000
    answer = api.post("/api/v1/jobs", content=stream(large), headers={"content-type": "application/json"})
    assert answer.status_code == 413
    return watched


def stream(size: int) -> Iterator[bytes]:
    """A body of that size, a megabyte at a time."""
    yield b'{"name": "'
    for _ in range(size // 1_000_000):
        yield b"x" * 1_000_000


def by_schema(api: httpx.Client, number: int) -> Watched:
    """Requests after the schemas, to all routes in turn, but for what makes jobs run or ends our own token."""
    watched, chance, all_routes = Watched(api), random.Random(2), list(routes())
    own = api.headers["authorization"]
    for one in range(number):
        method, path, about = all_routes[one % len(all_routes)]
        watched.send(**asked(chance, method, path, about))
        assert api.get("/api/v1/me", headers={"authorization": own}).status_code == 200
    return watched


def tricks(api: httpx.Client, number: int) -> Watched:
    """Paths by chance, pages and files among them."""
    watched, chance = Watched(api), random.Random(3)
    starts = [
        "/",
        "/static/",
        "/jobs/",
        "/api/v1/jobs/",
        "/api/v1/jobs/1/artifacts/",
        "/api/v1/presets/",
        "/presets/",
        "/static/js/",
    ]
    for _ in range(number):
        path = chance.choice(starts) + "/".join(chance.choice(PATHS) for _ in range(chance.randrange(1, 4)))
        watched.send(method="GET", url=path)
        assert "root:" not in api.get(path).text
    return watched


CAMPAIGNS: dict[str, Callable[[httpx.Client, int], Watched]] = {
    "raw bodies": raw,
    "schema cases": by_schema,
    "path tricks": tricks,
}


@pytest.mark.parametrize("campaign", CAMPAIGNS)
def test_p19_nothing_hostile_is_answered_with_a_5xx(
    api, campaign: str, times: Callable[[str], int], keep: Callable[..., None]
) -> None:
    CAMPAIGNS[campaign](api, 40)  # what is loaded at first use is no growth
    watched = CAMPAIGNS[campaign](api, times(campaign))
    sent, grown = len(watched.statuses), watched.grown() / 1e6
    figure = f"{campaign}: 0 x 5xx, the slowest {watched.slowest:.1f} s, memory {grown:+.0f} MB"
    keep(sent >= times(campaign) and grown < 100, figure, **{campaign.replace(" ", "_"): sent})


def test_the_cases_reach_behind_the_first_check(api) -> None:
    statuses = by_schema(api, 120).statuses
    assert {200, 404, 422} <= set(statuses), "not all are refused at the door"
