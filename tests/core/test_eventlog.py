"""A run in a file counts for the row whose specification it has, and for no other."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import eventlog
from core.errors import Diverged
from core.events import Event, PhaseStarted
from core.presets import Planned, Preset
from core.run import Place, run

TABLE: dict[str, Any] = {
    "title": "small",
    "source": "these tests",
    "columns": {"A1": {"title": "clean", "metric": "clean"}},
    "spec": {
        "dataset": {"name": "fashion_mnist_sample", "images": 128, "validation": 32},
        "model": "lenet5",
        "sparsifier": {"name": "rgsm", "lambda1": 1.0},
        "train": {"epochs": 1, "batch_size": 64, "select": {"metric": "clean"}},
        "evaluate": {"images": 16, "audit": "off"},
    },
    "rows": [{"id": "one", "setting": "one"}],
}
PRESET = Preset.model_validate(TABLE)
(PLANNED,) = PRESET.planned(1)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = io.StringIO()
    place = Place(tmp_path_factory.mktemp("run"), Path("nowhere"))
    eventlog.write(file, PLANNED, {"model": "a processor"}, run(PLANNED.spec, place))
    return file.getvalue()


def kept(folder: Path, text: str, planned: Planned = PLANNED) -> Path:
    path = eventlog.place(folder, "small", planned)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_log_gives_what_the_run_gave(text: str, tmp_path: Path) -> None:
    kept(tmp_path, text)
    (found,) = eventlog.outcomes(eventlog.kept(tmp_path), PRESET)
    events = {event["kind"]: event for event in map(json.loads, text.splitlines()[1:])}
    assert found.values["clean"] == 100 * events["scored"]["accuracy"]
    assert found.values["channel_sparsity"] == 100 * events["compacted"]["channel_sparsity"]
    assert found.validation == events["selected"]["best"]
    assert (found.row, found.configuration, found.seed) == ("one", "published", 1)


def test_a_log_names_its_specification_and_machine_and_no_path(text: str) -> None:
    head, *events = map(json.loads, text.splitlines())
    assert head["digest"] == PLANNED.spec.digest
    assert head["machine"] == {"model": "a processor"}
    assert [event["kind"] for event in events][-1] == "finished"
    assert not {"progress", "checkpoint_saved"} & {event["kind"] for event in events}
    assert not any({"path", "series", "checkpoint"} & event.keys() for event in events)


def test_a_log_counts_in_every_table_that_asks_for_the_same(text: str, tmp_path: Path) -> None:
    kept(tmp_path, text)
    rows = [{"id": "elsewhere", "setting": "the same under another name"}]
    (found,) = eventlog.outcomes(eventlog.kept(tmp_path), Preset.model_validate(TABLE | {"rows": rows}))
    assert (found.row, found.source) == ("elsewhere", "presets/results/small/one.published.seed1.jsonl")


def test_a_run_that_diverges_leaves_a_log_and_counts_as_collapsed(tmp_path: Path) -> None:
    def diverging() -> Iterator[Event]:
        yield PhaseStarted(phase="train", epochs=1)
        raise Diverged(1, 50, "nan")

    file = io.StringIO()
    eventlog.write(file, PLANNED, {}, diverging())
    kept(tmp_path, file.getvalue())
    (found,) = eventlog.outcomes(eventlog.kept(tmp_path), PRESET)
    assert (found.collapsed, found.values) == (True, {})


def test_a_log_of_another_specification_does_not_count(text: str, tmp_path: Path) -> None:
    kept(tmp_path, text)
    other = Preset.model_validate(
        TABLE | {"spec": TABLE["spec"] | {"model": {"name": "lenet5", "widths": "20-50-500"}}}
    )
    assert eventlog.outcomes(eventlog.kept(tmp_path), other) == []
    changed = text.replace('"lambda1": 1.0', '"lambda1": 1.5')
    assert changed != text
    kept(tmp_path, changed)
    assert eventlog.outcomes(eventlog.kept(tmp_path), PRESET) == []


def test_a_log_that_ends_early_or_is_no_longer_valid_does_not_count(text: str, tmp_path: Path) -> None:
    kept(tmp_path, "\n".join(text.splitlines()[:-1]))
    assert eventlog.outcomes(eventlog.kept(tmp_path), PRESET) == []
    kept(tmp_path, text.replace('"lambda1": 1.0', '"lambda1": -1.0'))
    assert eventlog.outcomes(eventlog.kept(tmp_path), PRESET) == []
