"""An audit that is left goes on behind its last check: nothing is found out twice, and nothing comes out differently."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core import alone, checkpoint
from core.audit import Audit, blackbox
from core.audit.subject import Subject
from core.datasets.base import Split, Splits
from core.evaluate import Evaluation
from core.events import Audited, Checked, CheckpointSaved, Event, Finished, PhaseStarted, Progress, Scored
from core.models.enresnet import FeynmanKacNoise
from core.noise import reseed
from core.run import Place, Resume, run
from core.spec import JobSpec, parse

ATTACK: dict[str, Any] = {"name": "ifgsm", "steps": 20, "step": "1/4000"}
"""Too short to arrive, so that checks fail and the stronger attack is tried."""


class Linear(nn.Module):
    """Classifies by brightness; with noise over the batch where it has a coefficient."""

    def __init__(self, coefficient: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.noise = FeynmanKacNoise(coefficient, "batch") if coefficient else nn.Identity()
        self.layer = nn.Linear(784, 10)

    def forward(self, x: Tensor) -> Tensor:
        return 4 * self.layer(self.noise(x).flatten(1))


class Dropping(Linear):
    """Draws from the global generator, whatever its mode."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(x, 0.5, training=True))


def spec_of(audit: str, **judged: Any) -> JobSpec:
    evaluate = {"images": 16, "audit": audit, "paper": {"attacks": [ATTACK]}, **judged}
    return parse(
        {"dataset": "fashion_mnist_sample", "model": "enresnet", "threat": {"eps": 0.05}, "evaluate": evaluate}
    )


def images(net: nn.Module) -> Splits:
    """Images of which the network is right; the first are attacked, others are for training."""
    split = spec_of("quick").dataset.load(Path()).test.prefix(400)
    reseed(net, "labels")
    y = net(split.batch(0, 400)[0]).argmax(1)
    return Splits(Split(split.x[16:], y[16:]), split, Split(split.x[:16], y[:16]), "")


def evaluated(spec: JobSpec, net: nn.Module, folder: Path) -> tuple[list[Scored], Evaluation]:
    evaluation = Evaluation(spec, net, images(net), folder, [])
    return [event for event in evaluation.run() if isinstance(event, Scored)], evaluation


def of(events: list[Event], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def moments(events: list[Event]) -> Iterator[int]:
    """How many events to wait for: up to the beginning, the middle and the end of each check, and the verdict."""
    ends = [n for n, event in enumerate(events, 1) if not isinstance(event, Progress)]
    for begin, end in zip([0, *ends], ends, strict=False):
        yield from sorted({begin + 1, (begin + end) // 2 + 1, end})


def carried(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The state as it comes out of a file."""
    saved = checkpoint.save(folder, "audit", state)
    return checkpoint.load(saved.path, saved.sha256)


@pytest.mark.parametrize(
    ("net", "level"),
    [(Linear(), "full"), (Linear(0.5), "quick"), (Dropping(), "quick")],
    ids=["full", "random", "undeclared"],
)
def test_wherever_an_audit_is_left_each_check_is_made_once_and_finds_the_same(
    net: nn.Module, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blackbox, "QUERIES", 20)
    spec, splits = spec_of(level), images(net.eval())
    scored, _ = evaluated(spec, net, tmp_path)
    whole = list(Audit(spec, net, splits, scored).run())
    assert level == "quick" or any("PGD with 100 steps" in one.words for one in of(whole, Checked))
    for moment in moments(whole):
        audit = Audit(spec, net, splits, scored)
        first = list(islice(audit.run(), moment))
        rest = list(Audit(spec, net, splits, scored, saved=carried(audit.state, tmp_path)).run())
        assert of(first, Checked) + of(rest, Checked) == of(whole, Checked), f"left after {moment} events"
        assert of(rest, Audited) == of(whole, Audited)


def test_what_several_checks_rest_on_is_not_found_out_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Linear(0.5).eval()
    spec, splits = spec_of("full"), images(net)
    scored, _ = evaluated(spec, net, tmp_path)
    audit = Audit(spec, net, splits, scored)
    list(audit.run())
    assert set(audit.known) == {"foreign", "frozen", "evaluated", "strongest"}

    def again(*_: object) -> None:
        raise AssertionError("it is known")

    for name in ("survival", "differ"):
        monkeypatch.setattr(Subject, name, again)
    monkeypatch.setattr(alone, "frozen", again)
    subject = Subject(spec, net, splits.test, splits.train, scored, carried(audit.state, tmp_path)["known"])
    for found, name in ((subject.evaluated(), "evaluated"), (subject.strongest(), "strongest")):
        with pytest.raises(StopIteration) as stopped:
            next(found)
        assert torch.equal(stopped.value.value, audit.known[name])
    assert alone.constants_of(subject.alone) == audit.known["frozen"]


# ---- in a run

JOB: dict[str, Any] = {
    "dataset": {"name": "fashion_mnist_sample", "images": 96, "validation": 32},
    "threat": {"eps": 0.1},
    "model": "lenet5",
    "train": {"epochs": 1, "batch_size": 32, "schedule": {"name": "onecycle"}, "select": None},
    "evaluate": {"images": 16, "paper": {"attacks": ["fgsm"]}, "audit": "quick"},
    "export": ["safetensors"],
}


def newest(events: list[Event]) -> Resume:
    """The checkpoint that a service would have kept last."""
    kept = [event if isinstance(event, CheckpointSaved) else getattr(event, "checkpoint", None) for event in events]
    last = [one for one in kept if one][-1]
    return Resume(Path(last.path), last.sha256)


def found(events: list[Event]) -> list[Checked]:
    return [one.model_copy(update={"checkpoint": None}) for one in of(events, Checked)]


@pytest.mark.parametrize("wish", ["save", None], ids=["asked", "crashed"])
def test_a_run_left_after_any_event_of_its_audit_repeats_no_check(wish: str | None, tmp_path: Path) -> None:
    spec, place = parse(JOB), Place(tmp_path / "work", tmp_path)
    whole = list(run(spec, place))
    judged = next(n for n, event in enumerate(whole) if isinstance(event, PhaseStarted) and event.phase == "audit")
    begin = newest(whole[:judged])
    assert all(one.checkpoint and one.checkpoint.phase == "audit" for one in of(whole, Checked))
    for moment in range(len(of(whole, Checked))):
        first: list[Event] = []
        events = run(spec, place, begin, lambda: wish if len(of(first, Checked)) > moment else None)
        for event in events:
            first.append(event)
            if wish is None and len(of(first, Checked)) > moment:
                events.close()
        assert len(of(first, Checked)) == moment + 1
        rest = list(run(spec, place, newest(first)))
        assert found(first) + found(rest) == found(whole)
        assert of(rest, Audited) == of(whole, Audited)
        assert isinstance(rest[-1], Finished)


# ---- the constants of noise over the batch

STRICT: dict[str, Any] = {"attacks": [{"name": "pgd", "steps": 2}], "eot": 2, "selection_draws": 2, "judging_draws": 4}


def test_the_audit_goes_by_the_constants_of_the_strict_evaluation_those_of_training_images(tmp_path: Path) -> None:
    net = Linear(0.5).eval()
    splits = images(net)
    spec = spec_of("quick", strict=STRICT, batch_size=32)
    _, evaluation = evaluated(spec, net, tmp_path)
    expected = torch.stack([splits.train.batch(at, 32)[0].std() for at in range(0, 8 * 32, 32)]).mean()
    assert evaluation.frozen == [pytest.approx(float(expected), rel=1e-6)]
    for judged in (spec, spec_of("quick", batch_size=32)):
        subject = Subject(judged, net, splits.test, splits.train, [])
        assert alone.constants_of(subject.alone) == evaluation.frozen
    assert alone.constants_of(Subject(spec, net, splits.test, splits.train, [], {"frozen": [0.25]}).net) == [0.25]


def test_a_run_measures_them_once_for_evaluation_and_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []
    made = alone.frozen
    monkeypatch.setattr(alone, "frozen", lambda *given: measured.append(1) or made(*given))
    judged = {"images": 4, "batch_size": 4, "audit": "quick", "strict": STRICT}
    job = {**JOB, "model": {"name": "enresnet", "depth": 8, "members": 1}, "evaluate": judged}
    events = list(run(parse(job), Place(tmp_path, tmp_path)))
    assert of(events, Audited)
    assert measured == [1]
    saved = newest(events)
    state = checkpoint.load(saved.path, saved.sha256)
    assert state["audit"]["known"]["frozen"] == state["under_way"]["frozen"]
    assert len(state["under_way"]["frozen"]) == 3


def test_an_evaluation_that_goes_on_takes_them_from_its_state(tmp_path: Path) -> None:
    net, spec = Linear(0.5).eval(), spec_of("off", strict=STRICT)
    evaluation, scored = Evaluation(spec, net, images(net), tmp_path, []), []
    for event in evaluation.run():
        scored += of([event], Scored)
        if scored and (scored[-1].protocol, scored[-1].label) == ("strict", "clean"):
            break
    state = carried(evaluation.state, tmp_path)
    assert state["frozen"] == evaluation.frozen
    rest = Evaluation(spec, net, images(net), tmp_path, scored, saved={**state, "frozen": [0.25]})
    assert of(list(rest.run()), Scored)
    assert rest.frozen == alone.constants_of(rest.judged) == [0.25]


def test_an_evaluation_left_while_it_looks_for_the_number_of_draws_looks_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 4, 5, 4), FeynmanKacNoise(8.0, "batch"), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    net, spec = nn.Sequential(*layers).eval(), spec_of("off", strict={**STRICT, "eot": "auto"})
    _, whole = evaluated(spec, net, tmp_path)
    assert whole.eot > 1
    evaluation, scored = Evaluation(spec, net, images(net), tmp_path, []), []
    for event in evaluation.run():
        scored += of([event], Scored)
        if isinstance(event, Progress) and "gradients over" in event.text:
            break
    rest = Evaluation(spec, net, images(net), tmp_path, scored, saved=carried(evaluation.state, tmp_path))
    list(rest.run())
    assert rest.eot == whole.eot
