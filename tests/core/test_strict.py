"""The strict protocol: what it prints, what its numbers rest on, and that it goes on where it was left."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.audit import Audit
from core.candidates import Candidates
from core.datasets.base import Split, Splits
from core.eot import MOST
from core.errors import InvalidSpec, Mismatch, UnreadableArchive, UnreadableModel
from core.evaluate import Evaluation
from core.events import Audited, Checked, CheckpointSaved, Event, Exported, Progress, Scored, Witnessed
from core.exporters.safetensors import Safetensors
from core.models.enresnet import EnResNet
from core.noise import joint_layers
from core.plan import passes
from core.run import Place, Resume, run
from core.spec import parse
from core.threat import Threat
from core.verify import verify
from core.witness import About, Archive, shares, write

JOB: dict[str, Any] = {
    "dataset": {"name": "fashion_mnist_sample", "images": 1920, "validation": 100},
    "model": "lenet5",
    "threat": {"eps": 0.05},
    "train": {"epochs": 3, "optimizer": "adam", "lr": 2e-3, "weight_decay": 0.0, "select": None},
    "evaluate": {
        "images": 96,
        "batch_size": 32,
        "audit": "off",
        "paper": {"attacks": ["fgsm", {"name": "ifgsm", "steps": 5}, {"name": "ifgsm", "eps": 0.3, "label": "far"}]},
        "strict": {"images": 64, "attacks": [{"name": "pgd", "steps": 5}, {"name": "cw_linf", "steps": 5}]},
    },
}
RANDOM: dict[str, Any] = {
    **JOB,
    "model": {"name": "enresnet", "depth": 8, "members": 1},
    "train": {**JOB["train"], "epochs": 1},
    "evaluate": {
        **JOB["evaluate"],
        "strict": {**JOB["evaluate"]["strict"], "images": 48, "selection_draws": 6, "judging_draws": 10},
    },
}


def of(events: list[Event], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def scores(events: list[Event]) -> dict[tuple[str, str], Scored]:
    return {(one.protocol, one.label): one for one in of(events, Scored)}


def archives(events: list[Event]) -> dict[str, Archive]:
    return {one.label: Archive(Path(one.path)) for one in of(events, Witnessed)}


def network(folder: Path) -> nn.Module:
    return Safetensors().read(folder / "exports" / "0-safetensors.safetensors")


@pytest.fixture(scope="module")
def certain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    folder = tmp_path_factory.mktemp("certain")
    return folder, list(run(parse(JOB), Place(folder, folder)))


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    folder = tmp_path_factory.mktemp("noisy")
    return folder, list(run(parse(RANDOM), Place(folder, folder)))


def test_on_a_network_without_noise_strict_is_never_above_paper_image_by_image(certain) -> None:
    found = scores(certain[1])
    worst = found["strict", "worst_case"].survived
    inside = [one for one in found.values() if one.label not in ("worst_case", "far")]
    assert [one.images for one in inside if one.protocol == "strict"] == [64, 64, 64]
    expected = ["1" if all(one.survived[i] == "1" for one in inside) else "0" for i in range(64)]
    assert worst == "".join(expected), "right clean, and under every attack of both protocols that keeps to the ball"
    assert found["paper", "far"].survived[:64].count("1") < worst.count("1")
    for label in ("pgd5", "cw_linf5"):
        one = found["strict", label]
        clean = found["strict", "clean"].survived
        assert all(c == "1" for c, a in zip(clean, one.survived, strict=True) if a == "1")


def test_every_strict_number_has_an_archive_that_gives_it_again(certain) -> None:
    folder, events = certain
    found, net = scores(events), network(folder)
    assert list(archives(events)) == ["pgd5", "cw_linf5", "worst_case"]
    for label, archive in archives(events).items():
        again = verify(archive, net)
        assert again.problems == ()
        assert again.found == found["strict", label].accuracy == archive.about.accuracy
        assert again.farthest == pytest.approx(0.05, abs=1e-6)
    worst = archives(events)["worst_case"]
    assert worst.about.attacks[1:4] == ("paper/fgsm", "paper/ifgsm5", "paper/far")
    assert set(worst.by.tolist()) <= {0, 1, 2, 5, 6}, "never by the attack outside the ball"
    assert (worst.by > 0).sum() == again.moved > 0


def test_outcomes_are_those_of_the_archived_images_and_the_worst_case_has_the_queries_of_all(certain) -> None:
    folder, events = certain
    found, net = scores(events), network(folder)
    for label, archive in archives(events).items():
        one = found["strict", label]
        assert one.predicted == net(archive.adversarial).argmax(1).tolist()
        moved = (archive.adversarial - archive.x.float() / 255).flatten(1).abs().amax(1)
        assert one.distance == pytest.approx(moved.tolist(), rel=1e-6)
    queries = {f"{protocol}/{label}": set(one.queries) for (protocol, label), one in found.items()}
    each = {"clean": 0, "fgsm": 1, "ifgsm5": 5, "far": 20}
    assert queries == {
        **{f"paper/{label}": {many} for label, many in each.items()},
        "strict/clean": {0},
        "strict/pgd5": {11},
        "strict/cw_linf5": {11},
        "strict/worst_case": {1 + 5 + 11 + 11},
    }


def test_a_random_network_is_judged_by_other_draws_than_those_that_choose(noisy) -> None:
    found = scores(noisy[1])
    clean, worst = found["strict", "clean"], found["strict", "worst_case"]
    for one in (clean, found["strict", "pgd5"], worst):
        assert (one.selection_draws, one.draws) == (6, 10)
        assert one.always is not None
        assert one.always <= one.accuracy
        assert round(one.correct * 10) == pytest.approx(one.correct * 10), "a sum of shares of ten draws"
    assert 1 <= worst.eot <= MOST
    assert found["paper", "clean"].draws == 1
    assert worst.accuracy < clean.accuracy


def test_an_archive_of_a_random_network_holds_its_constants_and_agrees_within_its_draws(noisy) -> None:
    folder, events = noisy
    net = network(folder)
    archive = archives(events)["worst_case"]
    assert len(archive.about.frozen) == len(joint_layers(net)) == 3
    again = verify(archive, net, draws=40)
    assert again.problems == ()
    assert abs(again.found - again.stated) <= again.allowed < 0.1
    assert len(joint_layers(net)) == 3, "the network is left as it was"


def test_archives_are_verified_without_any_attack_of_ours(certain) -> None:
    folder, events = certain
    path = next(one.path for one in of(events, Witnessed) if one.label == "worst_case")
    code = (
        "import sys; from pathlib import Path; from core.exporters.safetensors import Safetensors;"
        "from core.verify import verify; from core.witness import Archive;"
        "found = verify(Archive(Path(sys.argv[1])), Safetensors().read(Path(sys.argv[2])));"
        "assert not found.problems; print([m for m in sys.modules if 'attack' in m])"
    )
    command = [sys.executable, "-c", code, path, str(folder / "exports" / "0-safetensors.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "[]"


def test_what_an_archive_states_wrongly_is_found(certain, tmp_path: Path) -> None:
    folder, events = certain
    honest, net = archives(events)["worst_case"], network(folder)
    images = Split(honest.x, honest.y)

    def rewritten(about: dict[str, Any] | None = None, **arrays: Tensor) -> Archive:
        names = {"images": honest.adversarial, "right": honest.right, "by": honest.by} | arrays
        nothing = torch.zeros(len(honest.y))
        made = Candidates(names["images"], nothing, names["right"], nothing, names["by"], nothing, nothing, nothing)
        write(tmp_path / "archive.npz", honest.about.model_copy(update=about or {}), images, made)
        return Archive(tmp_path / "archive.npz")

    assert verify(rewritten(), net).problems == ()
    (far,) = verify(rewritten({"threat": Threat(eps=0.01)}), net).problems
    assert "outside the linf ball of 0.01" in far
    (out,) = verify(rewritten(images=honest.adversarial - 1e-8), net).problems[:1]
    assert "outside [0, 1]" in out
    stated = verify(rewritten({"accuracy": 0.9}), net).problems
    assert len(stated) == 2
    assert "the archive states 90.00 %" in stated[1]
    torch.manual_seed(0)
    (other,) = verify(honest, nn.Sequential(nn.Flatten(), nn.Linear(784, 10))).problems
    assert "the network gets" in other
    with pytest.raises(Mismatch, match=r"has 3 layers with noise over the batch, the images constants for 0"):
        verify(honest, EnResNet(depth=8, members=1).create(10, 1, 0))
    (tmp_path / "no.npz").write_bytes(b"PK not really")
    with pytest.raises(UnreadableArchive, match="no archive of adversarial images"):
        Archive(tmp_path / "no.npz")
    with pytest.raises(UnreadableArchive, match="no archive of adversarial images"):
        shares(tmp_path / "no.npz")
    assert shares(tmp_path / "archive.npz") == honest.right.tolist()


@pytest.mark.parametrize("job", [JOB, RANDOM], ids=["certain", "random"])
def test_an_evaluation_stopped_inside_an_attack_gives_the_same_numbers(
    job, certain, noisy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.plan.SECONDS_BETWEEN", 0)  # so that no sign of progress is left out
    whole = scores((certain if job is JOB else noisy)[1])
    first: list[Event] = []

    def stop() -> str | None:
        inside = [one for one in of(first, Progress) if one.text == "strict: cw_linf5" and one.values]
        return "save" if inside else None

    for event in run(parse(job), Place(tmp_path / "a", tmp_path), stop=stop):
        first.append(event)
    saved = of(first, CheckpointSaved)[-1]
    resume = Resume(Path(saved.path), saved.sha256)
    second = list(run(parse(job), Place(tmp_path / "b", tmp_path), resume))
    assert [one.label for one in of(second, Scored)] == ["cw_linf5", "worst_case"]
    found = {**scores(first), **scores(second)}
    for key, one in whole.items():
        for name in ("survived", "accuracy", "predicted", "distance", "queries"):
            assert getattr(found[key], name) == getattr(one, name)
    begun = next(one for one in of(second, Progress) if one.text == "strict: cw_linf5")
    assert begun.done - 6 > 0.45, "the first batch is not attacked again"


def test_choosing_and_judging_by_the_same_draws_would_let_the_noise_break_images() -> None:
    torch.manual_seed(0)
    right, selected = (torch.rand(10, 64, 2000) < 0.9 for _ in range(2))

    def accuracy(selection: Tensor) -> float:
        images, told = torch.zeros(2000, 1), [torch.zeros(2000)] * 3
        every = [Candidates.judged(images, selection[i], right[i], i, *told) for i in range(10)]
        worst = every[0]
        for one in every[1:]:
            worst = worst.or_worse(one)
        return float(worst.right.mean())

    assert accuracy(selected) == pytest.approx(0.9, abs=4 * (0.09 / 64 / 2000) ** 0.5)
    assert accuracy(right) < 0.87


def test_of_fewer_candidates_the_others_stay() -> None:
    clean = Candidates(*(torch.zeros(4) for _ in Candidates._fields))
    others = Candidates(*(torch.ones(2) for _ in Candidates._fields))
    assert clean.or_worse(others).by.tolist() == [1, 1, 0, 0]
    assert clean.or_worse(others).or_worse(others).queries.tolist() == [2, 2, 0, 0]
    assert others.or_worse(clean.first(2)).by.tolist() == [1, 1]


def test_the_plan_counts_the_strict_protocol() -> None:
    plain = parse({**JOB, "evaluate": {**JOB["evaluate"], "strict": None}})
    extra = passes(parse(JOB))["evaluate"] - passes(plain)["evaluate"]
    assert extra == 64 * sum(attack.passes + 1 for attack in parse(JOB).evaluate.strict.attacks)
    of_random = (
        passes(parse(RANDOM))["evaluate"]
        - passes(parse({**RANDOM, "evaluate": plain.json_dict()["evaluate"]}))["evaluate"]
    )
    assert of_random == 48 * sum(8 * attack.passes + 16 for attack in parse(RANDOM).evaluate.strict.attacks)


def test_about_survives_json() -> None:
    about = About(
        label="a",
        network="n",
        dataset="d",
        threat=Threat(norm="l2", eps=0.5),
        attacks=("clean",),
        accuracy=0.5,
        draws=1,
        frozen=(),
    )
    assert About.model_validate_json(about.model_dump_json()) == about


def test_images_made_against_a_stored_network_are_judged_by_this_one(certain, tmp_path: Path) -> None:
    folder, events = certain
    path = folder / "exports" / "0-safetensors.safetensors"
    (digest,) = [one.sha256 for one in of(events, Exported)]
    attack = {"name": "pgd", "steps": 5, "eps": 0.2}
    attacks = [attack, {"name": "transfer", "attack": attack, "from": digest, "label": "itself"}]
    job = {**JOB, "evaluate": {**JOB["evaluate"], "paper": {"attacks": attacks}, "strict": None}}
    found = scores(list(run(parse(job), Place(tmp_path, tmp_path, models=lambda _: path))))
    clean, direct, itself = (found["paper", label].accuracy for label in ("clean", "pgd5", "itself"))
    assert direct <= itself < clean, "the very network, trained again from the same seed"
    with pytest.raises(UnreadableModel, match="there are no stored networks here"):
        list(run(parse(job), Place(tmp_path / "b", tmp_path)))


def test_a_twin_without_noise_needs_a_network_with_noise() -> None:
    attack = {"name": "transfer", "attack": "fgsm", "from": "noise_free_twin"}
    with pytest.raises(InvalidSpec, match="lenet5 has no noise with these settings") as caught:
        parse({**JOB, "evaluate": {"strict": {"attacks": [attack]}}})
    assert caught.value.problems[0].pointer == "/evaluate/strict/attacks/0/from"
    spec = parse({**RANDOM, "evaluate": {"images": 8, "strict": {"attacks": [attack]}}})
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    with pytest.raises(InvalidSpec, match="the network has no noise"):
        list(Evaluation(spec, net, spec.dataset.load(Path()), Path(), []).run())


class Nan(nn.Module):
    """A linear network with a branch that adds nothing, and whose gradient is not a number."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(784, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1)) + torch.where(x > 2, (x - 2).sqrt(), 0).sum()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_gradient_that_is_not_a_number_breaks_nothing_and_is_found_by_the_audit(norm: str, tmp_path: Path) -> None:
    judged = {"images": 32, "strict": {"attacks": [{"name": "pgd", "steps": 3}, "apgd_ce"]}}
    spec = parse({**JOB, "threat": {"norm": norm, "eps": 0.05}, "evaluate": judged})
    net, test = Nan().eval(), spec.dataset.load(Path()).test.prefix(32)
    right = Split(test.x, net(test.batch(0, 32)[0]).argmax(1))
    events = list(Evaluation(spec, net, Splits(right, right, right, ""), tmp_path, []).run())
    assert scores(events)["strict", "worst_case"].accuracy > 0.5, "no image is lost to NaN"
    assert archives(events)["worst_case"].adversarial.isfinite().all()
    checked = Audit(spec, net, Splits(right, right, right, ""), of(events, Scored)).run()
    checks = {one.check: one.verdict for one in checked if isinstance(one, Checked)}
    assert checks["zero_gradients"] == "failed"


def test_noise_over_a_batch_is_frozen_on_as_many_training_images_as_there_are(tmp_path: Path) -> None:
    spec = parse({**RANDOM, "evaluate": {"images": 16, "batch_size": 100, "strict": {"attacks": ["fgsm"], "eot": 1}}})
    net, splits = EnResNet(depth=8, members=1).create(10, 1, 0).eval(), spec.dataset.load(Path())
    few = Splits(splits.train.prefix(150), splits.validation, splits.test, "")
    assert scores(list(Evaluation(spec, net, few, tmp_path, []).run()))["strict", "worst_case"].images == 16


def test_a_second_resume_keeps_what_is_known_of_an_exported_network(tmp_path: Path) -> None:
    job = {**JOB, "export": ["int8"], "evaluate": {**JOB["evaluate"], "audit": "quick"}}
    whole = {
        one.label: one.accuracy
        for one in of(list(run(parse(job), Place(tmp_path / "whole", tmp_path))), Scored)
        if one.protocol == "strict" and one.network != "trained"
    }

    def until(name: str, stop: Any, resume: Resume | None) -> list[Event]:
        seen: list[Event] = []
        for event in run(parse(job), Place(tmp_path / name, tmp_path), resume, lambda: "save" if stop(seen) else None):
            seen.append(event)
        return seen

    def saved(events: list[Event]) -> Resume:
        kept = [one.checkpoint if isinstance(one, Scored) else one for one in events]
        last = [one for one in kept if isinstance(one, CheckpointSaved)][-1]
        return Resume(Path(last.path), last.sha256)

    first = until(
        "a", lambda seen: any(one.network != "trained" and one.label == "pgd5" for one in of(seen, Scored)), None
    )
    second = until("b", lambda seen: bool(of(seen, Audited)), saved(first))
    third = until("c", lambda seen: False, saved(second))
    found = {
        one.label: one.accuracy
        for one in of(first + second + third, Scored)
        if one.protocol == "strict" and one.network != "trained"
    }
    assert found == whole
    assert [one.label for one in of(third, Scored)] == ["cw_linf5", "worst_case"]
    assert of(first, Checked)
    assert not of(second + third, Checked), "no check is made twice"


def test_a_save_between_an_archive_and_its_number_waits_for_the_number(tmp_path: Path) -> None:
    seen: list[Event] = []
    for event in run(parse(JOB), Place(tmp_path, tmp_path), stop=lambda: "save" if of(seen, Witnessed) else None):
        seen.append(event)
    assert [one.label for one in of(seen, Scored)][-1] == "pgd5"
