"""A job of kind evaluate: the network that another run has left is read, judged and audited; nothing is trained."""

from pathlib import Path
from typing import Any

import pytest
import torch

from core import stored
from core.blueprint import Blueprint
from core.errors import InvalidSpec, Mismatch, UnreadableModel
from core.events import CheckpointSaved, Event, Exported, Finished, PhaseStarted, Progress, Scored, Witnessed
from core.exporters.safetensors import Safetensors
from core.files import sha256
from core.plan import passes, weigh
from core.run import Place, Resume, run
from core.spec import EvaluateSpec, JobSpec, parse, parse_network
from core.spec import stored as stored_spec

JUDGED: dict[str, Any] = {
    "images": 24,
    "batch_size": 12,
    "audit": "off",
    "paper": {"attacks": ["fgsm"]},
    "strict": {"images": 16, "eot": 2, "selection_draws": 2, "judging_draws": 4, "attacks": [{"name": "pgd", "steps": 2}]},
}  # fmt: skip
TRAINING: dict[str, Any] = {
    "dataset": {"name": "fashion_mnist_sample", "images": 96, "validation": 32},
    "threat": {"eps": 0.1},
    "model": {"name": "enresnet", "depth": 8, "members": 2},
    "sparsifier": {"name": "rgsm", "lambda1": 1.0},
    "train": {"epochs": 1, "batch_size": 64, "schedule": {"name": "onecycle"}, "select": None},
    "evaluate": JUDGED,
    "export": ["safetensors", "int8"],
}


def of(events: list[Event], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def evaluation(digest: str, **changes: Any) -> EvaluateSpec:
    document = {"kind": "evaluate", "network": {"sha256": digest}, **{k: TRAINING[k] for k in ("dataset", "threat")}}
    job = parse({**document, "evaluate": JUDGED, **changes})
    assert isinstance(job, EvaluateSpec)
    return job


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    folder = tmp_path_factory.mktemp("trained")
    return list(run(parse(TRAINING), Place(folder, folder)))


def place(trained: list[Event], folder: Path) -> Place:
    kept = {one.sha256: Path(one.path) for one in of(trained, Exported)}
    return Place(folder, folder, models=kept.__getitem__)


def outcomes(events: list[Event], network: str = "trained") -> dict[tuple[str, str], tuple[str, float]]:
    found = [one for one in of(events, Scored) if one.network == network]
    return {(one.protocol, one.label): (one.survived, one.accuracy) for one in found}


def test_a_stored_network_is_judged_as_the_run_that_trained_it_judged_it(trained: list[Event], tmp_path: Path) -> None:
    plain, small = of(trained, Exported)
    events = list(run(evaluation(plain.sha256), place(trained, tmp_path)))
    assert [one.phase for one in of(events, PhaseStarted)] == ["prepare", "evaluate"]
    assert isinstance(events[-1], Finished)
    assert set(outcomes(events)) == {("paper", "clean"), ("paper", "fgsm"), ("strict", "clean"), ("strict", "pgd2"), ("strict", "worst_case")}  # fmt: skip
    assert outcomes(events) == outcomes(trained)
    again = list(run(evaluation(small.sha256), place(trained, tmp_path)))
    assert outcomes(again) == outcomes(trained, Path(small.path).name), "a file in 8 bits is read as such"


def test_the_audit_is_run_where_it_is_asked_for(trained: list[Event], tmp_path: Path) -> None:
    job = evaluation(of(trained, Exported)[0].sha256, evaluate={"images": 12, "audit": "quick"})
    phases = [one.phase for one in of(list(run(job, place(trained, tmp_path))), PhaseStarted)]
    assert phases == ["prepare", "evaluate", "audit"]


def test_it_goes_on_where_it_was_left_and_ends_with_the_same_numbers(trained: list[Event], tmp_path: Path) -> None:
    job = evaluation(of(trained, Exported)[0].sha256)
    whole = list(run(job, place(trained, tmp_path / "whole")))
    first: list[Event] = []
    wish = {"now": False}
    for event in run(job, place(trained, tmp_path / "first"), stop=lambda: "save" if wish["now"] else None):
        first.append(event)
        wish["now"] = wish["now"] or (isinstance(event, Progress) and "pgd2" in event.text)
    saved = of(first, CheckpointSaved)[-1]
    assert (saved.phase, saved.epoch) == ("evaluate", 0)
    assert not of(first, Finished)
    rest = list(run(job, place(trained, tmp_path / "rest"), Resume(Path(saved.path), saved.sha256)))
    assert {**outcomes(first), **outcomes(rest)} == outcomes(whole)
    assert not outcomes(first).keys() & outcomes(rest).keys()
    digests = {one.label: one.sha256 for one in of(whole, Witnessed)}
    assert {one.label: one.sha256 for one in of(first + rest, Witnessed)} == digests


def test_its_digest_is_of_the_file_and_not_of_the_job_that_made_it() -> None:
    by_file = evaluation("0" * 64)
    job = "01890a5d-ac96-774b-bcce-b302099a8057"
    by_both = evaluation("0" * 64, network={"sha256": "0" * 64, "job": job}, name="another")
    assert by_file.digest == by_both.digest
    assert by_file.digest != evaluation("1" * 64).digest
    assert by_file.digest != evaluation("0" * 64, threat={"eps": 0.2}).digest


def test_it_survives_json_and_its_kind_tells_the_form() -> None:
    job = evaluation("0" * 64)
    assert stored_spec(job.json_dict()) == job == parse(job.json_dict())
    training = parse(TRAINING)
    assert isinstance(training, JobSpec)
    assert stored_spec(training.json_dict()) == training
    assert [one.seed for one in job.seeds()] == [1]


WRONG: list[tuple[str, dict[str, Any], str, str]] = [
    ("no network", {"network": None}, "/network", "should be"),
    ("a network without a name", {"network": {}}, "/network", "names no network"),
    ("no digest", {"network": {"sha256": "ABC"}}, "/network/sha256", "should match pattern"),
    ("no id", {"network": {"job": "7"}}, "/network/job", "should be a valid UUID"),
    ("a key of trainings", {"model": "lenet5"}, "/model", "is not a known key"),
    ("another kind", {"kind": "study"}, "/kind", "is not a known value"),
    ("a kind that is no text", {"kind": ["evaluate"]}, "/kind", "is not a known value"),
    ("too many images", {"evaluate": {"images": 10**6}}, "/evaluate/images", "more than the test set has"),
    ("the same label twice", {"evaluate": {"strict": {"attacks": ["fgsm", "fgsm"]}}}, "/evaluate/strict/attacks/1/label", "is taken"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "pointer", "message"), [one[1:] for one in WRONG], ids=[one[0] for one in WRONG])
def test_what_is_wrong_is_named_with_a_pointer(changes: dict[str, Any], pointer: str, message: str) -> None:
    with pytest.raises(InvalidSpec, match=message) as caught:
        evaluation("0" * 64, **changes)
    (problem,) = [one for one in caught.value.problems if one.pointer == pointer]
    if pointer == "/kind":
        assert problem.expected == "one of train, evaluate"


def test_a_network_alone_is_checked_below_its_pointer() -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_network({"sha": 1}, "/spec/network")
    assert caught.value.problems[0].pointer == "/spec/network/sha"
    assert caught.value.problems[0].expected == "did you mean sha256?"


def test_its_work_and_weight_are_those_of_the_network_in_the_file(trained: list[Event], tmp_path: Path) -> None:
    exported = of(trained, Exported)[0]
    net, job = stored.read(Path(exported.path)), evaluation(exported.sha256)
    work = passes(job, net)
    assert "train" not in work
    training = parse(TRAINING)
    assert (work["evaluate"], work["audit"]) == (passes(training)["evaluate"], passes(training)["audit"])
    with torch.device("meta"):
        shape = stored.shape_in(Path(exported.path)).build()
    assert weigh(job, shape).parameters == sum(p.numel() for p in net.parameters() if p.requires_grad)


def test_a_file_with_other_bytes_is_refused(trained: list[Event], tmp_path: Path) -> None:
    path = Path(of(trained, Exported)[0].path)
    elsewhere = Place(tmp_path, tmp_path, models=lambda _: path)
    with pytest.raises(UnreadableModel, match=f"its SHA-256 is {sha256(path)}, not {'0' * 64}"):
        list(run(evaluation("0" * 64), elsewhere))


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_file_that_is_no_model_of_ours_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(UnreadableModel, match="is no file of a network that Sparring has written"):
        stored.read(path)
    with pytest.raises(UnreadableModel, match="No such file"):
        stored.read(tmp_path / "nothing")


def test_images_that_the_network_does_not_take_are_refused(tmp_path: Path) -> None:
    shape = Blueprint.model_validate({"model": "lenet5", "num_classes": 10, "channels": 1})
    Safetensors().write(shape.build(), shape, tmp_path / "model")
    job = evaluation(sha256(tmp_path / "model"), dataset="cifar10")
    with pytest.raises(Mismatch, match="the network has images of 1x28x28 and 10 classes, the images 3x32x32"):
        list(run(job, Place(tmp_path, tmp_path, models=lambda _: tmp_path / "model")))
