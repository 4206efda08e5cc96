"""The command line's catalogues: families with their members, published tables with their rows and scorecards."""

import json
from typing import Any

from core.family import members
from e2e.test_cli import sparring


def test_every_member_and_its_settings_are_told(service: Any) -> None:
    listed = sparring(service, "members", "sparsifiers")
    assert all(name in listed for name in members("core.sparsifiers"))
    told = sparring(service, "members", "sparsifiers", "rgsm")
    for field in members("core.sparsifiers")["rgsm"].model_fields.keys() - {"name"}:
        assert field in told
    assert "arXiv 2003.00631" in told
    (one,) = json.loads(sparring(service, "members", "models", "lenet5", "--json"))
    assert one["settings"]["properties"]["widths"]["default"] == "6-16-120-84"
    assert "there are natural" in sparring(service, "members", "objectives", "nope", code=3)
    assert "there is no family colours" in sparring(service, "members", "colours", code=2)


def test_every_table_is_listed_and_shown(service: Any) -> None:
    listed = sparring(service, "presets", "ls")
    assert all(f"thesis-{table}" in listed for table in ("3.1", "3.2", *(f"4.{n}" for n in range(1, 9))))
    shown = sparring(service, "presets", "show", "thesis-4.2")
    assert "45.8" in shown
    assert "group-l0" in shown
    assert "There is no preset nope" in sparring(service, "presets", "show", "nope", code=3)


def test_a_scorecard_prints_what_was_published_and_its_json_is_a_list_of_cells(service: Any) -> None:
    printed = sparring(service, "presets", "scorecard", "thesis-4.5")
    for word in ("76.07", "not run", "settings ours", "not comparable", "A5 NAttack: The thesis gives no settings"):
        assert word in printed, word
    cells = json.loads(sparring(service, "presets", "scorecard", "thesis-4.5", "--json"))
    wanted = {"preset", "row", "metric", "reported", "ours", "std", "n", "comparable", "verdict", "jobs"}
    assert all(wanted <= cell.keys() for cell in cells)
    assert {cell["preset"] for cell in cells} == {"thesis-4.5"}
    every = json.loads(sparring(service, "presets", "scorecard", "--json"))
    assert {f"thesis-{table}" for table in ("3.1", "3.2", *(f"4.{n}" for n in range(1, 9)))} <= {
        cell["preset"] for cell in every
    }


def test_rows_are_queued_once(service: Any) -> None:
    queued = json.loads(
        sparring(service, "presets", "run", "thesis-4.2", "--rows", "3", "--ways", "published", "--json")
    )
    (job,) = queued["jobs"]
    assert job["name"] == "thesis-4.2-vgg16-base"
    assert "1 of these jobs were there" in sparring(service, "presets", "run", "thesis-4.2", "--rows", "vgg16-base")
    assert "has no row nope" in sparring(service, "presets", "run", "thesis-4.2", "--rows", "nope", code=4)
    sparring(service, "cancel", job["id"])
