"""The record of promises: rows merge by promise, and the page says what the rows say."""

import json

from promises import record
from promises.keep import files, promised
from promises.table import PROMISES


def row(name: str, figure: str) -> dict:
    return record.row(name, [{"figure": figure, "met": True, "repetitions": {"kills": 3}}])


def test_a_newer_row_replaces_the_older_of_its_promise_and_leaves_the_others() -> None:
    old = [row("P1", "old"), row("P3", "kept")]
    merged = record.merge([row("P1", "new"), row("P2", "first")], old)
    assert [(one["promise"], one["figure"]) for one in merged] == [("P1", "new"), ("P2", "first"), ("P3", "kept")]


def test_a_promise_is_kept_if_each_of_its_tests_says_so() -> None:
    parts = [
        {"figure": "a", "met": True, "repetitions": {"x": 1}},
        {"figure": "b", "met": False, "repetitions": {"y": 2}},
    ]
    found = record.row("P5", parts)
    assert (found["figure"], found["met"], found["repetitions"]) == ("a; b", False, {"x": 1, "y": 2})


def test_a_promise_that_was_never_tried_stands_on_the_page_as_unmeasured() -> None:
    lines = [line for line in record.page([row("P1", "0 lost")]).splitlines() if line.startswith("| P")]
    assert len(lines) == len(PROMISES)
    assert "| 0 lost | yes |" in lines[0]
    assert all("| unmeasured |" in line for line in lines[1:])


def test_the_page_of_the_record_is_made_of_its_rows() -> None:
    rows = record.read()
    assert record.PAGE.read_text() == record.page(rows), "make promises writes both"
    assert rows == record.merge([], rows)
    assert json.loads(record.ROWS.read_text()) == rows


def test_a_test_names_its_promise() -> None:
    assert promised("tests/promises/test_broker.py::test_p05_all_jobs_run[x]") == "P5"
    assert promised("tests/e2e/test_up.py::test_it_starts") == "P27"
    assert promised("tests/promises/test_record.py::test_the_record") == ""


def test_each_promise_has_a_test_but_the_one_about_tests() -> None:
    assert [name for name in PROMISES if not files([name])] == ["P30"]
