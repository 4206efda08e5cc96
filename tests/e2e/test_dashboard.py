"""The dashboard in a real browser, against the whole service: a job is watched to its end, another is cancelled."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from core.family import members

pytestmark = pytest.mark.browser
NASTY = "<img src=x onerror=window.hacked=1>"
JOB = """
name: "%s"
dataset: {name: fashion_mnist_sample, images: 512, validation: 256}
threat: {eps: 0.1}
model: lenet5
objective: {name: pgd, steps: 2}
sparsifier: {name: rgsm, lambda1: 0.6}
train: {epochs: %d, lr: 0.05, select: {metric: pgd2, images: 100}}
evaluate: {images: 100, paper: {attacks: [fgsm, {name: ifgsm, steps: 3}]}}
"""
POINTS = "document.getElementById('accuracy').chart?.options?.x.length ?? 0"


class Visit:
    """A page of a logged-in browser, and everything that went wrong on it."""

    def __init__(self, page: Any, url: str) -> None:
        self.page, self.url = page, url
        self.errors: list[str] = []
        page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._asked)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.errors.append(f"left the origin: {request.url}")

    def open(self, path: str) -> None:
        """Go there; `marker` is lost when the page is loaded again."""
        self.page.goto(self.url + path)
        self.page.evaluate("window.marker = 'same page'")

    def until(self, condition: str, seconds: float = 60) -> None:
        """Wait for an expression to be true. (Playwright's own waiting evaluates strings, which the page's policy forbids.)"""
        deadline = time.monotonic() + seconds
        while not self.page.evaluate(condition):
            assert time.monotonic() < deadline, f"not true within {seconds} s: {condition}"
            time.sleep(0.1)

    def same_page(self) -> bool:
        """Whether the page has not been loaded again since."""
        return bool(self.page.evaluate("window.marker === 'same page'"))


@pytest.fixture(scope="module")
def visit(service: Any, browser: Any) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(60_000)
    visit = Visit(context.new_page(), service.url)
    visit.page.goto(f"{service.url}/jobs?state=running")
    assert "/login?next=" in visit.page.url
    visit.page.fill("#token", service.token)
    visit.page.press("#token", "Enter")
    visit.page.wait_for_url("**/jobs?state=running")
    yield visit
    context.close()


def test_a_job_is_watched_from_its_queue_to_its_results_without_a_reload(service: Any, visit: Visit) -> None:
    job, page = service.client.submit(JOB % (NASTY, 4)), visit.page
    visit.open(f"/jobs/{job.id}")
    assert page.inner_text("h1") == NASTY
    page.wait_for_selector(".ph.running progress")
    visit.until("document.querySelector('[data-phase=train] progress')?.value > 0")
    visit.until(f"{POINTS} >= 1")
    first = page.evaluate(POINTS)
    visit.until(f"{POINTS} > {first}")
    page.wait_for_selector("#header .st.succeeded")
    page.click("#t-robustness")
    page.wait_for_selector('[data-attack="ifgsm3"]')
    assert [row.get_attribute("data-attack") for row in page.query_selector_all("[data-attack]")] == [
        "clean",
        "fgsm",
        "ifgsm3",
    ]
    page.wait_for_selector("#broken canvas")
    assert visit.same_page()
    assert page.evaluate("window.hacked") is None
    page.wait_for_selector("[data-live]:visible >> text=ended")


def test_the_finished_page_shows_layers_checks_files_and_the_specification(service: Any, visit: Visit) -> None:
    page = visit.page
    page.click("#t-sparsity")
    page.wait_for_selector("#heat canvas")
    layers = [row.inner_text().split("\t") for row in page.query_selector_all("#layer-table tbody tr")]
    assert [row[0].strip() for row in layers] == ["conv1", "conv2", "all"]
    assert layers[-1][2] == "7"
    page.evaluate(
        "const s = document.getElementById('at-epoch'); s.value = 2; s.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    visit.until("document.querySelector('#layers .sub').textContent.includes('epoch 2')")
    page.click("#t-weights")
    page.wait_for_selector('[data-figure="channel_norms"] img:visible')
    drawn = "[...document.querySelectorAll('.drawn')].filter((one) => one.offsetParent && one.naturalWidth > 400)"
    visit.until(f"{drawn}.length === 4")
    with page.expect_download() as download:
        page.click('[data-figure="weights"] a[href$=".pdf"]')
    assert download.value.path().read_bytes().startswith(b"%PDF")
    page.click("#t-audit")
    assert page.locator("[data-check]").count() >= 4
    page.click("#t-artifacts")
    with page.expect_download() as download:
        page.click("#files a[download]")
    assert download.value.suggested_filename.endswith(".safetensors")
    page.click("#t-reproduce")
    assert "lambda1: 0.6" in page.inner_text("#yaml")


def test_curves_are_saved_as_csv(visit: Visit) -> None:
    visit.page.click("#t-overview")
    with visit.page.expect_download() as download:
        visit.page.click('[data-csv="accuracy"]')
    rows = download.value.path().read_text().splitlines()
    assert rows[0].startswith("epoch,clean,")
    assert len(rows) == 5


def test_a_running_job_is_cancelled_from_its_page(service: Any, visit: Visit) -> None:
    job, page = service.client.submit(JOB % ("to be cancelled", 2000)), visit.page
    visit.open(f"/jobs/{job.id}")
    page.wait_for_selector("#header .st.running")
    page.click("#cancel")
    page.wait_for_selector("#header .st.cancelled")
    assert page.locator("#cancel").count() == 0
    assert service.client.job(job.id).state == "cancelled"
    assert visit.same_page()


def test_the_jobs_page_follows_a_job_and_finds_it(service: Any, visit: Visit) -> None:
    page = visit.page
    job = service.client.submit(JOB % ("found-by-its-name", 2000))
    visit.open("/jobs")
    assert NASTY in page.inner_text("table.jobs")
    row = f"#job-{job.id}"
    page.wait_for_selector(f"{row} .st.running")
    service.client.cancel(job.id)
    page.wait_for_selector(f"{row} .st.cancelled")
    assert visit.same_page()
    page.keyboard.press("/")
    page.keyboard.type("found-by")
    visit.until("document.querySelectorAll('table.jobs tbody').length === 1")
    assert re.search(r"q=found-by", page.url)
    assert page.evaluate("window.hacked") is None


def test_tabs_are_reached_by_arrow_keys_and_the_theme_is_kept(service: Any, visit: Visit) -> None:
    page = visit.page
    visit.open(f"/jobs/{service.client.jobs(1)[0].id}#training")
    page.focus("#t-training")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#p-sparsity:visible")
    assert page.evaluate("document.activeElement.id") == "t-sparsity"
    page.click(".side [data-toggle-theme]")
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


FAMILIES = {"dataset": "datasets", "model": "models", "objective": "objectives", "sparsifier": "sparsifiers"}
OPTIONS = "[...document.querySelectorAll('[data-pointer=\"/%s\"] option')].map((one) => one.value).filter(Boolean)"
DRAWN = "[...document.querySelectorAll('[data-pointer^=\"/%s/\"]')].map((one) => one.dataset.pointer.split('/')[2])"
NOT_DRAWN = {"name", "shares", "lrs"}
"""A select of its own; lists, which are written in the YAML."""


def test_the_form_offers_every_member_of_every_family_with_its_settings(visit: Visit) -> None:
    page = visit.page
    visit.open("/new")
    for part, package in FAMILIES.items():
        known = members(f"core.{package}")
        page.wait_for_selector(f'[data-pointer="/{part}"]')
        assert page.evaluate(OPTIONS % part) == sorted(known)
    for name, member in members("core.sparsifiers").items():
        page.select_option('[data-pointer="/sparsifier"]', name)
        wanted = [setting for setting in member.model_fields if setting not in NOT_DRAWN]
        visit.until(f"JSON.stringify({DRAWN % 'sparsifier'}) === '{json.dumps(wanted, separators=(',', ':'))}'")


def test_a_job_is_put_together_in_the_form_and_submitted(service: Any, visit: Visit) -> None:
    page = visit.page
    visit.open("/new")
    page.select_option('[data-pointer="/sparsifier"]', "rgsm")
    page.fill('[data-pointer="/sparsifier/lambda1"]', "0.6")
    visit.until("document.getElementById('yaml').value.includes('lambda1: 0.6')")
    page.fill('[data-pointer="/train/epochs"]', "many")
    page.wait_for_selector("#set-train-epochs-error:visible >> text=should be a valid integer")
    assert "set-train-epochs-error" in page.get_attribute("#set-train-epochs", "aria-describedby")
    assert page.is_disabled("#job button")
    page.fill('[data-pointer="/train/epochs"]', "2")
    visit.until("document.getElementById('verdict').textContent === 'valid'")
    assert page.inner_text('[data-plan="parameters"]') == "61.7 k"
    text = page.input_value("#yaml")
    page.fill("#yaml", f"{text}evaluate: {{images: 100, imagse: 3}}\ndataset: mnist\n")
    page.wait_for_selector("#problems >> text=stands twice")
    assert page.is_disabled('[data-pointer="/name"]')
    page.fill("#yaml", f"{text}evaluate: {{images: 100, imagse: 3}}\n")
    page.wait_for_selector('#problems >> text="/evaluate/imagse"')
    assert page.input_value('[data-pointer="/evaluate/images"]') == "100"
    page.fill("#yaml", f"{text}evaluate: {{images: 100}}\nreplicates: 2\n")
    page.wait_for_selector("#job >> text=Submit 2 jobs")
    page.fill('[data-pointer="/replicates"]', "")
    page.fill('[data-pointer="/name"]', "from-the-form")
    page.click("#job button")
    page.wait_for_url(re.compile("/jobs/[0-9a-f-]{36}$"))
    assert page.inner_text("h1") == "from-the-form"
    job = service.client.job(page.url.rpartition("/")[2])
    assert (job.spec["sparsifier"]["lambda1"], job.spec["train"]["epochs"], job.spec["evaluate"]["images"]) == (
        0.6,
        2,
        100,
    )
    service.client.cancel(job.id)


def test_without_scripts_the_yaml_is_submitted_and_comes_back_when_it_is_wrong(service: Any, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{service.url}/new")
    page.fill("#token", service.token)
    page.press("#token", "Enter")
    page.wait_for_url("**/new")
    assert not page.is_visible("#fields")
    page.fill("#yaml", "dataset: mnist\nmodel: lenet6\n")
    page.click("#job button")
    page.wait_for_selector("#problems >> text=did you mean lenet5?")
    assert page.input_value("#yaml") == "dataset: mnist\nmodel: lenet6\n"
    context.close()


def test_the_api_page_runs_under_the_content_policy(visit: Visit) -> None:
    visit.open("/api")
    visit.page.wait_for_selector("#swagger .opblock")
    assert visit.page.locator("#swagger .opblock").count() > 10


def test_logging_out_ends_the_session(visit: Visit) -> None:
    visit.page.click(".side form[action='/logout'] button")
    visit.page.wait_for_url("**/login")
    visit.page.goto(visit.url + "/jobs")
    assert "/login?next=" in visit.page.url


def test_nothing_went_wrong_in_the_console_and_nothing_left_the_origin(visit: Visit) -> None:
    assert visit.errors == []
