"""A whole run: its events, its files, its resume inside the evaluation, and its errors."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from core.anatomy import Anatomy
from core.blueprint import Blueprint
from core.errors import OutOfMemory
from core.events import (
    Audited,
    Checked,
    CheckpointSaved,
    Compacted,
    Dissected,
    EpochEnded,
    Event,
    Exported,
    Finished,
    PhaseEnded,
    PhaseStarted,
    Progress,
    Scored,
    parse,
)
from core.exporters.safetensors import Safetensors
from core.plan import passes, weigh
from core.run import Place, Resume, run
from core.spec import parse as parse_spec

WHOLE: dict[str, Any] = {
    "dataset": {"name": "fashion_mnist_sample", "images": 192, "validation": 32},
    "threat": {"eps": 0.1},
    "model": {"name": "enresnet", "depth": 8, "members": 2},
    "objective": {"name": "pgd", "steps": 1},
    "sparsifier": {"name": "rgsm", "lambda1": 1.0},
    "train": {
        "epochs": 2,
        "batch_size": 64,
        "lr": 0.1,
        "schedule": {"name": "onecycle"},
        "select": {"metric": "clean"},
    },
    "evaluate": {
        "images": 24,
        "batch_size": 24,
        "paper": {
            "attacks": [
                "fgsm",
                {"name": "ifgsm", "steps": 3},
                {"name": "nattack", "images": 8, "population": 8, "iterations": 4, "checks": 2},
            ]
        },
    },
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    folder = tmp_path_factory.mktemp("run")
    return list(run(parse_spec(WHOLE), Place(folder, folder)))


def of(events: list[Event], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def test_the_phases_come_in_order_and_the_end_is_said(finished: list[Event]) -> None:
    wanted = ["prepare", "train", "compact", "evaluate", "audit", "export"]
    assert [event.phase for event in of(finished, PhaseStarted)] == wanted
    assert [event.phase for event in of(finished, PhaseEnded)] == wanted
    assert isinstance(finished[-1], Finished)


def test_events_survive_json(finished: list[Event]) -> None:
    for event in finished:
        assert parse.validate_json(event.model_dump_json()) == event


def test_the_clean_accuracy_comes_first_and_every_attack_is_scored(finished: list[Event]) -> None:
    scores = of(finished, Scored)
    assert [score.label for score in scores] == ["clean", "fgsm", "ifgsm3", "nattack4"]
    assert [score.images for score in scores] == [24, 24, 24, 8]
    for score in scores:
        assert score.survived.count("1") == score.correct
        assert len(score.survived) == score.images
        assert score.low <= score.accuracy <= score.high


def test_dead_channels_are_removed_for_real_and_the_logits_stay(finished: list[Event]) -> None:
    (small,) = of(finished, Compacted)
    assert small.channel_sparsity > 0
    assert small.channels_after < small.channels_before
    assert small.parameters_after < small.parameters_before
    assert small.macs_after < small.macs_before
    assert small.bytes_after < small.bytes_before
    assert small.logits_difference <= 1e-4
    assert small.logits_difference_noisy <= 1e-4
    assert small.predictions_changed == 0


def test_the_weights_are_pictured_before_the_dead_channels_go(finished: list[Event]) -> None:
    (whole,), (small,) = of(finished, Dissected), of(finished, Compacted)
    assert finished.index(whole) < finished.index(small)
    assert whole.channels == small.channels_before
    assert whole.dead / whole.channels == pytest.approx(small.channel_sparsity)
    assert whole.zeros / whole.weights == pytest.approx(small.weight_sparsity)
    kept = Anatomy.model_validate_json(Path(whole.path).read_bytes())
    assert (kept.weights.n, kept.weights.zeros, kept.norms.count(0)) == (whole.weights, whole.zeros, whole.dead)
    assert (kept.picture.layer, kept.layer(whole.layer).weights.n) == (whole.layer, whole.layer_weights)
    assert whole.layer == "members.0.blocks.2.conv2"


def test_the_exported_file_is_the_compact_network(finished: list[Event]) -> None:
    (exported,), (small,) = of(finished, Exported), of(finished, Compacted)
    net = Safetensors().read(Path(exported.path))
    assert sum(p.numel() for p in net.parameters()) == small.parameters_after
    assert Path(exported.path).stat().st_size == exported.bytes


def test_a_random_network_is_audited_with_its_noise_free_twin(finished: list[Event]) -> None:
    found = [check.check for check in of(finished, Checked)]
    quick = ["repeatable", "eps_0", "eps_0.5", "zero_gradients", "twice_the_steps", "black_box_only"]
    assert found == [*quick, "noise_free_twin"]
    (audited,) = of(finished, Audited)
    verdicts = {check.verdict for check in of(finished, Checked)}
    assert audited.verdict == ("failed" if "failed" in verdicts else "warnings" if "warnings" in verdicts else "passed")


def test_progress_has_an_eta(finished: list[Event]) -> None:
    etas = [event.eta for event in of(finished, Progress)]
    assert any(eta is not None for eta in etas)
    assert all(eta is None or eta >= 0 for eta in etas)


def test_the_plan_counts_23_passes_an_image_for_pgd_10() -> None:
    spec = parse_spec({**WHOLE, "objective": {"name": "pgd", "steps": 10}, "train": {**WHOLE["train"], "select": None}})
    assert passes(spec)["train"] == 2 * 192 * 23


def test_a_network_is_weighed_without_being_built() -> None:
    weight = weigh(parse_spec({"dataset": "cifar10", "model": {"name": "enresnet", "members": 5}}))
    assert weight.parameters == 1_361_410
    assert weight.macs == pytest.approx(5 * 40.8e6, rel=0.01)
    assert weight.memory > 180e6


def test_an_evaluation_goes_on_after_the_last_finished_attack(tmp_path: Path) -> None:
    spec = parse_spec({**WHOLE, "evaluate": {**WHOLE["evaluate"], "audit": "off"}})
    first: list[Event] = []
    stopped = {"now": False}
    for event in run(spec, Place(tmp_path / "a", tmp_path), stop=lambda: "save" if stopped["now"] else None):
        first.append(event)
        stopped["now"] = stopped["now"] or (isinstance(event, Scored) and event.label == "fgsm")
    assert not of(first, Finished)
    saved = of(first, Scored)[-1].checkpoint
    assert saved.phase == "evaluate"
    second = list(run(spec, Place(tmp_path / "b", tmp_path), Resume(Path(saved.path), saved.sha256)))
    assert [score.label for score in of(second, Scored)] == ["ifgsm3", "nattack4"]
    assert [one.sha256 for one in of(second, Dissected)] == [one.sha256 for one in of(first, Dissected)]
    assert not of(second, EpochEnded)
    whole = {score.label: score.survived for score in of(list(run(spec, Place(tmp_path / "c", tmp_path))), Scored)}
    parts = {score.label: score.survived for score in of(first, Scored) + of(second, Scored)}
    assert parts == whole


def test_a_checkpoint_of_another_job_is_refused(tmp_path: Path) -> None:
    spec = parse_spec(WHOLE)
    events = list(run(spec, Place(tmp_path, tmp_path), stop=lambda: "save"))
    saved = of(events, CheckpointSaved)[-1]
    other = copy.deepcopy(WHOLE)
    other["seed"] = 2
    with pytest.raises(ValueError, match="belongs to another specification"):
        list(run(parse_spec(other), Place(tmp_path, tmp_path), Resume(Path(saved.path), saved.sha256)))


def test_running_out_of_memory_names_the_phase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(Blueprint, "build", too_much)
    with pytest.raises(OutOfMemory, match=r"Not enough memory on cpu during prepare: CUDA out of memory.*batch_size"):
        list(run(parse_spec(WHOLE), Place(tmp_path, tmp_path)))
