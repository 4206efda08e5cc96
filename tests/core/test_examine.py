"""The verdict on a network that Sparring did not train, from Python."""

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from core.datasets.fashion_mnist_sample import FashionMnistSample
from core.errors import DatasetUnavailable, InvalidSpec, NoGradients
from core.events import Progress
from core.examine import WORDS, Report
from core.foreign.blackbox import NO_BADGE
from core.spec import parse, parse_examination
from core.verify import verify
from core.witness import Archive
from foreign import Means
from sparring.local import evaluate

ATTACKS = ["fgsm", {"name": "ifgsm", "steps": 5}]


def judged(network: Any, **changes: Any) -> Report:
    asked = {"data": "fashion_mnist_sample", "eps": 0.05, "images": 64, "attacks": ATTACKS}
    return evaluate(network, **asked | changes)


def verdicts(report: Report) -> dict[str, str]:
    return {check.check: check.verdict for check in report.checks}


def test_a_plain_network_gets_its_accuracies_and_a_verdict() -> None:
    net, (x, y) = Means(), FashionMnistSample().load(Path()).test.batch(0, 64)
    report = judged(net)
    assert list(report.scores) == ["clean", "fgsm", "ifgsm5", "worst_case"]
    right = net(x).argmax(1) == y
    assert report.clean == float((net(x).argmax(1) == y).float().mean())
    assert report.scores["fgsm"].accuracy < report.clean
    slope = torch.autograd.functional.jacobian(lambda z: nn.functional.cross_entropy(net(z), y, reduction="sum"), x)
    fgsm = (x + 0.05 * slope.sign()).clamp(0, 1)
    assert report.scores["fgsm"].correct == int((right & (net(fgsm).argmax(1) == y)).sum())
    assert report.robust == report.scores["ifgsm5"].accuracy, "of a linear network no step behind the first finds more"
    assert report.verdict == max(verdicts(report).values(), key=["passed", "warnings", "failed"].index)
    assert (report.network, report.dataset, report.eps, report.norm) == ("Means", "fashion_mnist_sample", 0.05, "linf")
    assert report.words == WORDS[report.verdict]
    assert net.training, "left as it was"


def test_the_same_network_gets_the_same_figures_by_whatever_way_it_comes() -> None:
    net = Means()
    ways = [judged(net), judged(lambda: net), judged(lambda x: net(x))]
    for other in ways[1:]:
        assert [s.survived for s in other.scores.values()] == [s.survived for s in ways[0].scores.values()]


def test_a_network_is_judged_in_evaluation_mode_whatever_it_was_left_in() -> None:
    net = nn.Sequential(Means(), nn.Dropout(0.9))
    report = judged(net, audit="off")
    assert "it was in training mode; it is judged in evaluation mode" in report.notices
    assert [s.survived for s in report.scores.values()] == [
        s.survived for s in judged(net.eval(), audit="off").scores.values()
    ]


def test_figures_are_repeated_by_seed_even_where_the_network_is_random() -> None:
    net = Means()

    def noisy(x: Tensor) -> Tensor:
        return net(x) + 5 * torch.randn(len(x), 10)

    one, again, other = (judged(noisy, audit="off", seed=seed).scores["clean"].survived for seed in (1, 1, 2))
    assert one == again
    assert one != other
    assert judged(noisy, audit="off").random


def test_quantised_pixels_fail_the_audit() -> None:
    net = Means()
    report = judged(lambda x: net((x * 8).round() / 8))
    assert verdicts(report)["zero_gradients"] == "failed"
    assert (report.verdict, report.badge) == ("failed", False)


def test_a_network_that_only_guesses_fails() -> None:
    net = Means()
    report = judged(lambda x: net(x).roll(1, 1), audit="off")
    assert verdicts(report)["above_chance"] == "failed"
    assert "classes in another order" in report.checks[-1].words
    assert judged(lambda x: net(x).roll(1, 1)).verdict == "failed"


def test_what_failed_on_entry_fails_the_whole() -> None:
    net = Means()
    report = judged(lambda x: net(x - x.mean(0)))
    assert verdicts(report)["independent_images"] == "failed"
    assert report.verdict == "failed"


def test_without_an_audit_there_is_no_verdict() -> None:
    report = judged(Means(), audit="off")
    assert (report.verdict, report.badge) == ("unaudited", True)
    assert not {"eps_0", "zero_gradients"} & verdicts(report).keys()


# ---- black boxes


@pytest.fixture
def black_box(tmp_path: Path) -> Path:
    """The class means behind an operator that nobody rebuilds, which leaves the order of logits as it is."""
    w = numpy_helper.from_array(Means().layer.weight.detach().numpy().T.copy(), "w")
    b = numpy_helper.from_array(Means().layer.bias.detach().numpy(), "b")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 28, 28])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["z"]),
        helper.make_node("Asinh", ["z"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "means", [x], [y], [w, b])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "net.onnx"
    )
    return tmp_path / "net.onnx"


def test_a_black_box_is_attacked_without_gradients_and_gets_no_badge(black_box: Path) -> None:
    report = judged(black_box, attacks=None)
    assert report.verdict == NO_BADGE == "black-box only, no badge"
    assert not report.badge
    assert report.black_box == "the operator Asinh cannot be rebuilt in torch"
    assert list(report.scores) == ["clean", "square500", "worst_case"], (
        "of the usual attacks those that need no gradient"
    )
    assert report.scores["clean"].survived == judged(Means(), audit="off").scores["clean"].survived
    assert report.scores["square500"].accuracy < report.clean
    assert not {"eps_0", "zero_gradients"} & verdicts(report).keys()


def test_a_gradient_attack_on_a_black_box_is_refused(black_box: Path) -> None:
    says = r"net.onnx is known by its logits alone \(the operator Asinh .*\), so fgsm cannot search: it needs gradients"
    with pytest.raises(NoGradients, match=says):
        judged(black_box)


# ---- what is asked


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"eps": "much"}, "/threat/eps: give a number or a fraction"),
        ({"norm": "l7"}, "/threat/norm: is not a known value"),
        ({"data": "imagenet"}, "/dataset: is not a known value"),
        ({"images": 1001}, "/evaluate/images: is more than the test set has"),
        ({"attacks": ["cw"]}, "/evaluate/strict/attacks/0: is not a known value"),
        ({"attacks": ["fgsm", "fgsm"]}, "/evaluate/strict/attacks/1/label: is taken"),
        ({"attacks": ["cw_linf"], "norm": "l2"}, "/evaluate/strict/attacks/0/norm: cw_linf does not search there"),
        ({"audit": "deep"}, "/evaluate/audit: is not a known value"),
    ],
)
def test_what_is_asked_wrongly_is_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidSpec, match=says):
        judged(Means(), **changes)


def test_data_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetUnavailable, match="sparring data fetch cifar10"):
        judged(Means(), data="cifar10", root=tmp_path)


def test_events_are_told_as_they_come() -> None:
    told: list[Any] = []
    report = judged(Means(), told=told.append)
    assert [event for event in told if event.kind == "scored"] == list(report.scores.values())
    assert any(isinstance(event, Progress) for event in told)


def test_the_usual_attacks_fit_both_norms() -> None:
    linf, l2 = (judged(Means(), images=16, audit="off", attacks=None, norm=norm, eps=1) for norm in ("linf", "l2"))
    assert list(linf.scores) == list(l2.scores) == ["clean", "apgd_ce50", "apgd_t50", "square500", "worst_case"]
    assert max(score.accuracy for label, score in linf.scores.items() if label != "clean") == 0
    assert {score.attack["norm"] for score in l2.scores.values() if score.attack} == {"l2"}


def test_the_adversarial_images_are_kept_where_asked_and_give_the_number_again(tmp_path: Path) -> None:
    net = Means().eval()
    report = judged(net, audit="off", keep=tmp_path)
    archive = Archive(tmp_path / "witnesses" / "trained-worst_case.npz")
    found = verify(archive, net)
    assert (found.problems, found.found) == ((), report.robust)


def test_the_gradients_of_a_random_network_are_averages_and_its_judges_many() -> None:
    net = Means()

    def noisy(x: Tensor) -> Tensor:
        return net(x + 0.1 * torch.randn_like(x))

    report = judged(noisy, images=16, attacks=[{"name": "pgd", "steps": 2}])
    score = report.scores["worst_case"]
    assert report.random
    assert score.draws == 64
    assert score.selection_draws == 32
    assert report.robust < report.clean
    assert "noise_free_twin" in verdicts(report), "the audit knows it as random"


def test_a_random_black_box_is_judged_too() -> None:
    net = Means()

    @torch.no_grad()
    def noisy(x: Tensor) -> Tensor:
        return net(x + 0.1 * torch.randn_like(x))

    report = judged(noisy, images=8, attacks=[{"name": "nattack", "population": 8, "iterations": 2, "checks": 1}])
    assert (report.random, report.verdict) == (True, NO_BADGE)


def test_the_audit_looks_at_the_attacks_of_the_examination() -> None:
    """Square beside a gradient attack is what its check of black boxes compares."""
    square = {"name": "torchattacks", "attack": "Square", "label": "square", "settings": {"n_queries": 20}}
    report = judged(Means(), images=16, attacks=["fgsm", square])
    assert "black_box_only" in verdicts(report)


def test_an_examination_and_a_job_fill_in_the_same() -> None:
    judged_by = {"images": 64, "paper": {"attacks": ATTACKS}, "strict": {"attacks": ATTACKS}}
    asked = {"dataset": "fashion_mnist_sample", "threat": {"eps": 0.05}, "evaluate": judged_by}
    assert parse(asked | {"model": "lenet5"}).evaluate == parse_examination(asked).evaluate
