"""What only a browser can tell of evaluations: the pictures that scripts draw, and the form of `evaluate.strict`."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from recorded import ran, record
from store.tables import Job

pytestmark = pytest.mark.browser


@pytest.fixture
def job(database: Session, tmp_path: Path) -> Job:
    return record(database, ran(tmp_path / "run"), tmp_path)


@pytest.fixture
def page(browser: Any, token: str) -> Iterator[Any]:
    """A page that is logged in; whatever its scripts complain of fails the test."""
    context = browser.new_context(extra_http_headers={"Authorization": f"Bearer {token}"})
    context.set_default_timeout(60_000)
    opened, said = context.new_page(), []
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("console", lambda message: said.append(message.text))
    yield opened
    context.close()
    assert said == []


def test_each_protocol_has_its_own_picture_of_broken_images_on_both_kinds_of_page(
    api: Any, api_url: str, job: Job, page: Any
) -> None:
    (made,) = api.post("/api/v1/evaluations", json={"network": {"job": str(job.id)}}).json()["jobs"]
    page.goto(f"{api_url}/jobs/{job.id}#robustness")
    page.wait_for_selector("#broken-strict canvas")
    page.wait_for_selector("#broken canvas")
    assert "one of 40 test images" in page.inner_text('[data-caption="broken-strict"]')
    assert "one of 60 test images" in page.inner_text('[data-caption="broken"]')
    page.wait_for_selector("#pictures figure img")
    page.goto(f"{api_url}/jobs/{made['id']}")
    page.wait_for_selector("#broken p.wait")
    assert page.is_hidden("#broken-strict"), "nothing strict was measured"


def test_the_form_ticks_the_strict_protocol_and_sets_what_is_in_it(api: Any, api_url: str, job: Job, page: Any) -> None:
    def until(condition: Callable[[], bool]) -> None:
        """The policy lets no test evaluate text in the page, so the page is asked from here."""
        for _ in range(300):
            if condition():
                return
            time.sleep(0.1)
        pytest.fail(page.input_value("#yaml"))

    def written(what: str) -> None:
        until(lambda: what in page.input_value("#yaml"))

    def unwritten(what: str) -> None:
        until(lambda: what not in page.input_value("#yaml"))

    page.goto(f"{api_url}/new")
    page.check('[data-pointer="/evaluate/strict"]')
    written("strict:")
    images = page.locator('[data-pointer="/evaluate/strict/images"]')
    images.fill("100")
    images.press("Tab")
    written("images: 100")
    images.fill("")
    images.press("Tab")
    unwritten("images: 100")
    assert page.is_checked('[data-pointer="/evaluate/strict"]'), "a setting that is left out leaves the protocol"
    page.uncheck('[data-pointer="/evaluate/strict"]')
    unwritten("strict")
    page.fill("#yaml", f"kind: evaluate\nnetwork: {{job: {job.id}}}\nevaluate: {{strict: {{images: 5}}}}\n")
    until(lambda: images.input_value() == "5")
    until(lambda: page.inner_text("#verdict") == "valid")
