"""A network's modes, module by module: what looks at a network must leave frozen layers frozen."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def kept_modes(net: nn.Module) -> Iterator[None]:
    """Afterwards every module is in training or evaluation mode as it was; `net.train()` would forget single ones."""
    modes = [(module, module.training) for module in net.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """The network in evaluation mode, for a while."""
    with kept_modes(net):
        net.eval()
        yield
