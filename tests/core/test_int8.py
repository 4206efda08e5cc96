"""Weights in 8 bits: the arithmetic against torch's own, the bound for every weight, the bitmap, the bytes."""

import itertools
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from contracts.test_models import pruned
from core import proximal
from core.blueprint import Blueprint
from core.channels import alive, convolutions, remove
from core.errors import ExportChanged
from core.exporters.base import difference
from core.exporters.int8 import Int8, dequantise, gather, quantise, scatter, weights
from core.exporters.safetensors import Safetensors, packed
from core.family import members
from core.measure import weight_sparsity

RESNET = members("core.models")["resnet"](depth=20)
BLUEPRINT = Blueprint(model=RESNET, num_classes=10, channels=3)
X = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def drawn(*size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(1))


def test_it_is_the_formula_and_torch_rounds_the_same() -> None:
    w = drawn(16, 8, 3, 3) * torch.logspace(-30, 10, 16).view(-1, 1, 1, 1)
    q, s = quantise(w)
    for k in range(16):
        step = w[k].double().abs().max() / 127
        assert torch.equal(q[k].double(), (w[k].double() / step).round())
        assert float(s[k]) == pytest.approx(float(step), rel=1e-6)
    usual = w[8:]
    theirs = torch.fake_quantize_per_channel_affine(usual, s[8:], torch.zeros(8, dtype=torch.int32), 0, -127, 127)
    torch.testing.assert_close(dequantise(q, s)[8:], theirs, rtol=1e-6, atol=0)


@pytest.mark.parametrize("size", [(5, 3, 3, 3), (7, 11), (4, 1, 1, 1)])
@pytest.mark.parametrize("scale", [1.0, 1e-37, 1e-42, 3e-45, 1e38])
def test_every_weight_is_within_half_a_step_also_where_floats_end(size: tuple[int, ...], scale: float) -> None:
    w = (drawn(*size).clamp(-3, 3) * scale).float()
    q, s = quantise(w)
    step = s.double().view(-1, *[1] * (w.ndim - 1))
    assert q.abs().max() <= 127
    assert ((w.double() - step * q).abs() <= step / 2 * (1 + 1e-6)).all()


def test_zeros_stay_zeros_and_a_channel_of_zeros_has_no_scale() -> None:
    w = drawn(6, 4, 3, 3)
    w[2], w[:, 1] = 0, 0
    w[4, 0, 0, 0] = -0.0
    q, s = quantise(w)
    assert (dequantise(q, s)[w == 0] == 0).all()
    assert (s == 0).tolist() == [False, False, True, False, False, False]
    assert torch.isfinite(dequantise(q, s)).all()


@pytest.mark.parametrize("size", [(1,), (7,), (8,), (9, 1), (5, 3, 3, 3), (4, 4)])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_bitmap_has_a_bit_a_weight_and_finds_every_value_again(size: tuple[int, ...], share: float) -> None:
    stream = torch.Generator().manual_seed(4)
    q = torch.randint(-127, 128, size, dtype=torch.int8, generator=stream)
    q[torch.rand(size, generator=stream) >= share] = 0
    bits, values = gather(q)
    flat = q.flatten().tolist()
    brute = [
        sum((value != 0) << place for place, value in enumerate(flat[at : at + 8])) for at in range(0, len(flat), 8)
    ]
    assert bits.tolist() == brute
    assert values.tolist() == [value for value in flat if value]
    assert torch.equal(scatter(bits, values, q.shape), q)


@pytest.mark.parametrize("layout", ["dense", "sparse", "smallest"])
@pytest.mark.parametrize("compacted", [False, True])
def test_the_file_holds_the_rounded_network_in_every_layout(layout, compacted: bool, tmp_path: Path) -> None:
    net, blueprint = pruned(RESNET, 0.3), BLUEPRINT
    if compacted:
        keep = alive(net, RESNET.ties())
        net, blueprint = remove(net, RESNET.ties(), keep), BLUEPRINT.model_copy(update={"keep": keep})
    exporter = Int8(layout=layout)
    path, worst = exporter.export(net, blueprint, X, tmp_path / "model")
    read, expected = exporter.read(path), exporter.expected(net)
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in read.state_dict().items())
    untouched = net.state_dict().keys() - weights(net)
    assert all(torch.equal(read.state_dict()[name], net.state_dict()[name]) for name in untouched)
    assert 0 < worst == pytest.approx(difference(net, read, X).worst)
    stored = safetensors.torch.load_file(path)
    assert {stored[name].dtype for name in weights(net)} == {torch.int8}
    sparse = {name for name in weights(net) if f"{name}.bitmap" in stored}
    assert {"dense": not sparse, "sparse": sparse == weights(net), "smallest": True}[layout]


def test_a_layer_without_a_living_weight_is_stored_and_read(tmp_path: Path) -> None:
    net = pruned(RESNET)
    with torch.no_grad():
        convolutions(net)[3].zero_()
    path, _ = Int8().export(net, BLUEPRINT, X, tmp_path / "model")
    assert not convolutions(Int8().read(path))[3].any()


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_a_weight_that_is_no_number_is_refused(broken: float, tmp_path: Path) -> None:
    net = pruned(RESNET)
    with torch.no_grad():
        convolutions(net)[1][0, 0, 0, 0] = broken
    with pytest.raises(ExportChanged, match=r"a weight of blocks\S+ is not within half a step of its 8 bits"):
        Int8().export(net, BLUEPRINT, X, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def bytes_of(net: nn.Module, exporter: Int8 | Safetensors, folder: Path) -> int:
    return exporter.export(net, BLUEPRINT, X, folder / "model")[0].stat().st_size


def sparse(net: nn.Module, share: float) -> nn.Module:
    with torch.no_grad():
        for w in convolutions(net):
            w.copy_(proximal.keep_largest(w, share))
    return net


def test_the_bytes_of_a_dense_and_of_a_sparse_file(tmp_path: Path) -> None:
    """The smallest is as small as either for each tensor; at 90 % zeros a bitmap takes a good fifth of a byte a weight."""
    net = pruned(RESNET, 0.0)
    plain, small = bytes_of(net, Safetensors(), tmp_path), bytes_of(net, Int8(), tmp_path)
    assert small == bytes_of(net, Int8(layout="dense"), tmp_path) < bytes_of(net, Int8(layout="sparse"), tmp_path)
    assert plain / small == pytest.approx(3.72, abs=0.01)
    net = sparse(net, 0.9)
    assert weight_sparsity(net) == pytest.approx(0.9, abs=0.001)
    smallest, always = bytes_of(net, Int8(), tmp_path), bytes_of(net, Int8(layout="sparse"), tmp_path)
    assert smallest < always < small
    assert plain / smallest == pytest.approx(12.4, abs=0.1)
    bits, values = gather(quantise(convolutions(net)[5])[0])
    assert (len(bits), len(values)) == pytest.approx((2304 / 8, 2304 / 10), abs=1)


def vgg16(share: float) -> nn.Module:
    """VGG16 for 32 x 32 images, with this share of every layer's channels."""
    widths = [3] + [round(share * n) for n in (64, 64, 128, 128, 256, 256, 256, *[512] * 6)]
    layers = [
        layer
        for before, after in itertools.pairwise(widths)
        for layer in (nn.Conv2d(before, after, 3, bias=False), nn.BatchNorm2d(after))
    ]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 10))


def test_a_third_of_vgg16_in_8_bits_takes_a_twelfth_of_its_bytes() -> None:
    """The thesis's conclusion, by the bytes of files: 2.99 by channels, times 3.96, is 11.8."""
    whole, third = vgg16(1), vgg16(3**-0.5)
    plain = [len(packed(net.state_dict(), BLUEPRINT)) for net in (whole, third)]
    small = len(packed(Int8().stored(third), BLUEPRINT))
    assert plain[0] / plain[1] == pytest.approx(2.99, abs=0.005)
    assert plain[1] / small == pytest.approx(3.96, abs=0.01)
    assert plain[0] / small == pytest.approx(11.84, abs=0.01)
