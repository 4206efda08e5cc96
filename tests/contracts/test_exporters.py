"""What every exporter must do."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from contracts.conftest import of
from contracts.test_models import pruned, shape
from core.blueprint import Blueprint
from core.errors import ExportChanged
from core.exporters.base import Exporter, difference
from core.family import members

EXPORTERS = of("exporters")
MODEL_CASES = of("models")


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("model", MODEL_CASES)
def test_the_file_computes_what_the_exporter_promises(exporter: Exporter, model, tmp_path: Path) -> None:
    net = pruned(model)
    blueprint = Blueprint(model=model, num_classes=10, channels=shape(model)[0])
    x = torch.rand(8, *shape(model))
    path, worst = exporter.export(net, blueprint, x, tmp_path / "model")
    assert path.is_file()
    assert difference(exporter.expected(net), exporter.read(path), x).within(exporter.tolerance)
    assert worst == pytest.approx(difference(net, exporter.read(path), x).worst, abs=exporter.tolerance)
    assert exporter.lossy or worst <= exporter.tolerance


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_file_that_computes_something_else_is_refused(exporter: Exporter, tmp_path: Path, monkeypatch) -> None:
    model = members("core.models")["resnet"](depth=8)
    net, blueprint = pruned(model), Blueprint(model=model, num_classes=10, channels=3)
    read = type(exporter).read

    def tampered(self: Exporter, path: Path) -> nn.Module:
        net = read(self, path)
        with torch.no_grad():
            net.get_parameter("fc.bias").add_(0.01)
        return net

    monkeypatch.setattr(type(exporter), "read", tampered)
    with pytest.raises(ExportChanged, match="a logit differs by 0.01"):
        exporter.export(net, blueprint, torch.rand(4, 3, 32, 32), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_only_a_lossy_exporter_promises_another_network(exporter: Exporter) -> None:
    net = pruned(members("core.models")["resnet"](depth=8))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    promised = exporter.expected(net)
    assert (promised is net) == (not exporter.lossy)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    moved = [name for name, value in promised.state_dict().items() if not torch.equal(value, before[name])]
    assert bool(moved) == exporter.lossy


def test_the_difference_of_two_networks_leaves_their_modes(small: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    modes = [module.training for module in small.modules()]
    difference(small, small, images[0])
    assert [module.training for module in small.modules()] == modes


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_network_whose_logits_are_not_numbers_is_not_exported(exporter: Exporter, tmp_path: Path) -> None:
    model = members("core.models")["resnet"](depth=8)
    net, blueprint = pruned(model), Blueprint(model=model, num_classes=10, channels=3)
    with torch.no_grad():
        net.get_parameter("fc.bias").fill_(torch.nan)
    with pytest.raises(ExportChanged, match="a logit differs by nan"):
        exporter.export(net, blueprint, torch.rand(4, 3, 32, 32), tmp_path / "model")


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_the_same_network_gives_the_same_bytes(exporter: Exporter, tmp_path: Path) -> None:
    model = members("core.models")["resnet"](depth=8)
    net, blueprint = pruned(model), Blueprint(model=model, num_classes=10, channels=3)
    x = torch.rand(4, 3, 32, 32)
    found = {exporter.export(net, blueprint, x, tmp_path / str(time))[0].read_bytes() for time in range(6)}
    assert len(found) == 1
