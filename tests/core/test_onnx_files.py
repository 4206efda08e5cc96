"""Networks that went through an ONNX file are the same networks, gradients included; the rest is a black box and says so."""

from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from core.ascent import LOSSES, gradient
from core.datasets.fashion_mnist_sample import FashionMnistSample
from core.errors import NetworkMissing, NetworkUnfit, NoGradients
from core.foreign.blackbox import BlackBox
from core.foreign.onnx.file import load
from core.foreign.onnx.graph import Graph
from core.models.base import Model
from core.models.lenet5 import LeNet5
from core.models.resnet import ResNet
from foreign import exported


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    return FashionMnistSample().load(Path()).test.batch(0, 32)


def lively(member: Model) -> nn.Module:
    """A network with weights of a seed, whose batch norms have statistics and slopes of their own."""
    net = member.create(10, 1, 3)
    torch.manual_seed(4)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_var, module.weight.data):
                tensor.uniform_(0.5, 1.5)
            for tensor in (module.running_mean, module.bias.data):
                tensor.normal_(0, 0.2)
    return net.eval()


def written(made: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "net.onnx"
    onnx.save(made, path)
    return path


@pytest.mark.parametrize("any_batch", [True, False], ids=["any batch", "one image at a time"])
@pytest.mark.parametrize("member", [LeNet5(), LeNet5(widths="20-50-500"), ResNet(depth=8)], ids=str)
def test_a_network_comes_back_from_onnx_with_its_logits_and_its_gradients(
    member: Model, any_batch: bool, images: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    (x, y), net = images, lively(member)
    path = written(exported(net, x[: 2 if any_batch else 1], any_batch), tmp_path)
    found, words = load(path, x)
    assert isinstance(found, Graph), words
    assert f"on {len(x)} images" in words
    for loss in LOSSES.values():
        for ours, theirs in zip(gradient(net, x, y, loss), gradient(found, x, y, loss), strict=True):
            torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-4)


class Averaging(nn.Module):
    """What other people's networks are made of: normalised pixels, bounded activations, two branches, attention to channels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.register_buffer("mean", torch.tensor([[[[0.3]]]]))
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(), nn.Dropout())
        self.left = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.SiLU(), nn.AvgPool2d(2, ceil_mode=True))
        self.right = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(8, 4, 3), nn.GELU(), nn.MaxPool2d(3, 2, 1))
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(12, 12, 1), nn.Hardsigmoid())
        self.head = nn.Sequential(nn.GroupNorm(3, 12), nn.Hardswish(), nn.Flatten(), nn.Linear(12 * 49, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.body((x - self.mean) / 0.25)
        x = torch.cat([self.left(x), self.right(x)], 1)
        x = x * self.gate(x)
        return self.head(x.permute(0, 2, 3, 1).permute(0, 3, 1, 2)).log_softmax(1)


def test_other_peoples_layers_come_back_too(images: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    (x, y), net = images, Averaging().eval()
    found, words = load(written(exported(net, x[:2]), tmp_path), x)
    assert isinstance(found, Graph), words
    for loss in LOSSES.values():
        for ours, theirs in zip(gradient(net, x, y, loss), gradient(found, x, y, loss), strict=True):
            torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-4)


def linear(*last: onnx.NodeProto) -> onnx.ModelProto:
    """Flat pixels times a matrix, and what follows."""
    w = helper.make_tensor("w", TensorProto.FLOAT, [784, 10], torch.randn(784, 10).flatten().tolist())
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 28, 28])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["z"]), *last]
    graph = helper.make_graph(nodes, "linear", [x], [y], [w])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_an_unknown_operator_leaves_a_black_box(images: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    x, _ = images
    found, words = load(written(linear(helper.make_node("Hardmax", ["z"], ["y"])), tmp_path), x)
    assert isinstance(found, BlackBox)
    assert words == found.why == "the operator Hardmax cannot be rebuilt in torch"
    assert found(x).sum(1).eq(1).all(), "onnxruntime answers"
    with pytest.raises(NoGradients, match=r"net.onnx is known by its logits alone \(the operator Hardmax"):
        found(x.clone().requires_grad_())


def test_logits_that_differ_leave_a_black_box(images: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    x, _ = images
    path = written(linear(helper.make_node("Softplus", ["z"], ["y"])), tmp_path)
    assert isinstance(load(path, x)[0], Graph)
    found, words = load(path, x, tolerance=0.0)
    assert isinstance(found, BlackBox)
    assert "differs from onnxruntime's by at most" in words
    assert "0 is allowed" in words


def test_a_graph_made_for_one_batch_only_where_it_matters_is_run_as_it_says(tmp_path: Path) -> None:
    """onnxruntime takes no other number of images than the file says, and the last batch is not full."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    x = torch.rand(7, 1, 28, 28)
    found, _ = load(written(exported(net, x[:3], any_batch=False), tmp_path), x)
    torch.testing.assert_close(found(x), net(x))


def test_a_file_that_is_not_there_or_no_onnx_is_refused(images: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    with pytest.raises(NetworkMissing, match="is not a file"):
        load(tmp_path / "none.onnx", images[0])
    (tmp_path / "bad.onnx").write_bytes(b"not a graph")
    with pytest.raises(NetworkUnfit, match="no whole ONNX file"):
        load(tmp_path / "bad.onnx", images[0])


def test_inputs_of_another_shape_or_type_are_refused(images: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    made = linear(helper.make_node("Relu", ["z"], ["y"]))
    with pytest.raises(NetworkUnfit, match=r"takes inputs of \? x 1 x 28 x 28. The images here are B x 3 x 32 x 32"):
        load(written(made, tmp_path), torch.rand(2, 3, 32, 32))
    made.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    with pytest.raises(NetworkUnfit, match="its input is of type DOUBLE"):
        load(written(made, tmp_path), images[0])


def test_what_onnxruntime_cannot_run_is_refused(images: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    made = linear(helper.make_node("Relu", ["z"], ["y"]))
    made.opset_import.append(helper.make_opsetid("nobody", 1))
    made.graph.node.append(helper.make_node("Guess", ["z"], ["other"], domain="nobody"))
    with pytest.raises(NetworkUnfit, match=r"onnxruntime cannot run it .*Guess"):
        load(written(made, tmp_path), images[0])


def test_two_inputs_or_outputs_are_refused(images: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    made = linear(helper.make_node("Relu", ["z"], ["y"]))
    made.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 10]))
    with pytest.raises(NetworkUnfit, match=r"inputs \(x\) and the outputs \(y, z\), where one of each is right"):
        load(written(made, tmp_path), images[0])
