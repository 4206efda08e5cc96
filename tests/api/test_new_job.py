"""The page where a job is put together: where it starts, what is said while it is written, and what is queued in the end."""

import html
import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml as pyyaml
from sqlalchemy.orm import Session

from api import shelf
from api.dashboard import newjob
from core.spec import parse
from sparring.documents import read_yaml
from store import queue, tokens
from wrong_specs import WRONG

OURS = {"accept": "text/html", "authorization": "", "origin": "http://127.0.0.1:8000"}
VALID = "dataset: fashion_mnist_sample\nmodel: lenet5  # small\n"


@pytest.fixture
def ask(api: Any) -> Callable[..., Any]:
    """Have a document checked, with changes of (pointer, value)."""

    def asked(text: str, *changes: tuple[str, Any]) -> Any:
        made = [{"pointer": pointer, "value": value} for pointer, value in changes]
        answer = api.post("/new/check", json={"yaml": text, "changes": made})
        assert answer.status_code == 200, answer.text
        return answer.json()

    return asked


def opened(api: Any, token: str) -> tuple[dict[str, str], str]:
    """A browser's headers, and the CSRF token of its session's page."""
    answer = api.post("/login", data={"token": token}, headers=OURS, follow_redirects=False)
    headers = OURS | {"cookie": answer.headers["set-cookie"].partition(";")[0]}
    api.cookies.clear()
    page = api.get("/new", headers=headers)
    return headers, re.findall(r'name="csrf" value="([^"]+)"', page.text)[0]


def written(page: Any) -> str:
    """The YAML on a page, as a browser reads it."""
    return html.unescape(re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", page.text, re.DOTALL)[0])


def test_a_valid_document_is_answered_with_its_plan_and_left_as_it_is_written(ask) -> None:
    found = ask(VALID)
    assert (found["yaml"], found["problems"]) == (VALID, [])
    assert found["document"] == {"dataset": "fashion_mnist_sample", "model": "lenet5"}
    assert (found["plan"]["parameters"], found["plan"]["seeds"]) == (61_706, [1])


def test_the_plan_is_the_dry_runs(api, ask) -> None:
    dry = api.post("/api/v1/jobs?dry_run=true", content=VALID, headers={"Content-Type": "application/yaml"}).json()
    assert ask(VALID)["plan"] == dry


@pytest.mark.parametrize(("document", "pointer"), [case[1:3] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_wrong_document_gets_the_problems_that_the_api_would_give(ask, document: Any, pointer: str) -> None:
    found = ask(pyyaml.safe_dump(document, allow_unicode=True))
    assert found["plan"] is None
    expected = "/dataset" if document is None else pointer  # an empty page lacks what a job must name
    assert expected in [one["pointer"] for one in found["problems"]]


def test_a_problem_says_what_was_given_and_what_would_be_right(ask) -> None:
    (problem,) = ask("dataset: mnist\nmodel: lenet5\nsparsifier: {name: rgsn}\n")["problems"]
    assert (problem["pointer"], problem["got"]) == ("/sparsifier/name", "rgsn")
    assert "did you mean rgsm?" in problem["expected"]


def test_what_cannot_be_read_is_a_problem_of_the_whole_and_changes_wait(ask) -> None:
    found = ask("seed: 1\nseed: 2", ("/seed", 3))
    assert (found["yaml"], found["document"]) == ("seed: 1\nseed: 2", None)
    assert [(one["pointer"], "stands twice" in one["message"]) for one in found["problems"]] == [("", True)]


def test_changes_are_written_where_they_belong_and_the_rest_stays(ask) -> None:
    text = (
        "model: lenet5\ntrain:\n  lr: 0.2\ndataset: {name: mnist, images: 600}\nevaluate: {paper: {attacks: [fgsm]}}\n"
    )
    found = ask(
        text,
        ("/sparsifier", {"name": "rgsm"}),
        ("/sparsifier/lambda1", 0.6),
        ("/model/widths", "20-50-500"),
        ("/train/epochs", 3),
        ("/threat/eps", "8/255"),
        ("/train/nesterov", False),
    )
    assert read_yaml(found["yaml"]) == {
        "dataset": {"name": "mnist", "images": 600},
        "threat": {"eps": "8/255"},
        "model": {"name": "lenet5", "widths": "20-50-500"},
        "sparsifier": {"name": "rgsm", "lambda1": 0.6},
        "train": {"lr": 0.2, "epochs": 3, "nesterov": False},
        "evaluate": {"paper": {"attacks": ["fgsm"]}},
    }
    assert (found["problems"], found["document"]) == ([], read_yaml(found["yaml"]))
    assert found["plan"]["parameters"] == 431_080


def test_a_setting_that_is_taken_out_takes_the_object_that_it_leaves_empty_along(ask) -> None:
    text = f"{VALID}train: {{lr: 0.2}}\nthreat: {{eps: 0.1, norm: linf}}\n"
    found = ask(text, ("/train/lr", None), ("/threat/eps", None), ("/evaluate/images", None))
    kept = {"dataset": "fashion_mnist_sample", "model": "lenet5", "threat": {"norm": "linf"}}
    assert read_yaml(found["yaml"]) == kept


def test_text_that_looks_like_a_number_stays_text(ask) -> None:
    found = ask(VALID, ("/name", "!!python/object:os.system"), ("/project", "017"))
    assert found["problems"] == []
    assert {"name": "!!python/object:os.system", "project": "017"}.items() <= read_yaml(found["yaml"]).items()


def test_the_page_starts_with_the_smallest_job_or_with_a_preset(api) -> None:
    smallest = read_yaml(written(api.get("/new")))
    assert parse(smallest)
    assert smallest.keys() == {"dataset", "model"}
    assert read_yaml(written(api.get("/new?preset=demo"))) == shelf.examples()["demo"]


@pytest.mark.parametrize("name", shelf.tables())
def test_a_row_of_a_table_starts_the_first_job_that_the_table_would_run(name: str) -> None:
    table = shelf.tables()[name]
    for row in table.rows:
        job = parse(newjob.start(name, row.id))
        assert job.digest == table.jobs[row.id, next(iter(row.configurations))].digest
        assert (job.name, job.project) == (f"{name}-{row.id}", name)


def test_a_rows_address_opens_it(api) -> None:
    page = api.get("/new?preset=thesis-4.5&row=r20-0.05")
    assert read_yaml(written(page)) == newjob.start("thesis-4.5", "r20-0.05")


@pytest.mark.parametrize(
    ("query", "said"), [("preset=x", "no preset x"), ("preset=thesis-4.5", "r20-0.05"), ("preset=thesis-4.5&row=y", "no row y")]
)  # fmt: skip
def test_what_is_no_preset_or_no_row_is_not_found(api, query: str, said: str) -> None:
    answer = api.get(f"/new?{query}")
    assert (answer.status_code, said in answer.json()["detail"]) == (404, True)


def test_a_submitted_job_is_queued_and_shown(api, token: str, monkeypatch) -> None:
    headers, csrf = opened(api, token)
    rung = threading.Event()
    monkeypatch.setattr(queue, "ring", rung.set)
    answer = api.post("/new", data={"yaml": VALID, "csrf": csrf}, headers=headers, follow_redirects=False)
    assert answer.status_code == 303
    assert rung.wait(10)
    (job,) = api.get("/api/v1/jobs").json()["items"]
    assert answer.headers["location"] == f"/jobs/{job['id']}"
    assert api.get(f"/api/v1/jobs/{job['id']}/spec?sent=true").json() == read_yaml(VALID)
    assert api.get(f"/api/v1/jobs/{job['id']}").json()["spec"]["resources"]["gpus"] == 0


def test_several_seeds_are_shown_among_the_jobs_of_their_project(api, token: str) -> None:
    headers, csrf = opened(api, token)
    text = f"{VALID}project: seeds\nreplicates: 3\n"
    answer = api.post("/new", data={"yaml": text, "csrf": csrf}, headers=headers, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs?project=seeds")
    assert sorted(job["seed"] for job in api.get("/api/v1/jobs").json()["items"]) == [1, 2, 3]


@pytest.mark.parametrize("text", [f"{VALID}train: {{epoch: 3}}  # </textarea><b>", "a: [", "", "[]", "\n\nname: x\n"])
def test_a_wrong_job_comes_back_as_it_was_written_with_what_is_wrong(api, token: str, text: str) -> None:
    headers, csrf = opened(api, token)
    answer = api.post("/new", data={"yaml": text, "csrf": csrf}, headers=headers)
    assert (answer.status_code, written(answer)) == (422, text)
    assert "call bad" in answer.text
    assert "</textarea><b>" not in answer.text
    assert api.get("/api/v1/jobs").json()["items"] == []


@pytest.mark.parametrize("csrf", ["", "wrong"])
def test_what_does_not_come_from_the_sessions_own_page_is_refused(api, token: str, csrf: str) -> None:
    headers, _ = opened(api, token)
    assert api.post("/new", data={"yaml": VALID, "csrf": csrf}, headers=headers).status_code == 403
    sent = {"json": {"yaml": VALID}, "headers": headers | {"accept": "*/*", "x-csrf-token": csrf}}
    assert api.post("/new/check", **sent).status_code == 403
    assert api.get("/api/v1/jobs").json()["items"] == []


def test_the_sessions_own_page_may_check(api, token: str) -> None:
    headers, csrf = opened(api, token)
    answer = api.post("/new/check", json={"yaml": VALID}, headers=headers | {"x-csrf-token": csrf})
    assert (answer.status_code, answer.json()["problems"]) == (200, [])


def test_without_a_session_the_page_sends_to_the_login_and_nothing_is_checked(api) -> None:
    stranger = {"accept": "text/html", "authorization": ""}
    answer = api.get("/new?preset=demo", headers=stranger, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/new%3Fpreset%3Ddemo")
    assert api.post("/new/check", json={"yaml": VALID}, headers=stranger | {"accept": "*/*"}).status_code == 401


def test_a_viewer_may_try_but_not_submit(api, database: Session) -> None:
    token = tokens.issue(database, tokens.user_named(database, "vera", "viewer"), "tests")
    database.commit()
    headers, csrf = opened(api, token)
    page = api.get("/new", headers=headers).text
    assert ("A viewer may look, not submit." in page, ">Submit<" in page) == (True, False)
    assert api.post("/new", data={"yaml": VALID, "csrf": csrf}, headers=headers).status_code == 403
    checked = api.post("/new/check", json={"yaml": VALID}, headers=headers | {"x-csrf-token": csrf})
    assert checked.json()["problems"] == []
    assert api.get("/api/v1/jobs").json()["items"] == []


HOSTILE: list[tuple[str, Any, int]] = [
    ("nothing", b"", 422),
    ("not JSON", b"yaml=a", 422),
    ("not UTF-8", b'{"yaml": "\xff"}', 422),
    ("deep", b'{"yaml": ' + b"[" * 100_000, 422),
    ("deep value", b'{"yaml": "", "changes": [{"pointer": "/a", "value": ' + b'{"a":' * 900 + b"1" + b"}" * 902, 422),
    ("5 MB", b'{"yaml": "' + b"x" * 5_000_000 + b'"}', 413),
    ("lone surrogate", b'{"yaml": "\\ud800"}', 422),
    ("lone surrogate as key", b'{"yaml": "", "\\ud800": 1}', 422),
    ("a list", [], 422),
    ("a number as YAML", {"yaml": 5}, 422),
    ("changes of another kind", {"yaml": VALID, "changes": {"a": 1}}, 422),
    ("a change of another kind", {"yaml": VALID, "changes": [5]}, 422),
    ("no value", {"yaml": VALID, "changes": [{"pointer": "/a"}]}, 422),
    ("a list as value", {"yaml": VALID, "changes": [{"pointer": "/a", "value": [1]}]}, 422),
    ("the root", {"yaml": VALID, "changes": [{"pointer": "", "value": 1}]}, 422),
    ("no slash", {"yaml": VALID, "changes": [{"pointer": "a", "value": 1}]}, 422),
    ("long pointer", {"yaml": VALID, "changes": [{"pointer": "/a" * 1000, "value": 1}]}, 422),
    ("many changes", {"yaml": VALID, "changes": [{"pointer": "/a", "value": 1}] * 201}, 422),
    ("infinity as value", b'{"yaml": "", "changes": [{"pointer": "/a", "value": 1e999}]}', 422),
    ("into a list", {"yaml": "a: [1]", "changes": [{"pointer": "/a/0", "value": 1}]}, 422),
    ("into a number", {"yaml": "a: 1", "changes": [{"pointer": "/a/b", "value": 1}]}, 422),
    ("huge number", b'{"yaml": "", "changes": [{"pointer": "/seed", "value": ' + b"9" * 4000 + b"}]}", 200),
    ("NUL in a change", {"yaml": VALID, "changes": [{"pointer": "/name", "value": "a\0b"}]}, 200),
    ("NUL in a key", {"yaml": VALID, "changes": [{"pointer": "/\0", "value": 1}]}, 200),
    ("__proto__", {"yaml": VALID, "changes": [{"pointer": "/__proto__/x", "value": 1}]}, 200),
    ("infinity", {"yaml": "a: 1e999"}, 200),
    ("infinity in the YAML of a change", {"yaml": "a: 1e999", "changes": [{"pointer": "/b", "value": 1}]}, 200),
    ("surrogate in the YAML", {"yaml": 'a: "\\ud800"', "changes": [{"pointer": "/b", "value": 1}]}, 200),
    ("long text", {"yaml": "a: " + "x y" * 200_000, "changes": [{"pointer": "/b", "value": 1}]}, 200),
]


@pytest.mark.parametrize(("body", "status"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_a_hostile_question_is_answered_in_words(api, body: Any, status: int) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = api.post("/new/check", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text[:300]
    if status == 200:
        assert json.loads(answer.text, parse_constant=pytest.fail)["problems"]
    else:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]
        assert len(answer.content) < 2000, "what was sent is not echoed"


UNREADABLE = {
    "aliases": "a: &a [x, x]\nb: *a",
    "code": "a: !!python/object/apply:os.system ['true']",
    "a key twice": "seed: 1\nseed: 2",
    "tabs": "a:\n\t- b",
    "nesting": "[" * 5_000,
    "many keys": "\n".join(f"key{number}: 1" for number in range(20_000)),
    "a huge number": "seed: " + "9" * 5_000,
    "NUL": "name: a\0b",
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
def test_a_malformed_document_is_checked_and_refused_without_falling_over(api, ask, token: str, text: str) -> None:
    found = ask(text)
    assert (found["document"], found["plan"], len(found["problems"])) == (None, None, 1)
    assert "is not readable" in found["problems"][0]["message"]
    headers, csrf = opened(api, token)
    assert api.post("/new", data={"yaml": text, "csrf": csrf}, headers=headers).status_code == 422


@pytest.mark.parametrize(
    "sent", [b"yaml=%ff", b"yaml=%00", b"yaml=%ED%A0%80", b"csrf", b"&" * 1000, b"yaml=" + b"%0A" * 200_000]
)
def test_a_hostile_form_is_never_more_than_refused(api, token: str, sent: bytes) -> None:
    headers, csrf = opened(api, token)
    kind = {"content-type": "application/x-www-form-urlencoded"}
    answer = api.post("/new", content=sent + f"&csrf={csrf}".encode(), headers=headers | kind)
    assert 400 <= answer.status_code < 500
    assert api.get("/api/v1/jobs").json()["items"] == []


def test_others_are_answered_while_a_document_is_checked(api, monkeypatch) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def slowly(*_: object) -> Any:
        reading.set()
        assert go_on.wait(60)
        return newjob.Reading(None, (), None)

    monkeypatch.setattr(newjob, "read", slowly)
    with ThreadPoolExecutor() as pool:
        sent = pool.submit(api.post, "/new/check", json={"yaml": VALID})
        assert reading.wait(30)
        try:
            assert api.get("/api/v1/healthz").status_code == 200
        finally:
            go_on.set()
        assert sent.result(30).status_code == 200
