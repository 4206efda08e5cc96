"""Thirty and more bodies that no job can be made of: each a 4xx problem document that names the field; never a 500."""

import json
from typing import Any

import pytest

from core.errors import InvalidSpec
from core.spec import parse
from wrong_specs import WRONG

RAW: list[tuple[str, bytes, str, int]] = [
    ("empty", b"", "application/json", 400),
    ("blank", b"   ", "application/json", 400),
    ("not JSON", b"{dataset: mnist}", "application/json", 400),
    ("cut off", b'{"dataset": "mnist"', "application/json", 400),
    ("NaN", b'{"dataset": "mnist", "model": "lenet5", "train": {"lr": NaN}}', "application/json", 400),
    ("Infinity", b'{"seed": -Infinity}', "application/json", 400),
    ("not UTF-8", b'{"name": "\xff"}', "application/json", 400),
    ("deep nesting", b"[" * 100_000, "application/json", 400),
    ("deep objects", b'{"a":' * 20_000 + b"1" + b"}" * 20_000, "application/json", 400),
    ("5 MB", b'{"name": "' + b"x" * 5_000_000 + b'"}', "application/json", 413),
    ("wrong type", b"dataset=mnist", "application/x-www-form-urlencoded", 415),
    ("pickle", b"\x80\x04\x95", "application/octet-stream", 415),
    ("yaml aliases", b"a: &a [x, x]\nb: *a", "application/yaml", 400),
    ("yaml code", b"a: !!python/object/apply:os.system ['true']", "application/yaml", 400),
    ("yaml twice", b"seed: 1\nseed: 2", "application/yaml", 400),
    ("yaml tabs", b"a:\n\t- b", "application/yaml", 400),
    ("yaml nesting", b"[" * 5_000, "application/yaml", 400),
    ("yaml date", b"dataset: mnist\nmodel: lenet5\nseed: 2020-01-01", "application/yaml", 422),
    ("yaml empty", b"# nothing\n", "application/yaml", 422),
    ("huge number", b'{"dataset": "mnist", "model": "lenet5", "seed": ' + b"9" * 5000 + b"}", "application/json", 400),
    ("huge float", b'{"dataset": "mnist", "model": "lenet5", "train": {"lr": 1e999}}', "application/json", 422),
    ("NUL in a name", b'{"dataset": "mnist", "model": "lenet5", "name": "a\\u0000"}', "application/json", 422),
    ("lone surrogate", b'{"dataset": "mnist", "model": "lenet5", "name": "\\ud800"}', "application/json", 422),
    ("lone surrogate as key", b'{"\\ud800": 1}', "application/json", 422),
]


@pytest.mark.parametrize(("body", "kind", "status"), [case[1:] for case in RAW], ids=[case[0] for case in RAW])
def test_a_malformed_body_is_refused_with_a_reason(api, body: bytes, kind: str, status: int) -> None:
    answer = api.post("/api/v1/jobs", content=body, headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text[:300]
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert len(answer.content) < 10_000, "what was sent is not echoed"


@pytest.mark.parametrize(("document", "pointer"), [case[1:3] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_wrong_specification_is_refused_with_pointers(api, document: Any, pointer: str) -> None:
    answer = api.post("/api/v1/jobs", content=json.dumps(document), headers={"Content-Type": "application/json"})
    if answer.status_code == 400:  # NaN and infinity are not JSON
        assert answer.json()["code"] == "malformed_body"
        return
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "invalid_spec"
    assert pointer in [error["pointer"] for error in problem["errors"]]
    assert all(error["message"] for error in problem["errors"])


def test_nothing_malformed_leaves_a_job_behind(api) -> None:
    for _, body, kind, _ in RAW:
        api.post("/api/v1/jobs", content=body, headers={"Content-Type": kind})
    assert api.get("/api/v1/jobs").json()["items"] == []


def test_there_are_at_least_thirty_of_them() -> None:
    assert len(WRONG) + len(RAW) >= 30
    for _, document, _, _ in WRONG:
        with pytest.raises(InvalidSpec):
            parse(document)
