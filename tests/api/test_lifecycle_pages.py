"""The buttons of a job's page: which there are in which state, what they do, and that a foreign page cannot press them."""

import hashlib
import re
from typing import Any

import pytest
from sqlalchemy.orm import Session

from made import CPU
from store import actions, artifacts, jobs, workers
from store.database import transaction
from store.tables import Job
from store.tokens import log_in

SPEC: dict[str, Any] = {"dataset": "fashion_mnist_sample", "model": "lenet5"}


@pytest.fixture
def page(api, token: str) -> Any:
    """Reads a job's page, or presses one of its buttons, as a browser would."""
    with transaction() as session:
        cookie, csrf = log_in(session, token)
    api.post("/api/v1/jobs", json=SPEC)
    headers = {"Cookie": f"__Host-sparring={cookie}", "Accept": "text/html"}

    def go(verb: str = "", sent: str = csrf, **more: str) -> Any:
        del_authorization = {"Authorization": ""}
        if verb:
            return api.post(f"/jobs/1/{verb}", data={"csrf": sent}, headers=headers | del_authorization | more)
        return api.get("/jobs/1", headers=headers | del_authorization)

    return go


def buttons(html: str) -> list[str]:
    header = html[html.index('id="header"') :]
    return re.findall(r'<button class="btn[^"]*" type="submit" id="(\w+)"', header)


def test_each_state_has_its_buttons_and_each_does_what_it_says(page, database: Session) -> None:
    assert buttons(page().text) == ["pause", "cancel"]
    for verb, after in (("pause", ["resume", "cancel"]), ("resume", ["pause", "cancel"]), ("cancel", ["requeue"])):
        answer = page(verb, **{"HX-Request": "true"})
        assert (answer.status_code, buttons(answer.text)) == (200, after)
    assert page("requeue", **{"HX-Request": "true"}).status_code == 200
    assert [one.verb for one in reversed(actions.page(database, 9))] == [
        "submit",
        "pause",
        "resume",
        "cancel",
        "requeue",
    ]


def test_a_running_job_says_what_it_is_asked_to_do(page, database: Session) -> None:
    worker = workers.register(database, "host", 1, [CPU])
    database.flush()
    claimed = jobs.claim(database, worker)
    database.commit()
    assert buttons(page().text) == ["pause", "cancel"]
    asked = page("pause", **{"HX-Request": "true"}).text
    assert ("is being paused" in asked, buttons(asked)) == (True, ["resume", "cancel"])
    asked = page("cancel", **{"HX-Request": "true"}).text
    assert ("is being cancelled" in asked, buttons(asked)) == (True, ["cancel"])
    with transaction() as session:
        jobs.succeed(session, claimed.job_id, claimed.fence)
    assert buttons(page().text) == []


@pytest.mark.parametrize("verb", ["pause", "resume", "requeue", "cancel"])
def test_a_button_that_another_page_presses_does_nothing(page, database: Session, verb: str) -> None:
    assert page(verb, sent="wrong").status_code == 403
    assert database.query(Job).one().state == "queued"


def test_another_word_is_no_change(page) -> None:
    assert page("explode").status_code in (404, 405, 422)


def test_a_requeue_removes_the_files_of_the_checkpoints_that_it_forgets(page, database: Session, monkeypatch) -> None:
    """As the route does: both are one function."""
    page("cancel")
    job = database.query(Job).one()
    digest, requeue = hashlib.sha256(b"saved").hexdigest(), jobs.requeue
    file = artifacts.place(digest, job.id)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"saved")
    monkeypatch.setattr(jobs, "requeue", lambda *asked: [*requeue(*asked), digest])
    assert page("requeue").status_code == 303
    assert not file.exists()
