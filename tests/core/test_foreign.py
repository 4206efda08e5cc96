"""Networks from Python and from weights, and what is checked of each before it is judged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from core.blueprint import Blueprint
from core.datasets.fashion_mnist_sample import FashionMnistSample
from core.errors import InvalidSpec, NetworkMissing, NetworkUnfit, NoGradients
from core.exporters.int8 import Int8
from core.exporters.safetensors import Safetensors
from core.foreign.blackbox import BlackBox
from core.foreign.entry import Admitted, admit
from core.foreign.load import load
from core.models.enresnet import EnResNet
from core.models.lenet5 import LeNet5
from core.models.resnet import ResNet
from core.noise import Foreign, reseed, silent
from foreign import Means

X, Y = FashionMnistSample().load(Path()).test.batch(0, 32)
MODULE = """
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from neighbour import WIDTH

net = nn.Sequential(nn.Flatten(), nn.Linear(WIDTH, 10))

@dataclass
class Size:
    classes: int = 10

def make():
    from late import scaled
    return scaled(net, Size())

class Own(nn.Module):
    def forward(self, x):
        return net(x)

def call(x, scale=1.0):
    return scale * net(x)

def make_call():
    return call

def make_nothing():
    return 7

def broken():
    return 1 / 0

number = 7
"""

LINE = 1 + MODULE[: MODULE.index("1 / 0")].count("\n")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mymodel.py"
    path.write_text(MODULE)
    (tmp_path / "neighbour.py").write_text("WIDTH = 784\n")
    (tmp_path / "late.py").write_text("def scaled(net, size):\n    return net\n")
    return path


def loaded(target: Any, model: Any = None) -> nn.Module:
    net, _, _ = load(target, X, 10, model)
    return net


@pytest.mark.parametrize("attribute", ["net", "make", "Own", "call", "make_call"])
def test_a_module_a_maker_a_class_and_a_function_of_pixels_are_networks(file: Path, attribute: str) -> None:
    net = loaded(f"{file}:{attribute}")
    assert net(X).shape == (32, 10)
    assert loaded(net) is net


def test_a_function_is_called_with_the_pixels_alone() -> None:
    means = Means()
    torch.testing.assert_close(loaded(lambda x: means(x))(X), means(X))
    torch.testing.assert_close(loaded(lambda: means)(X), means(X))


@pytest.mark.parametrize(
    ("attribute", "error", "says"),
    [
        ("nett", NetworkMissing, r"mymodel.py defines no nett; did you mean net\?"),
        ("", NetworkMissing, "defines no attribute without a name"),
        ("number", NetworkUnfit, "it is of type int, which cannot be called. Give an nn.Module"),
        ("make_nothing", NetworkUnfit, "calling it gives an object of type int"),
        ("broken", NetworkUnfit, f"ZeroDivisionError in mymodel.py, line {LINE}: division by zero"),
    ],
)
def test_what_is_no_network_is_refused(file: Path, attribute: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        loaded(f"{file}:{attribute}")


def test_a_file_that_does_not_run_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import torch\nimport no_such_package\n")
    with pytest.raises(NetworkUnfit, match="ModuleNotFoundError in bad.py, line 2: .*no_such_package"):
        loaded(f"{tmp_path}/bad.py:net")


@pytest.mark.parametrize(
    ("target", "error", "says"),
    [
        ("none.py:net", NetworkMissing, "none.py is not a file"),
        ("none.safetensors", NetworkMissing, "none.safetensors is not a file"),
        ("mymodel.py", NetworkMissing, "give mymodel.py:net"),
        ("net.pt", NetworkUnfit, "Give mymodel.py:net, a .safetensors file, a .onnx file or a callable"),
    ],
)
def test_a_name_of_nothing_is_refused(target: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        loaded(target)


@pytest.mark.parametrize("exporter", [Safetensors(), Int8()], ids=["safetensors", "int8"])
def test_a_file_of_ours_needs_no_word_more(exporter: Safetensors | Int8, tmp_path: Path) -> None:
    blueprint = Blueprint(model=ResNet(depth=8), num_classes=10, channels=1)
    net = blueprint.build(3).eval()
    path = tmp_path / f"net{exporter.suffix}"
    exporter.write(net, blueprint, path)
    torch.testing.assert_close(loaded(path)(X), exporter.expected(net)(X))
    with pytest.raises(NetworkUnfit, match="its header says what it holds already. Leave --model out"):
        loaded(path, "resnet")


def test_a_state_dict_is_loaded_into_the_model_that_is_named(tmp_path: Path) -> None:
    net, path = LeNet5(widths="20-50-500").create(10, 1, 3).eval(), tmp_path / "net.safetensors"
    safetensors.torch.save_file({name: t.contiguous() for name, t in net.state_dict().items()}, path)
    torch.testing.assert_close(loaded(path, {"name": "lenet5", "widths": "20-50-500"})(X), net(X))
    with pytest.raises(NetworkUnfit, match="does not say what network its tensors belong to. Name the architecture"):
        loaded(path)
    with pytest.raises(NetworkUnfit, match="its tensors do not fit the model 'lenet5': .*size mismatch"):
        loaded(path, "lenet5")
    with pytest.raises(InvalidSpec, match="/model: is not a known value"):
        loaded(path, "lenet6")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(NetworkUnfit, match="it is no safetensors file"):
        loaded(path)
    blueprint = Blueprint(model=LeNet5(), num_classes=10, channels=1)
    safetensors.torch.save_file({"w": torch.ones(1)}, path, {"blueprint": blueprint.model_dump_json()})
    with pytest.raises(NetworkUnfit, match="its tensors are not those of the blueprint in its header"):
        loaded(path)


def test_a_model_is_named_for_weights_alone(file: Path) -> None:
    with pytest.raises(NetworkUnfit, match="Leave --model out; it is for safetensors state dicts"):
        loaded(f"{file}:net", "resnet")


# ---- what is checked on entry


def admitted(net: Any, x: Tensor = X) -> Admitted:
    return admit(loaded(net), "net", x, 10)


def test_an_honest_network_is_admitted_as_it_is() -> None:
    net = Means().eval()
    found = admitted(net)
    assert found.net is net
    assert (found.notices, found.random, found.black_box) == ([], False, None)
    assert {check.check: check.verdict for check in found.checks} == {
        "logits": "passed",
        "independent_images": "passed",
    }


def in_place(x: Tensor) -> Tensor:
    return x.sub_(0.5).flatten(1)[:, :10]


def in_parts(x: Tensor) -> Tensor:
    """Its backward pass finds that what it needs has been changed."""
    z = x.flatten(1)[:, :10].exp()
    out = z.log()
    z.add_(1)
    return out


@pytest.mark.parametrize(
    ("net", "says"),
    [
        (
            nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)),
            r"it fails on images of 32 x 1 x 28 x 28: RuntimeError: mat1",
        ),
        (lambda x: x.flatten(1)[:, :9], "it returns a shape of 32 x 9. It must return logits of shape 32 x 10"),
        (lambda x: x.flatten(1)[:, :10].numpy(), "it returns an object of type ndarray"),
        (lambda x: x.flatten(1)[:, :10].double(), "it returns numbers of type torch.float64"),
        (lambda x: x.flatten(1)[:, :10] / 0, "of 32 images 32 have logits that are not finite"),
        (in_place, "it changes the images that it is handed. Let it work on a copy"),
        (in_parts, "its gradient to the pixels fails: one of the variables"),
    ],
)
def test_what_cannot_be_judged_is_refused(net: Callable[[Tensor], Tensor], says: str) -> None:
    with pytest.raises(NetworkUnfit, match=says):
        admitted(net)


def test_a_network_in_training_mode_is_judged_in_evaluation_mode_and_left_in_its_own() -> None:
    net = nn.Sequential(Means(), nn.Dropout(0.5))
    net[0].eval()
    found = admitted(net)
    assert found.notices == ["it was in training mode; it is judged in evaluation mode"]
    assert not found.random
    assert [module.training for module in net.modules()] == [True, False, False, True]


def test_probabilities_instead_of_logits_are_a_warning() -> None:
    found = admitted(nn.Sequential(Means(), nn.Softmax(1)).eval())
    (check,) = [check for check in found.checks if check.check == "logits"]
    assert (check.verdict, check.value) == ("warnings", 100)
    assert "Give the logits before the softmax" in check.words
    logs = admitted(nn.Sequential(Means(), nn.LogSoftmax(1)).eval())
    assert {check.verdict for check in logs.checks} == {"passed"}


def test_images_that_influence_one_another_are_found() -> None:
    means = Means()
    found = admitted(lambda x: means(x - x.mean(0)))
    (check,) = [check for check in found.checks if check.check == "independent_images"]
    assert (check.verdict, check.images) == ("failed", 8)
    assert "change with the batch" in check.words


@pytest.mark.parametrize("cut", [lambda z: z.detach(), lambda z: torch.from_numpy(z.detach().numpy())])
def test_a_network_cut_off_from_its_pixels_is_a_black_box(cut: Callable[[Tensor], Tensor]) -> None:
    means = Means()
    found = admitted(lambda x: cut(means(x)))
    assert isinstance(found.net, BlackBox)
    assert found.notices == [
        "it is known by its logits alone: its logits are cut off from its pixels, by no_grad or detach"
    ]
    torch.testing.assert_close(found.net(X), means(X))
    with pytest.raises(NoGradients, match="so an attack with gradients cannot search"):
        found.net(X.clone().requires_grad_())


class Noisy(Means):
    """Draws from torch's global generator."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.1 * torch.randn_like(x))


def test_a_random_network_gets_a_stream_of_its_own() -> None:
    net, before = Noisy().eval(), torch.random.get_rng_state()
    found = admitted(net)
    assert torch.equal(torch.random.get_rng_state(), before), "nobody else's draws have moved"
    assert found.random
    assert isinstance(found.net, Foreign)
    assert "it is random: two passes of the same images differ" in found.notices
    assert not any("no figure can be repeated" in notice for notice in found.notices)

    def passes(*key: str) -> Tensor:
        reseed(found.net, *key)
        return torch.stack([found.net(X), found.net(X)])

    one, again, other = passes("one"), passes("one"), passes("other")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one, again)
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(one[0], other[0])
    with silent(found.net):
        assert torch.equal(found.net(X), found.net(X))


def test_a_random_network_is_differentiated_through_the_draw_that_it_made() -> None:
    """relu(means + noise) has gradients where the same draw was positive: those of a network without noise differ."""
    found = admitted(Noisy().eval()).net
    reseed(found, "one")
    x = X.clone().requires_grad_()
    (slope,) = torch.autograd.grad(found(x)[:, 0].sum(), x)
    torch.testing.assert_close(slope[0].flatten(), Means().layer.weight[0])


def test_noise_from_elsewhere_is_told() -> None:
    means, count = Means(), iter(range(10**6))
    found = admitted(lambda x: means(x) + next(count))
    assert found.random
    assert any("no figure can be repeated exactly" in notice for notice in found.notices)


def test_a_random_network_of_ours_keeps_its_own_streams_and_its_batch_noise_is_told() -> None:
    net = EnResNet(depth=8, members=1).create(10, 1, 0).eval()
    found = admitted(net)
    assert found.net is net
    assert found.random
    assert found.notices == [
        "it is random: a pass draws noise",
        "its noise takes its scale from the whole batch: images influence one another through it",
    ]
    assert {check.verdict for check in found.checks} == {"passed"}, "without its noise an image is alone"
