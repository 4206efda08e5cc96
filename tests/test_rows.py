"""`make rows`: every row once, the quick ones five times, each log whole, none run twice, and a killed run done again."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from core import eventlog
from core.events import Finished, PhaseEnded
from core.presets import Preset

TABLE: dict[str, Any] = {
    "title": "small",
    "source": "these tests",
    "columns": {"A1": {"title": "clean", "metric": "clean"}},
    "spec": {"dataset": "mnist", "model": "lenet5"},
    "rows": [
        {"id": "quick", "setting": "quick"},
        {"id": "slow", "setting": "slow", "spec": {"train": {"epochs": 300}}},
    ],
}
PRESETS = {"small": Preset.model_validate(TABLE)}


@pytest.fixture
def rows(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with runs that take as long as they say and compute nothing."""
    spec = importlib.util.spec_from_file_location("rows", root / "benchmarks/rows.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.ran = []

    def pretended(spec: Any, place: Any) -> Any:
        module.ran.append(spec.seed)
        yield PhaseEnded(phase="train", seconds=400.0 if spec.train.epochs == 300 else 200.0)
        yield Finished()

    monkeypatch.setattr(module, "run", pretended)
    monkeypatch.setattr(module, "PRESETS", tmp_path)
    return module


def keep_all(rows: ModuleType, folder: Path) -> list[tuple[str, int]]:
    done = []
    for name, one in rows.wanted(PRESETS, folder):
        if rows.keep(eventlog.place(folder, name, one), one, Path("data"), "cpu"):
            done.append((one.row, one.seed))
    return done


def test_every_row_runs_once_and_quick_ones_five_times(rows: ModuleType, tmp_path: Path) -> None:
    assert keep_all(rows, tmp_path) == [("quick", 1), ("slow", 1), *(("quick", seed) for seed in (2, 3, 4, 5))]
    assert keep_all(rows, tmp_path) == []
    assert sorted(path.suffix for path in (tmp_path / "small").iterdir()) == [".jsonl"] * 6
    assert len(eventlog.outcomes(eventlog.kept(tmp_path), PRESETS["small"])) == 6


def test_a_run_that_was_killed_is_done_again_from_its_start(
    rows: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = PRESETS["small"].planned(1, frozenset({"quick"}))
    path = eventlog.place(tmp_path, "small", one)

    def killed(spec: Any, place: Any) -> Any:
        yield PhaseEnded(phase="prepare", seconds=1.0)
        raise KeyboardInterrupt

    whole = rows.run
    monkeypatch.setattr(rows, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        rows.keep(path, one, Path("data"), "cpu")
    assert not path.exists()
    assert path.with_suffix(".part").exists()
    monkeypatch.setattr(rows, "run", whole)
    assert rows.keep(path, one, Path("data"), "cpu")
    assert [json.loads(line).get("kind") for line in path.read_text().splitlines()] == [None, "phase_ended", "finished"]


def test_two_at_a_time_do_not_run_the_same_row(
    rows: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = PRESETS["small"].planned(1, frozenset({"quick"}))
    path, met = eventlog.place(tmp_path, "small", one), []

    def meanwhile(spec: Any, place: Any) -> Any:
        monkeypatch.setattr(rows, "run", meanwhile_not)
        met.append(rows.keep(path, one, Path("data"), "cpu"))
        yield Finished()

    def meanwhile_not(spec: Any, place: Any) -> Any:
        raise AssertionError("somebody is at it")

    monkeypatch.setattr(rows, "run", meanwhile)
    assert rows.keep(path, one, Path("data"), "cpu")
    assert met == [False]
    assert not rows.keep(path, one, Path("data"), "cpu"), "there is a log by now"


def test_what_has_a_log_elsewhere_is_not_run(rows: ModuleType, tmp_path: Path) -> None:
    (one,) = PRESETS["small"].planned(1, frozenset({"slow"}))
    rows.keep(eventlog.place(tmp_path, "elsewhere", one), one, Path("data"), "cpu")
    assert [(found.row, found.seed) for _, found in rows.wanted(PRESETS, tmp_path)] == [("quick", 1)]
