"""Logging in and out of the dashboard: where one is sent, which tokens and which forms are taken."""

import re
from typing import Any

import pytest

from api.dashboard.login import inside

SENT = {"model": "lenet5", "dataset": "fashion_mnist_sample"}
PAGE = {"accept": "text/html", "authorization": ""}
OURS = PAGE | {"origin": "http://127.0.0.1:8000"}


def test_the_way_back_never_leaves_the_site() -> None:
    outside = ["//evil.example", "https://evil.example", r"/\evil.example", "javascript:x", "/login", "", "/a\nb"]
    assert {inside(path) for path in outside} == {"/jobs"}
    assert inside("/jobs/7?x=1#audit") == "/jobs/7?x=1#audit"


@pytest.mark.parametrize("path", ["/jobs", "/jobs/7", "/jobs/7/curves", "/jobs/rows", "/api", "/slots"])
def test_without_a_session_pages_send_to_the_login(api: Any, path: str) -> None:
    answer = api.get(f"{path}?q=a", headers=PAGE, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/login?next={path}%3Fq%3Da")


def test_a_part_that_is_asked_for_without_a_session_sends_the_whole_page(api: Any) -> None:
    headers = PAGE | {"hx-request": "true", "hx-current-url": "http://127.0.0.1:8000/jobs/7#audit"}
    answer = api.get("/jobs/7/parts/audit", headers=headers, follow_redirects=False)
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/login?next=/jobs/7")


def test_an_address_that_is_none_leads_to_the_first_page(api: Any) -> None:
    headers = PAGE | {"hx-request": "true", "hx-current-url": "http://["}
    answer = api.get("/jobs", headers=headers, follow_redirects=False)
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/login?next=/jobs")


def logged_in(api: Any, token: str, **fields: str) -> Any:
    return api.post("/login", data={"token": token, **fields}, headers=OURS, follow_redirects=False)


def session_of(api: Any, token: str) -> dict[str, str]:
    """What a browser sends that has logged in."""
    cookie = logged_in(api, token).headers["set-cookie"].partition(";")[0]
    api.cookies.clear()
    return OURS | {"cookie": cookie}


def test_a_token_is_exchanged_for_a_cookie_that_scripts_cannot_read(api: Any, token: str) -> None:
    answer = logged_in(api, token, next="/jobs?state=failed")
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs?state=failed")
    cookie = answer.headers["set-cookie"]
    assert all(part in cookie for part in ("__Host-", "HttpOnly", "Path=/", "SameSite=lax", "Secure", "Max-Age="))
    assert "Domain" not in cookie
    assert api.get("/jobs", headers=session_of(api, token)).status_code == 200


def test_a_session_ends_with_the_token_that_opened_it(api: Any) -> None:
    made = api.post("/api/v1/tokens", json={"name": "browser"}).json()
    headers = session_of(api, made["token"])
    assert api.get("/jobs", headers=headers).status_code == 200
    api.delete(f"/api/v1/tokens/{made['id']}")
    assert api.get("/jobs", headers=headers, follow_redirects=False).status_code == 303


def test_a_wrong_token_is_refused_at_its_field_and_not_echoed(api: Any) -> None:
    answer = logged_in(api, "spr_wrong_secret")
    assert (answer.status_code, "This token is not valid" in answer.text, "set-cookie" in answer.headers) == (401, 1, 0)
    assert "spr_wrong_secret" not in answer.text
    assert api.post("/login", json={"token": "x"}, headers=OURS).status_code == 415


@pytest.mark.parametrize("origin", [{}, {"origin": "null"}, {"origin": "https://evil.example"}])
def test_a_login_from_elsewhere_is_refused(api: Any, token: str, origin: dict[str, str]) -> None:
    answer = api.post("/login", data={"token": token}, headers=PAGE | origin, follow_redirects=False)
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


def test_plain_http_from_elsewhere_is_told_to_use_https(api: Any, token: str) -> None:
    headers = PAGE | {"host": "gpu-a.lab:8000", "origin": "http://gpu-a.lab:8000"}
    assert 'name="token"' not in api.get("/login", headers=headers).text
    answer = api.post("/login", data={"token": token}, headers=headers, follow_redirects=False)
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


@pytest.mark.parametrize("csrf", ["", "wrong"])
def test_a_write_without_the_sessions_csrf_token_is_refused(api: Any, token: str, csrf: str) -> None:
    job, headers = api.post("/api/v1/jobs", json=SENT).json()["jobs"][0], session_of(api, token)
    for path in (f"/jobs/{job['id']}/cancel", "/logout"):
        assert api.post(path, data={"csrf": csrf}, headers=headers).status_code == 403
    assert api.get(f"/api/v1/jobs/{job['id']}").json()["state"] == "queued"


def test_the_forms_of_a_page_cancel_and_log_out(api: Any, token: str) -> None:
    job, headers = api.post("/api/v1/jobs", json=SENT).json()["jobs"][0], session_of(api, token)
    csrf = re.findall(r'name="csrf" value="([^"]+)"', api.get(f"/jobs/{job['number']}", headers=headers).text)[0]
    send = {"data": {"csrf": csrf}, "headers": headers, "follow_redirects": False}
    assert api.post(f"/jobs/{job['id']}/cancel", **send).status_code == 303
    assert api.get(f"/api/v1/jobs/{job['id']}").json()["state"] == "cancelled"
    again = api.post(f"/jobs/{job['id']}/cancel", **send)
    assert (again.status_code, "cancelled already" in again.text) == (409, True)
    assert api.post("/logout", **send).status_code == 303
    assert api.get("/jobs", headers=headers, follow_redirects=False).status_code == 303
