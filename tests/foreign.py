"""Networks for the tests of foreign ones: honest classifiers of Fashion-MNIST in closed form, and ONNX files of torch's."""

import io
import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from core.datasets.fashion_mnist_sample import FashionMnistSample


class Means(nn.Module):
    """The nearest class mean, a linear network: x . m - |m|^2 / 2 is -|x - m|^2 / 2 but for |x|^2 / 2."""

    def __init__(self) -> None:
        super().__init__()
        train = FashionMnistSample().load(Path()).train
        x = train.x.flatten(1).float() / 255
        means = torch.stack([x[train.y == k].mean(0) for k in range(10)])
        self.layer = nn.Linear(784, 10)
        self.layer.load_state_dict({"weight": means, "bias": -means.square().sum(1) / 2})

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1))


def exported(net: nn.Module, x: Tensor, any_batch: bool = True) -> onnx.ModelProto:
    """The ONNX graph that torch writes; the exporter that needs no further package warns of its age."""
    file = io.BytesIO()
    axes = {"x": {0: "n"}} if any_batch else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net.eval(), (x,), file, dynamo=False, input_names=["x"], dynamic_axes=axes)
    return onnx.load_model_from_string(file.getvalue())
