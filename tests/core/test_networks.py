"""The plain networks against the textbook: where images are halved, and what the layers compute together."""

import pytest
import torch
from torch import nn

from core.models.resnet18 import ResNet18
from core.models.vgg16 import Vgg16

WIDTHS = (4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)


def textbook(widths: tuple[int, ...]) -> nn.Sequential:
    """VGG16 as it is usually written: a list of layers with its pools, an average at the end."""
    layers: list[nn.Module] = []
    inputs, following = 3, iter(widths)
    for group in (2, 2, 3, 3, 3):
        for _ in range(group):
            width = next(following)
            layers += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2))
    layers[-1] = nn.AvgPool2d(2)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs, 10))


@pytest.mark.parametrize("training", [True, False])
def test_vgg16_computes_what_the_textbook_computes(training: bool) -> None:
    net = Vgg16(widths=WIDTHS).create(10, 3, 0).train(training)
    whole = textbook(WIDTHS).train(training)
    convs = [layer for layer in whole if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in whole if isinstance(layer, nn.BatchNorm2d)]
    for ours, theirs in zip((*net.convs, *net.norms, net.fc), (*convs, *norms, whole[-1]), strict=True):
        theirs.load_state_dict(ours.state_dict())
    x = torch.rand(6, 3, 32, 32)
    torch.testing.assert_close(net(x), whole(x))


@pytest.mark.parametrize("size", [8, 28, 32, 33])
def test_vgg16_takes_images_of_other_sizes(size: int) -> None:
    assert Vgg16(widths=WIDTHS).create(10, 1, 0).eval()(torch.rand(2, 1, size, size)).shape == (2, 10)


def test_a_vgg16_of_another_number_of_convolutions_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 13 items"):
        Vgg16(widths=WIDTHS[1:])
    with pytest.raises(ValueError, match="at most 13 items"):
        Vgg16(widths=(*WIDTHS, 16))


@pytest.mark.parametrize("width", [64, 16])
def test_resnet18_doubles_its_width_where_it_halves_the_image(width: int) -> None:
    shapes = []
    with torch.device("meta"):
        net = ResNet18(width=width).build(10, 3).eval()
        for block in net.blocks:
            block.register_forward_hook(lambda _block, _x, out: shapes.append(tuple(out.shape[1:])))
        net(torch.empty(1, 3, 32, 32))
    assert shapes == [(width * 2**s, 32 // 2**s, 32 // 2**s) for s in range(4) for _ in range(2)]
