"""A run that does a phase again: what was found before it stays, what it finds is the same to the bit, and nothing is trained."""

from pathlib import Path
from typing import Any

import pytest

from core import checkpoint
from core.evaluate import FORM
from core.events import Checked, CheckpointSaved, EpochEnded, Event, Exported, Finished, PhaseStarted, Scored
from core.redo import forgetting
from core.run import Place, Resume, run
from core.spec import parse

JOB: dict[str, Any] = {
    "dataset": {"name": "fashion_mnist_sample", "images": 96, "validation": 32},
    "threat": {"eps": 0.1},
    "model": "lenet5",
    "train": {"epochs": 1, "batch_size": 64, "schedule": {"name": "onecycle"}, "select": None, "deterministic": True},
    "evaluate": {"images": 24, "batch_size": 24, "audit": "quick", "paper": {"attacks": ["fgsm"]}},
    "export": ["safetensors", "int8"],
}


def of(events: list[Event], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def saved(events: list[Event]) -> CheckpointSaved:
    kept = [getattr(event, "checkpoint", None) or event for event in events]
    return of(kept, CheckpointSaved)[-1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    folder = tmp_path_factory.mktemp("run")
    return list(run(parse(JOB), Place(folder, folder)))


SCORES = ["trained/clean", "trained/fgsm", "1-int8.int8.safetensors/clean", "1-int8.int8.safetensors/fgsm"]
AGAIN = {"compact": SCORES, "evaluate": SCORES, "audit": SCORES[2:], "export": SCORES[2:]}


@pytest.mark.parametrize("phase", AGAIN)
def test_what_is_done_again_is_the_same_to_the_bit_and_nothing_is_trained(
    whole: list[Event], tmp_path: Path, phase: Any
) -> None:
    last = saved(whole)
    again = list(run(parse(JOB), Place(tmp_path, tmp_path), Resume(Path(last.path), last.sha256, phase)))
    assert isinstance(again[-1], Finished)
    assert "train" not in [event.phase for event in of(again, PhaseStarted)]
    assert of(again, EpochEnded) == []
    first = {f"{one.network}/{one.label}": one for one in of(whole, Scored)}
    found = {f"{one.network}/{one.label}": one for one in of(again, Scored)}
    assert list(found) == AGAIN[phase]
    same = {"survived", "accuracy", "low", "high", "images", "eps", "attack"}
    for name, one in found.items():
        assert one.model_dump(include=same) == first[name].model_dump(include=same)
    assert [one.sha256 for one in of(again, Exported)] == [one.sha256 for one in of(whole, Exported)]
    checks = [] if phase == "export" else [one.value for one in of(whole, Checked)]  # known, and not said again
    assert [one.value for one in of(again, Checked)] == checks


def test_without_a_phase_to_do_again_nothing_is_scored_again(whole: list[Event], tmp_path: Path) -> None:
    last = saved(whole)
    again = list(run(parse(JOB), Place(tmp_path, tmp_path), Resume(Path(last.path), last.sha256)))
    assert of(again, Scored) == []


def test_a_checkpoint_forgets_what_the_phase_and_those_behind_it_found() -> None:
    scored = [{"network": "trained"}, {"network": "1-int8"}]
    tree = {"phase": "export", "net": {}, "scored": scored, "under_way": {"network": "trained"}, "audit": {"checks": 3}}
    assert forgetting(tree, "evaluate") == {"phase": "export", "net": {}, "scored": [], "under_way": None}
    assert forgetting(tree, "audit") == {
        **{key: tree[key] for key in ("phase", "net", "under_way")},
        "scored": scored[:1],
    }
    assert forgetting(tree, "export") == {**tree, "scored": scored[:1]}
    other = {**tree, "under_way": {"network": "1-int8"}}
    assert forgetting(other, "export")["under_way"] is None
    assert tree["scored"] == scored


def test_an_evaluation_that_an_older_version_has_left_begins_anew(whole: list[Event], tmp_path: Path) -> None:
    """Older checkpoints know less of each image, and have no number of their form."""
    known = checkpoint.load(Path(saved(whole).path), saved(whole).sha256)
    assert known["under_way"].pop("form") == FORM
    older = checkpoint.save(tmp_path / "older", "audit-03", known)
    again = list(run(parse(JOB), Place(tmp_path, tmp_path), Resume(older.path, older.sha256)))
    assert isinstance(again[-1], Finished)
    assert [one.accuracy for one in of(again, Scored)] == [one.accuracy for one in of(whole, Scored)]
    assert of(again, EpochEnded) == []
