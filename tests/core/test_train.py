"""Training: an interrupted run equals an uninterrupted one bit for bit; the best sparse network is chosen."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from core import checkpoint
from core.errors import Cancelled, Diverged
from core.events import CheckpointSaved, EpochEnded, Event, Selected
from core.run import Place, Resume, run
from core.sparsifiers.base import SparseOptimizer
from core.sparsifiers.rvsm import Splitting
from core.spec import JobSpec, parse

TINY: dict[str, Any] = {
    "dataset": {"name": "fashion_mnist_sample", "images": 96, "validation": 32, "augment": "crop_flip"},
    "threat": {"eps": 0.1},
    "model": {"name": "enresnet", "depth": 8, "members": 2},
    "objective": {"name": "pgd", "steps": 1, "craft_batchnorm": "train"},
    "train": {
        "epochs": 4,
        "batch_size": 24,
        "lr": 0.05,
        "deterministic": True,
        "select": {"metric": "pgd1", "draws": 2},
    },
    "evaluate": {"images": 16, "audit": "off"},
    "compact": None,
    "export": [],
}
METHODS = {
    "rvsm": {"name": "rvsm", "lam": 1e-4},
    "rgsm": {"name": "rgsm", "lambda1": 0.9, "lambda2": 1e-4, "pull": "inside_momentum"},
    "admm": {"name": "admm", "structure": "channel", "sparsity": 0.3},
    "thesis": {"name": "admm", "mode": "thesis", "structure": "channel", "sparsity": 0.3},
    "slimming": {"name": "slimming", "s": 1e-2, "share": 0.6},
    "scratch": {"name": "slimming", "then": "scratch", "share": 0.6},
    "l1_filter": {"name": "l1_filter", "share": 0.5, "shares": [0.5, 0.5], "lrs": [1.0, 0.1]},
}
STAGES = {"admm": "admm", "slimming": "finetune", "scratch": "scratch"}
STOPPED = [(method, batches) for method in ("rvsm", "rgsm", "admm") for batches in (2, 4, 11)]
STOPPED += [("thesis", 2), ("slimming", 11), ("scratch", 11), ("l1_filter", 11)]
SPEED = {"images_per_second"}


def spec_of(**changes: Any) -> JobSpec:
    document = copy.deepcopy(TINY)
    for key, value in changes.items():
        document[key] = document.get(key, {}) | value if key == "train" else value
    return parse(document)


def place(folder: Path) -> Place:
    return Place(folder, folder / "data")


def after(batches: int) -> Iterator[str | None]:
    yield from [None] * batches
    while True:
        yield "save"


def epochs(events: list[Event]) -> list[dict[str, Any]]:
    rows = [event for event in events if isinstance(event, EpochEnded)]
    return [
        {**row.model_dump(exclude={"checkpoint"}), "values": {k: v for k, v in row.values.items() if k not in SPEED}}
        for row in rows
    ]


def last_state(events: list[Event]) -> dict[str, Any]:
    saved = [e.checkpoint for e in events if isinstance(e, EpochEnded)][-1]
    return checkpoint.load(Path(saved.path), saved.sha256)


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


@pytest.mark.parametrize(("method", "batches"), STOPPED)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(method: str, batches: int, tmp_path: Path) -> None:
    """Stopped in the middle of an epoch, at its end, and in a later stage: weights, optimiser state and metrics agree."""
    spec = spec_of(sparsifier=METHODS[method])
    whole = list(run(spec, place(tmp_path / "whole")))
    stop = after(batches - 1)
    first = list(run(spec, place(tmp_path / "first"), stop=lambda: next(stop)))
    saved = [event for event in first if isinstance(event, CheckpointSaved)][-1]
    assert (saved.epoch * 4 + saved.batch) == batches
    second = list(run(spec, place(tmp_path / "second"), Resume(Path(saved.path), saved.sha256)))
    assert epochs(first) + epochs(second) == epochs(whole)
    assert equal(last_state(second), last_state(whole))
    assert [e for e in second if isinstance(e, Selected)] == [e for e in whole if isinstance(e, Selected)]
    assert second[-1] == whole[-1]


@pytest.mark.parametrize("method", STAGES)
def test_a_run_that_died_between_two_stages_finalises_the_first_and_goes_on(method: str, tmp_path: Path) -> None:
    spec = spec_of(sparsifier=METHODS[method])
    whole = list(run(spec, place(tmp_path / "whole")))
    first = []
    for event in run(spec, place(tmp_path / "first")):
        first.append(event)
        if isinstance(event, EpochEnded) and event.epoch == 2:
            break
    assert [event.stage for event in whole if isinstance(event, EpochEnded)][1:3] == ["train", STAGES[method]]
    saved = first[-1].checkpoint
    second = list(run(spec, place(tmp_path / "second"), Resume(Path(saved.path), saved.sha256)))
    assert epochs(first) + epochs(second) == epochs(whole)
    assert equal(last_state(second), last_state(whole))


def test_several_interruptions_change_nothing_either(tmp_path: Path) -> None:
    spec = spec_of(sparsifier=METHODS["rgsm"], train={"epochs": 2})
    whole = list(run(spec, place(tmp_path / "whole")))
    resume, found = None, []
    for number in range(9):
        stop = after(0)
        part = list(run(spec, place(tmp_path / str(number)), resume, stop=lambda stop=stop: next(stop)))
        found += part
        saved = [event for event in part if isinstance(event, CheckpointSaved)][-1:]
        saved = saved or [e.checkpoint for e in part if isinstance(e, EpochEnded)][-1:]
        resume = Resume(Path(saved[0].path), saved[0].sha256)
        if saved[0].epoch == 2:
            break
    assert epochs(found) == epochs(whole)
    assert equal(last_state(found), last_state(whole))


def test_the_chosen_network_is_the_best_candidate_and_it_is_sparse(tmp_path: Path) -> None:
    events = list(run(spec_of(sparsifier={"name": "rgsm", "lambda1": 0.9}), place(tmp_path)))
    rows = [event for event in events if isinstance(event, EpochEnded)]
    (selected,) = [event for event in events if isinstance(event, Selected)]
    assert selected.best == max(row.values["validation_pgd1"] for row in rows)
    assert rows[selected.epoch - 1].values["validation_pgd1"] == selected.best
    assert rows[selected.epoch - 1].best
    assert selected.last == rows[-1].values["validation_pgd1"]


def test_networks_that_are_not_sparse_enough_are_not_chosen(tmp_path: Path) -> None:
    select = {"metric": "clean", "sparsity_at_least": 0.99}
    events = list(run(spec_of(sparsifier=METHODS["rgsm"], train={"epochs": 2, "select": select}), place(tmp_path)))
    (selected,) = [event for event in events if isinstance(event, Selected)]
    assert selected.best == -1
    assert selected.epoch == 2, "with no candidate the last network is taken"


def test_only_the_last_stage_has_candidates(tmp_path: Path) -> None:
    """A network pruned hard and trained anew at no rate to speak of is worse than the dense one before; still it is chosen."""
    sparsifier = {"name": "slimming", "then": "scratch", "share": 0.5, "shares": [0.75, 0.25], "lrs": [1.0, 1e-6]}
    train = {"select": {"metric": "clean"}, "lr": 0.1, "epochs": 8}
    events = list(run(spec_of(sparsifier=sparsifier, train=train, objective="natural"), place(tmp_path)))
    rows = [event for event in events if isinstance(event, EpochEnded)]
    (selected,) = [event for event in events if isinstance(event, Selected)]
    assert max(row.values["validation_clean"] for row in rows[:6]) > selected.best
    assert selected.best == max(row.values["validation_clean"] for row in rows[6:])
    assert selected.epoch > 6
    assert rows[0].values["channel_sparsity"] == 0 < rows[-1].values["channel_sparsity"]


def test_where_the_last_stage_has_no_candidate_its_last_network_is_taken(tmp_path: Path, monkeypatch) -> None:
    from core import train

    judged = iter([True, True, False, False])
    monkeypatch.setattr(train, "sparse_enough", lambda net, least: next(judged))
    events = list(run(spec_of(sparsifier=METHODS["slimming"]), place(tmp_path)))
    (selected,) = [event for event in events if isinstance(event, Selected)]
    assert (selected.epoch, selected.best) == (4, -1)
    after = next(e for e in events if isinstance(e, CheckpointSaved) and e.phase == "compact")
    assert channels(checkpoint.load(Path(after.path), after.sha256)["net"]), "the network is the pruned one"


def channels(state: dict[str, torch.Tensor]) -> int:
    """Dead input channels of the convolutions of a state dict."""
    return sum(int((w.flatten(2) == 0).all(2).all(0).sum()) for w in state.values() if w.ndim == 4)


def test_a_schedule_is_followed(tmp_path: Path) -> None:
    train = {"epochs": 3, "schedule": {"name": "multistep", "milestones": [1, 2], "gamma": 0.1}}
    events = list(run(spec_of(train=train), place(tmp_path)))
    rates = [event.values["lr"] for event in events if isinstance(event, EpochEnded)]
    assert rates == pytest.approx([0.05, 0.005, 0.0005])


def test_each_stage_of_admm_runs_through_the_schedule_at_its_own_rate(tmp_path: Path) -> None:
    sparsifier = {"name": "admm", "sparsity": 0.5, "shares": [0.5, 0.25, 0.25], "lrs": [1.0, 0.1, 0.01]}
    train = {"schedule": {"name": "constant"}}
    events = list(run(spec_of(sparsifier=sparsifier, train=train), place(tmp_path)))
    rows = [event for event in events if isinstance(event, EpochEnded)]
    assert [row.stage for row in rows] == ["train", "train", "admm", "finetune"]
    assert [row.values["lr"] for row in rows] == pytest.approx([0.05, 0.05, 0.005, 0.0005])
    assert rows[-1].values["weight_sparsity"] == pytest.approx(0.5, abs=0.01)
    assert rows[0].values["weight_sparsity"] == 0


def test_the_momentum_starts_anew_each_epoch_if_so_set(tmp_path: Path) -> None:
    from core.train import Meter, Trainee, _epoch

    spec = spec_of(train={"momentum_reset": "epoch", "epochs": 2, "select": None})
    splits = spec.dataset.load(tmp_path)
    net = spec.model.create(10, 1, 1)
    (stage,) = spec.sparsifier.stages(2, 0.05)
    optimizer = spec.sparsifier.optimizer(net, spec.train, 4, stage)
    trainee = Trainee(net)
    for _ in _epoch(spec, trainee, splits, tmp_path, lambda: None, optimizer, stage, 0, Meter(4)):
        pass
    before = [state["momentum_buffer"] for state in optimizer.base.state.values()]
    iterator = _epoch(spec, trainee, splits, tmp_path, lambda: None, optimizer, stage, 0, Meter(4))
    next(iterator)
    after_first = [state["momentum_buffer"] for state in optimizer.base.state.values()]
    assert not any(a is b for a, b in zip(before, after_first, strict=True))


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    spec = spec_of(model="lenet5", objective="natural", train={"lr": 100.0, "epochs": 4, "select": None})
    with pytest.raises(Diverged, match=r"Training diverged in epoch \d, batch \d.*A smaller train.lr"):
        list(run(spec, place(tmp_path)))


def test_a_cancelled_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(Cancelled, match="The run was cancelled"):
        list(run(spec_of(), place(tmp_path), stop=lambda: "cancel"))


def test_bf16_trains_and_keeps_fp32_weights(tmp_path: Path) -> None:
    events = list(run(spec_of(train={"precision": "bf16", "epochs": 1}), place(tmp_path)))
    state = last_state(events)
    assert all(value.dtype == torch.float32 for value in state["net"].values() if value.is_floating_point())


def test_weights_that_break_in_the_last_step_of_an_epoch_end_the_run(tmp_path: Path, monkeypatch) -> None:
    def break_them(self: SparseOptimizer) -> None:
        next(self.parameters()).fill_(torch.nan)

    monkeypatch.setattr(Splitting, "end_epoch", break_them)
    spec = spec_of(sparsifier="rvsm", train={"epochs": 1, "select": None})
    with pytest.raises(Diverged, match=r"finite, but not the weights after it"):
        list(run(spec, place(tmp_path)))
