"""P22: what somebody has typed is text on every page, never a part of it; and the headers that hold even if it were."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy.orm import Session

from core.spec import parse
from made import queue
from store import feed, jobs, tokens
from store.tables import Job

BAD = '"><img src=x onerror="document.title=`owned`"><script>document.title="owned"</script>'
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
PAGES = ("/jobs", "/jobs/{job}", "/presets/demo", "/new", "/api", "/login", "/nowhere", "/jobs/rows?ids={job}")


@pytest.fixture
def job(database: Session) -> Job:
    """A job whose every word is hostile, put past the checks straight into the database."""
    spec = parse({"dataset": "fashion_mnist_sample", "model": "lenet5", "resources": {"gpus": 0}}).json_dict()
    owner = tokens.user_named(database, f"olga{BAD}")
    made = queue(database, owner, **spec | {"name": BAD, "project": f"p{BAD}"})
    feed.append(database, made.id, [("noticed", {"text": BAD})])
    jobs.cancel(database, made.id)
    made.message = BAD
    database.commit()
    return made


@pytest.mark.parametrize("path", PAGES)
def test_p22_every_page_has_the_headers_and_the_name_is_text(api, job: Job, path: str) -> None:
    answer = api.get(path.format(job=job.id), headers={"accept": "text/html"})
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    assert "<img src=x" not in answer.text
    assert "<script>document" not in answer.text


@pytest.mark.parametrize(
    "path", ["/jobs", "/jobs/{job}", "/jobs/{job}/cancel", "/api/v1/jobs/{job}", "/login?next={job}"]
)
def test_p22_the_answers_of_the_api_have_them_too(api, job: Job, path: str) -> None:
    answer = api.get(f"/api/v1{path}".replace("/api/v1/api/v1", "/api/v1").format(job=uuid.uuid4()))
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS


@pytest.fixture
def page(browser: Any, token: str) -> Iterator[Any]:
    """A page that is logged in, and remembers what its scripts and its policy complain of."""
    context = browser.new_context(extra_http_headers={"Authorization": f"Bearer {token}"})
    context.set_default_timeout(60_000)
    opened = context.new_page()
    opened.said = []
    opened.on("pageerror", lambda error: opened.said.append(str(error)))
    opened.on("console", lambda message: opened.said.append(message.text))
    opened.on("dialog", lambda dialog: opened.said.append(dialog.message))
    yield opened
    context.close()


@pytest.mark.browser
def test_p22_a_job_named_like_an_attack_is_shown_and_does_nothing(api_url: str, job: Job, page: Any) -> None:
    for path in ("/jobs", f"/jobs/{job.id}", f"/jobs/{job.id}#logs", f"/jobs?q=%3Cimg%20src%3Dx%3E&project={'x' * 10}"):
        page.goto(f"{api_url}{path}")
        page.wait_for_load_state("networkidle") if "#" not in path and "/jobs/" not in path else page.wait_for_timeout(
            500
        )
        assert "owned" not in page.title().replace(BAD, "")
        assert page.locator("img[src=x]").count() == 0
    page.goto(f"{api_url}/jobs")
    assert BAD in page.inner_text("table")
    assert page.said == [], "nothing was even refused by the policy: there was nothing to refuse"


@pytest.mark.browser
def test_p22_a_form_of_another_site_changes_nothing(api: Any, api_url: str, browser: Any, token: str) -> None:
    made = api.post("/api/v1/jobs", json={"dataset": "fashion_mnist_sample", "model": "lenet5"}).json()["jobs"][0]
    context = browser.new_context()
    context.set_default_timeout(60_000)
    try:
        page = context.new_page()
        page.route("**/login", _from_our_page)
        page.goto(f"{api_url}/login")
        page.fill("#token", token)
        page.click("button[type=submit]")
        page.wait_for_url("**/jobs")
        page.set_content(f'<form method="post" action="{api_url}/jobs/{made["id"]}/cancel"><button>win</button></form>')
        page.click("button")
        page.wait_for_load_state()
    finally:
        context.close()
    assert api.get(f"/api/v1/jobs/{made['id']}").json()["state"] == "queued"


def _from_our_page(route: Any) -> None:
    """The api of the tests has a port of its own, and thinks that people open another."""
    route.continue_(headers={**route.request.headers, "origin": "http://127.0.0.1:8000"})
