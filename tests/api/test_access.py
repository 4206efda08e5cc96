"""Tokens, roles, sessions, headers."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from api import dependencies
from store import lookup, tokens
from store.database import transaction
from store.settings import settings

SPEC = {"dataset": "fashion_mnist_sample", "model": "lenet5"}
OPEN = {"/api/v1/healthz", "/api/v1/readyz", "/api/v1/version", "/api/v1/openapi.json"}


def as_user(name: str, role: str = "member") -> dict[str, str]:
    with transaction() as session:
        return {"Authorization": f"Bearer {tokens.issue(session, tokens.user_named(session, name, role), 'tests')}"}


def session_of(api: Any) -> tuple[str, str]:
    """The cookie and the CSRF token of a browser that has logged in with the client's token."""
    with transaction() as session:
        opened = tokens.log_in(session, api.headers["Authorization"].split()[1])
    assert opened
    return opened


def test_every_route_but_a_few_wants_a_token(api) -> None:
    del api.headers["Authorization"]
    document = api.get("/api/v1/openapi.json").json()
    for path, methods in document["paths"].items():
        for method in methods:
            answer = api.request(
                method.upper(),
                path.format(
                    name="1",
                    number="1",
                    worker_id="1",
                    kind="user",
                    file="x",
                    token_id="x",
                    webhook_id="1",
                    delivery_id="1",
                    figure="weights",
                    form="svg",
                ),
            )
            assert (answer.status_code == 401) == (path not in OPEN), (method, path, answer.status_code)


@pytest.mark.parametrize("header", ["Bearer nonsense", "Bearer", "Basic YTpi", "Bearer spr_1_2", "spr_x"])
def test_a_wrong_token_is_refused(api, header: str) -> None:
    answer = api.get("/api/v1/me", headers={"Authorization": header})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_token_says_who_one_is(api) -> None:
    assert api.get("/api/v1/me").json()["name"] == "ada"


def test_a_viewer_looks_and_does_not_submit(api) -> None:
    viewer = as_user("vera", "viewer")
    assert api.get("/api/v1/jobs", headers=viewer).status_code == 200
    assert api.post("/api/v1/jobs", json=SPEC, headers=viewer).status_code == 403


def test_only_the_owner_and_maintainers_cancel_a_job(api) -> None:
    for _ in range(2):
        api.post("/api/v1/jobs", json=SPEC)
    assert api.post("/api/v1/jobs/1/cancel", headers=as_user("bob")).status_code == 403
    assert api.post("/api/v1/jobs/1/cancel", headers=as_user("mia", "maintainer")).status_code == 200
    assert api.post("/api/v1/jobs/2/cancel").status_code == 200


def test_who_may_not_change_a_job_is_told_why(api) -> None:
    api.post("/api/v1/jobs", json=SPEC)
    refused = [
        ("vera", "viewer", "This takes the role member; you are viewer."),
        ("bob", "member", "This job is somebody else's: its owner and maintainers may change it."),
    ]
    for name, role, why in refused:
        answer = api.post("/api/v1/jobs/1/cancel", headers=as_user(name, role))
        assert (answer.status_code, answer.json()["code"], answer.json()["detail"]) == (403, "forbidden", why)


def test_a_token_is_made_shown_once_and_revoked(api) -> None:
    made = api.post("/api/v1/tokens", json={"name": "laptop", "days": 30}).json()
    headers = {"Authorization": f"Bearer {made['token']}"}
    assert api.get("/api/v1/me", headers=headers).status_code == 200
    listed = api.get("/api/v1/tokens").json()["items"]
    assert made["id"] in [token["id"] for token in listed]
    assert all(token["token"] is None for token in listed)
    assert api.delete(f"/api/v1/tokens/{made['id']}").status_code == 204
    assert api.get("/api/v1/me", headers=headers).status_code == 401
    assert api.delete(f"/api/v1/tokens/{made['id']}").status_code == 404


def test_a_token_whose_id_nobody_can_type_is_refused(api) -> None:
    assert api.delete("/api/v1/tokens/%00").status_code == 422


def test_too_large_a_token_request_is_refused_as_such(api) -> None:
    answer = api.post("/api/v1/tokens", json={"name": "x" * 1_100_000})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"name": ""},
        {"name": "x", "days": -1},
        {"name": "x", "days": 1e-9},
        {"name": "x", "role": "admin"},
        {"name": "a\nb"},
        {"name": "x" * 101},
    ],
)
def test_a_wrong_token_request_is_refused(api, asked: dict) -> None:
    assert api.post("/api/v1/tokens", json=asked).status_code == 422


def test_a_browser_needs_the_csrf_token_to_change_anything(api, database: Session) -> None:
    cookie, csrf = session_of(api)
    del api.headers["Authorization"]
    jar = {"Cookie": f"__Host-sparring={cookie}"}
    assert api.get("/api/v1/me", headers=jar).status_code == 200
    assert api.post("/api/v1/jobs", json=SPEC, headers=jar).json()["code"] == "csrf"
    assert api.post("/api/v1/jobs", json=SPEC, headers=jar | {"X-CSRF-Token": "wrong"}).json()["code"] == "csrf"
    right = jar | {"X-CSRF-Token": csrf}
    assert (
        api.post("/api/v1/jobs", json=SPEC, headers=right | {"Origin": "https://evil.example"}).json()["code"] == "csrf"
    )
    assert api.post("/api/v1/jobs", json=SPEC, headers=right).status_code == 201


@pytest.mark.parametrize("url", ["https://sparring.example.org", "https://sparring.example.org/"])
def test_pages_at_the_address_that_people_open_may_write(api, monkeypatch, url: str) -> None:
    monkeypatch.setattr(dependencies, "settings", lambda: settings().model_copy(update={"url": url}))
    cookie, csrf = session_of(api)
    del api.headers["Authorization"]
    headers = {"Cookie": f"__Host-sparring={cookie}", "X-CSRF-Token": csrf, "Origin": "https://sparring.example.org"}
    assert api.post("/api/v1/jobs", json=SPEC, headers=headers).status_code == 201
    assert api.post("/api/v1/jobs", json=SPEC, headers=headers | {"Origin": "https://evil.example"}).status_code == 403


@pytest.mark.parametrize("path", ["/api/v1/healthz", "/api/v1/jobs/999", "/nowhere"])
def test_every_answer_carries_the_headers(api, path: str) -> None:
    headers = api.get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert len(headers["x-request-id"]) == 32


def test_an_error_inside_is_a_problem_document_without_its_details(api, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(lookup, "page", broken)
    answer = api.get("/api/v1/jobs")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


def test_a_value_that_the_database_does_not_take_is_the_clients_mistake(api, monkeypatch) -> None:
    def unkept(session: Session, *_: object) -> None:
        session.execute(text("SELECT :value"), {"value": "secret\0"})

    monkeypatch.setattr(lookup, "page", unkept)
    answer = api.get("/api/v1/jobs")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "secret" not in answer.text
