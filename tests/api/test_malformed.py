"""Bodies that no job can be made of: a 4xx problem document that says why, and of a specification names the field; never a 500."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml

from api import documents
from api.errors import Refused
from core.errors import InvalidSpec
from core.spec import parse
from wrong_specs import WRONG

LIBRARY = """{"dataset": "cifar10", "model": "resnet", "evaluate": {"paper": {"attacks": [
    {"name": "torchattacks", "attack": "PGD", "settings": {"alpha": %s}}]}}}"""
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
    ("yaml timestamp", b"name: !!timestamp 2001-12-14", "application/yaml", 400),
    ("yaml binary", b"name: !!binary aGk=", "application/yaml", 400),
    ("yaml set", b"dataset: !!set {mnist}", "application/yaml", 400),
    ("yaml tag of no type", b"name: ! mnist", "application/yaml", 400),
    ("yaml base sixty", b"seed: 1" + b":1" * 300 + b".5", "application/yaml", 422),
    ("yaml hexadecimal", b"dataset: cifar10\nmodel: resnet\nseed: 0x" + b"F" * 4000, "application/yaml", 422),
    ("yaml NUL", b'dataset: cifar10\nmodel: resnet\nname: "a\\0b"', "application/yaml", 422),
    ("yaml twice", b"seed: 1\nseed: 2", "application/yaml", 400),
    ("yaml tabs", b"a:\n\t- b", "application/yaml", 400),
    ("yaml nesting", b"[" * 5_000, "application/yaml", 400),
    ("yaml date", b"dataset: mnist\nmodel: lenet5\nseed: 2020-01-01", "application/yaml", 422),
    ("yaml empty", b"# nothing\n", "application/yaml", 422),
    ("huge number", b'{"dataset": "mnist", "model": "lenet5", "seed": ' + b"9" * 5000 + b"}", "application/json", 400),
    (
        "long number",
        b'{"dataset": "cifar10", "model": "resnet", "seed": ' + b"9" * 4000 + b"}",
        "application/json",
        422,
    ),
    ("many values", b"[" + b"1," * 100_000 + b"1]", "application/json", 400),
    ("many unknown keys", json.dumps({f"key{n}": 1 for n in range(5000)}).encode(), "application/json", 422),
    ("huge float", b'{"dataset": "mnist", "model": "lenet5", "train": {"lr": 1e999}}', "application/json", 422),
    ("NUL in a name", b'{"dataset": "mnist", "model": "lenet5", "name": "a\\u0000"}', "application/json", 422),
    ("NUL in a setting", (LIBRARY % '"a\\u0000b"').encode(), "application/json", 422),
    ("infinity in a setting", (LIBRARY % "1e999").encode(), "application/json", 422),
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
    assert len(answer.content) < 30_000, "what was sent is not echoed"


@pytest.mark.parametrize(("document", "pointer"), [case[1:3] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_wrong_specification_is_refused_with_pointers(api, document: Any, pointer: str) -> None:
    try:
        body, kind = json.dumps(document, allow_nan=False), "application/json"
    except ValueError:  # NaN and infinity are not JSON
        body, kind = yaml.safe_dump(document), "application/yaml"
    answer = api.post("/api/v1/jobs", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "invalid_spec"
    assert pointer in [error["pointer"] for error in problem["errors"]]
    assert all(error["message"] for error in problem["errors"])


def test_a_megabyte_of_keys_is_refused_before_it_is_read_to_its_end(api) -> None:
    body = "\n".join(f"key{number}: 1" for number in range(80_000)).encode()
    assert 900_000 < len(body) < 1_000_000
    answer = api.post("/api/v1/jobs", content=body, headers={"Content-Type": "application/yaml"})
    assert (answer.status_code, "more than 10,000 keys and values" in answer.json()["detail"]) == (400, True)


def test_others_are_answered_while_a_document_is_read(api, monkeypatch) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def slowly(*_: object) -> Any:
        reading.set()
        assert go_on.wait(60)
        raise Refused(400, "malformed_body", "read at last")

    monkeypatch.setattr(documents, "read", slowly)
    with ThreadPoolExecutor() as pool:
        sent = pool.submit(api.post, "/api/v1/jobs", json={})
        assert reading.wait(30)
        try:
            assert api.get("/api/v1/healthz").status_code == 200
        finally:
            go_on.set()
        assert sent.result(30).status_code == 400


def test_nothing_malformed_leaves_a_job_behind(api) -> None:
    for _, body, kind, _ in RAW:
        api.post("/api/v1/jobs", content=body, headers={"Content-Type": kind})
    assert api.get("/api/v1/jobs").json()["items"] == []


def test_there_are_at_least_thirty_of_them() -> None:
    assert len(WRONG) + len(RAW) >= 30
    for _, document, _, _ in WRONG:
        with pytest.raises(InvalidSpec):
            parse(document)
