"""A lossy export is another network: the run judges what it wrote as it judged the trained one, and can stop in between."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from core import run as run_module
from core.accuracy import Trial
from core.errors import Cancelled
from core.events import (
    TRAINED,
    Audited,
    Checked,
    CheckpointSaved,
    Event,
    Exported,
    Finished,
    Phase,
    PhaseStarted,
    Progress,
    Scored,
)
from core.exporters.int8 import Int8
from core.plan import passes
from core.run import Place, Resume, run
from core.spec import parse

JOB: dict[str, Any] = {
    "dataset": {"name": "fashion_mnist_sample", "images": 96, "validation": 32},
    "threat": {"eps": 0.1},
    "model": {"name": "enresnet", "depth": 8, "members": 2},
    "sparsifier": {"name": "rgsm", "lambda1": 1.0},
    "train": {"epochs": 1, "batch_size": 64, "schedule": {"name": "onecycle"}, "select": None},
    "evaluate": {
        "images": 24,
        "batch_size": 24,
        "audit": "off",
        "paper": {"attacks": ["fgsm", {"name": "nattack", "images": 8, "population": 8, "iterations": 3, "checks": 2}]},
    },
    "export": ["safetensors", {"name": "int8", "layout": "dense"}, "int8"],
}
LABELS = ["clean", "fgsm", "nattack3"]
FILES = ["1-int8.int8.safetensors", "2-int8.int8.safetensors"]


def of(events: list[Event], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def scores(events: list[Event], network: str) -> list[Scored]:
    return [one for one in of(events, Scored) if one.network == network]


def checkpoints(events: list[Event]) -> list[CheckpointSaved]:
    kept = [event.checkpoint if isinstance(event, Scored) else event for event in events]
    return [one for one in kept if isinstance(one, CheckpointSaved)]


def resumed(whole: list[Event], phase: Phase, place: Place, **more: Any) -> Iterator[Event]:
    """The run again, from the last checkpoint of a phase."""
    saved = checkpoints(during(whole, phase))[-1]
    return run(parse(JOB), place, Resume(Path(saved.path), saved.sha256), **more)


def during(events: list[Event], phase: Phase) -> list[Event]:
    starts = [n for n, event in enumerate(events) if isinstance(event, PhaseStarted)]
    (first,) = [n for n in starts if events[n].phase == phase]
    return events[first : min((n for n in starts if n > first), default=len(events))]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    folder = tmp_path_factory.mktemp("run")
    return list(run(parse(JOB), Place(folder, folder)))


def test_every_lossy_file_is_scored_under_every_attack_and_only_after_it_is_written(whole: list[Event]) -> None:
    assert isinstance(whole[-1], Finished)
    for network in (TRAINED, *FILES):
        found = scores(whole, network)
        assert [one.label for one in found] == LABELS
        assert [(one.images, len(one.survived)) for one in found] == [(24, 24), (24, 24), (8, 8)]
    told = [Path(one.path).name if isinstance(one, Exported) else one.network for one in of(whole, Exported | Scored)]
    assert told == [TRAINED] * 3 + ["0-safetensors.safetensors"] + [FILES[0]] * 4 + [FILES[1]] * 4


def test_what_is_judged_is_the_network_in_the_file(whole: list[Event], monkeypatch, tmp_path: Path) -> None:
    judged: dict[str, nn.Module] = {}

    class Noting:
        def __init__(self, _spec, net: nn.Module, _splits, _work, _done, network: str, _saved, _load) -> None:
            judged[network], self.state, self.finished = net, None, False

        def run(self) -> Iterator[Event]:
            yield from ()

    monkeypatch.setattr(run_module, "Evaluation", Noting)
    for exported in of(list(resumed(whole, "evaluate", Place(tmp_path, tmp_path))), Exported)[1:]:
        path, trained = Path(exported.path), judged[TRAINED].state_dict()
        written, found = Int8().read(path).state_dict(), judged[path.name].state_dict()
        assert all(torch.equal(value, written[name]) for name, value in found.items())
        assert not all(torch.equal(value, trained[name]) for name, value in found.items())
    assert list(judged) == [TRAINED, *FILES]


def test_it_is_judged_with_the_images_and_the_noise_of_the_trained_network(whole: list[Event]) -> None:
    spec, (_, file, _) = parse(JOB), of(whole, Exported)
    test = spec.dataset.load(Path(file.path)).test.prefix(24)
    for attack, label in ((None, "clean"), (spec.evaluate.paper.attacks[0], "fgsm")):
        trial = Trial(Int8().read(Path(file.path)), test, attack, 24, ("paper", label, spec.seed))
        assert list(trial)[-1] == 1
        (found,) = [one for one in scores(whole, FILES[0]) if one.label == label]
        assert found.survived == "".join("1" if ok else "0" for ok in trial.right[0].tolist())


def test_a_file_says_what_it_saves_and_how_far_it_is_from_the_network(whole: list[Event]) -> None:
    plain, dense, small = of(whole, Exported)
    assert plain.bytes_fp32 == dense.bytes_fp32 == small.bytes_fp32 == plain.bytes
    assert small.bytes <= dense.bytes < plain.bytes
    assert plain.logits_difference == 0 < dense.logits_difference == small.logits_difference


def test_the_audit_looks_at_the_trained_network_alone(monkeypatch, tmp_path: Path) -> None:
    """Also where a resumed run knows the scores of exports already."""
    seen: list[tuple[nn.Module, list[Scored]]] = []
    made = run_module.Audit
    monkeypatch.setattr(
        run_module,
        "Audit",
        lambda spec, net, splits, scored, *more: seen.append((net, scored)) or made(spec, net, splits, scored, *more),
    )
    spec = parse(
        {**JOB, "model": "lenet5", "export": ["int8"], "evaluate": {"images": 24, "paper": {"attacks": ["fgsm"]}}}
    )
    first = list(run(spec, Place(tmp_path / "a", tmp_path)))
    saved = checkpoints(first)[-1]
    again = list(run(spec, Place(tmp_path / "b", tmp_path), Resume(Path(saved.path), saved.sha256)))
    assert [(one.network, one.label) for _, found in seen for one in found] == 2 * [
        (TRAINED, "clean"),
        (TRAINED, "fgsm"),
    ]
    assert of(again, Scored) == []
    assert of(first, Checked) != []
    assert of(again, Checked) == [], "no check is made twice"
    assert of(again, Audited) == of(first, Audited)
    assert [one.sha256 for one in of(again, Exported)] == [one.sha256 for one in of(first, Exported)]


def test_a_run_that_left_while_an_export_was_judged_goes_on_after_the_last_finished_attack(
    whole: list[Event], tmp_path: Path
) -> None:
    first: list[Event] = []
    left = {"now": False}
    place = Place(tmp_path / "a", tmp_path)
    for event in resumed(whole, "evaluate", place, stop=lambda: "save" if left["now"] else None):
        first.append(event)
        left["now"] = left["now"] or (isinstance(event, Scored) and (event.network, event.label) == (FILES[0], "fgsm"))
    assert not of(first, Finished)
    saved = checkpoints(first)[-1]
    assert saved.phase == "export"
    second = list(run(parse(JOB), Place(tmp_path / "b", tmp_path), Resume(Path(saved.path), saved.sha256)))
    assert [(one.network, one.label) for one in of(second, Scored)] == [(FILES[0], "nattack3")] + [
        (FILES[1], label) for label in LABELS
    ]
    parts = {(one.network, one.label): one.survived for one in of(first, Scored) + of(second, Scored)}
    assert parts == {(one.network, one.label): one.survived for one in of(whole, Scored) if one.network != TRAINED}


def test_a_cancel_is_obeyed_while_an_export_is_judged(whole: list[Event], tmp_path: Path) -> None:
    place = Place(tmp_path, tmp_path)
    seen: list[Event] = []

    def watch() -> None:
        for event in resumed(whole, "evaluate", place, stop=lambda: "cancel" if of(seen, Exported)[1:] else None):
            seen.append(event)

    with pytest.raises(Cancelled):
        watch()
    assert of(seen, Exported)[1:]
    assert of(seen, Scored) == []


def test_progress_goes_through_the_phase_once_however_many_files_are_judged(whole, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("core.plan.SECONDS_BETWEEN", 0)
    again = list(resumed(whole, "evaluate", Place(tmp_path, tmp_path)))
    told = [(one.done, one.total) for one in of(during(again, "export"), Progress)]
    assert told == sorted(told)
    assert told[-1] == (6, 6)
    assert {one.phase for one in of(during(again, "export"), Progress)} == {"export"}


def test_the_plan_counts_the_judging_of_each_lossy_file() -> None:
    plain, lossy = passes(parse({**JOB, "export": ["safetensors"]})), passes(parse(JOB))
    assert plain["export"] == 0
    assert lossy["export"] == 2 * lossy["evaluate"] == 2 * plain["evaluate"] > 0


def test_a_checkpoint_without_names_of_networks_is_of_the_trained_one() -> None:
    old = {"kind": "scored", "protocol": "paper", "label": "clean", "attack": {}, "eps": 0, "steps": 0, "restarts": 0}
    old |= {"draws": 1, "images": 1, "correct": 1, "accuracy": 1, "low": 0.2, "high": 1, "seconds": 1, "survived": "1"}
    assert Scored.model_validate(old).network == TRAINED
