"""Verdicts follow from numbers: by scipy's t, by Wilson's interval, and by what validation chose."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from core.intervals import wilson
from core.presets import Preset
from core.scorecard import Cell, Outcome, Verdict, outcome, scorecard, summary

TABLE: dict[str, Any] = {
    "title": "a table",
    "source": "somebody",
    "columns": {
        "A1": {"title": "clean", "metric": "clean"},
        "A5": {"title": "NAttack", "metric": "nattack400", "comparable": "settings ours", "why": "no settings"},
        "sp": {"title": "channels", "metric": "channel_sparsity"},
    },
    "spec": {"dataset": "mnist", "model": "lenet5"},
    "rows": [
        {"id": "dense", "setting": "dense", "reported": {"A1": 90.0, "sp": 0.0}},
        {
            "id": "one",
            "setting": "one",
            "reported": {"A1": 90.0, "A5": 50.0, "sp": 40.0},
            "configurations": {"published": {}, "ours": {"sparsifier": "rgsm"}},
        },
        {"id": "faulty", "setting": "faulty", "reported": {"A1": 90.0, "sp": 4.0}, "ranked": False, "note": "a fault"},
    ],
}
PRESET = Preset.model_validate(TABLE)


def a_run(clean: float, sparsity: float = 50.0, seed: int = 1, **more: Any) -> Outcome:
    made: dict[str, Any] = {"row": "one", "configuration": "published", "source": f"job {seed}", "validation": 0.5}
    values = {"clean": clean, "nattack400": 10.0, "channel_sparsity": sparsity}
    return Outcome(**made | {"seed": seed, "values": values, "images": {"clean": 10_000}, "chance": 10.0} | more)


def cells(*runs: Outcome, row: str = "one") -> dict[str, Cell]:
    return {cell.metric: cell for cell in scorecard("table", PRESET, runs) if cell.row == row}


def test_a_summary_is_numpys_and_its_bounds_are_scipys() -> None:
    values = [90.1, 91.7, 89.2, 90.9]
    found = summary(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.std == pytest.approx(np.std(values, ddof=1))
    both = stats.t.interval(0.90, 3, np.mean(values), stats.sem(values))  # two-sided 90 % = one-sided 95 % each
    assert (found.bound(-1), found.bound(1)) == pytest.approx(both)
    assert (summary([90.0]).std, summary([90.0]).bound(1)) == (None, None)


@pytest.mark.parametrize(
    ("accuracies", "verdict"),
    [
        ([91.0, 91.1, 91.2], "beaten"),  # the lower bound is 90.9
        ([90.0, 90.6], "met"),  # above, but the lower bound is 88.4
        ([89.0], "met"),  # one point below is met
        ([95.0], "met"),  # one seed beats nothing
        ([88.9, 88.0, 89.0], "undecided"),  # the upper bound is 89.6
        ([85.0, 85.1, 85.2], "missed"),
        ([88.9], "undecided"),  # Wilson's upper end on 10,000 images is 89.5
        ([80.0], "missed"),
    ],
)
def test_the_verdict_of_an_accuracy(accuracies: list[float], verdict: Verdict) -> None:
    found = cells(*(a_run(value, seed=seed) for seed, value in enumerate(accuracies, 1)))
    assert found["A1"].verdict == verdict
    assert found["A1"].n == len(accuracies)


def test_one_seed_is_judged_by_the_interval_of_its_images() -> None:
    few, many = (wilson(round(0.882 * images), images).high for images in (400, 10_000))
    assert few > 0.89 > many, "the case distinguishes the two"
    assert cells(a_run(88.25, images={"clean": 400}))["A1"].verdict == "undecided"
    assert cells(a_run(88.2, images={"clean": 10_000}))["A1"].verdict == "missed"


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [
        ([40.0], "met"),
        ([39.996], "met"),
        ([39.99], "missed"),
        ([41.0, 41.1], "beaten"),
        ([39.997, 39.997], "beaten"),
        ([20.0, 70.0], "met"),
    ],
)
def test_a_sparsity_must_reach_what_was_printed_but_for_its_rounding(shares: list[float], verdict: Verdict) -> None:
    runs = (a_run(90.0, share, seed) for seed, share in enumerate(shares, 1))
    assert cells(*runs)["sp"].verdict == verdict


def test_what_does_not_compare_gets_no_verdict_and_decides_nothing() -> None:
    found = cells(a_run(90.0))
    assert (found["A5"].verdict, found["A5"].why, found["A5"].difference) == (None, "no settings", -40.0)
    assert found["A1"].row_verdict == "met"


def test_a_row_is_as_good_as_its_worst_number() -> None:
    assert cells(a_run(91.0, seed=1), a_run(91.1, seed=2))["A1"].row_verdict == "beaten"
    assert cells(a_run(91.0, 30.0, seed=1), a_run(91.1, 30.0, seed=2))["A1"].row_verdict == "missed"
    assert cells()["A1"].row_verdict is None


def test_a_row_with_a_number_still_missing_has_no_verdict() -> None:
    found = cells(a_run(91.0, values={"clean": 91.0}))
    assert (found["A1"].verdict, found["sp"].verdict, found["A1"].row_verdict) == ("met", None, None)


def test_of_several_configurations_validation_chooses_and_the_test_set_has_no_say() -> None:
    better_on_test = a_run(95.0, validation=0.5)
    better_on_validation = a_run(85.0, configuration="ours", validation=0.6)
    found = cells(better_on_test, better_on_validation)
    assert (found["A1"].ours, found["A1"].configuration, found["A1"].verdict) == (85.0, "ours", "missed")


def test_a_configuration_that_is_sparse_enough_comes_first() -> None:
    too_dense = a_run(95.0, 10.0, validation=0.9)
    sparse = a_run(90.0, 40.0, configuration="ours", validation=0.5)
    assert cells(too_dense, sparse)["A1"].configuration == "ours"


def test_a_collapsed_run_is_counted_and_never_averaged() -> None:
    found = cells(a_run(19.9, seed=1), a_run(90.0, seed=2))
    assert (found["A1"].ours, found["A1"].n, found["A1"].collapsed) == (90.0, 1, 1)
    assert found["A1"].jobs == ["job 1", "job 2"]
    assert not a_run(20.0).collapsed


def test_configurations_with_fewer_collapsed_runs_come_first() -> None:
    lucky = [a_run(95.0, validation=0.91, seed=1), *(a_run(10.0, seed=seed) for seed in (2, 3))]
    steady = [a_run(91.0, validation=0.90, configuration="ours", seed=seed) for seed in (1, 2)]
    assert cells(*lucky, *steady)["A1"].configuration == "ours"


def test_a_diverged_run_has_no_figures_and_is_collapsed() -> None:
    assert a_run(0.0, values={}, images={}).collapsed


def test_no_sparsity_at_all_is_nothing_to_reach() -> None:
    found = cells(a_run(91.0, 0.0, row="dense", seed=1), a_run(91.1, 0.0, row="dense", seed=2), row="dense")
    assert (found["sp"].verdict, found["sp"].judged, found["A1"].row_verdict) == (None, False, "beaten")


def test_a_faulty_baseline_is_shown_and_never_ranked() -> None:
    found = cells(a_run(99.0, row="faulty"), row="faulty")
    assert (found["A1"].ours, found["A1"].verdict, found["A1"].row_verdict) == (99.0, None, None)
    assert (found["A1"].comparable, found["A1"].why) == ("no", "a fault")


def test_an_outcome_is_read_from_the_bodies_of_events() -> None:
    scored = [
        {"protocol": "paper", "label": "clean", "accuracy": 0.9, "images": 100},
        {"protocol": "strict", "label": "clean", "accuracy": 0.1, "images": 100},
        {"protocol": "paper", "label": "clean", "accuracy": 0.2, "images": 100, "network": "1-int8"},
    ]
    found = outcome(("a", "b", 3), "job", 10, scored, {"channel_sparsity": 0.25, "weight_sparsity": 0.5}, None)
    assert found.values == pytest.approx({"clean": 90.0, "channel_sparsity": 25.0, "weight_sparsity": 50.0})
    assert (found.images, found.validation, found.chance) == ({"clean": 100}, -1.0, 10.0)
