"""Choosing the epoch: how good the sparse network of the moment is on the validation split."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from core.accuracy import Trial
from core.attacks.base import Attack
from core.attacks.pgd import Pgd
from core.datasets.base import Split
from core.measure import channel_sparsity, weight_sparsity
from core.modes import evaluating
from core.recipe import Select
from core.sparsifiers.base import SparseOptimizer
from core.threat import Threat


def adversary(metric: str, threat: Threat) -> Attack | None:
    """The attack that a metric's name stands for: none for `clean`, else PGD of so many steps, last iterate."""
    if metric == "clean":
        return None
    return Pgd(steps=int(metric.removeprefix("pgd"))).within(threat, "last")


@contextmanager
def sparse_version(net: nn.Module, optimizer: SparseOptimizer) -> Iterator[None]:
    """The network finalised and in evaluation mode; afterwards with the weights and the modes that it had."""
    before = [p.detach().clone() for p in optimizer.parameters()]
    optimizer.finalize()
    try:
        with evaluating(net):
            yield
    finally:
        with torch.no_grad():
            for p, kept in zip(optimizer.parameters(), before, strict=True):
                p.copy_(kept)


def trials(
    net: nn.Module, split: Split, select: Select, threat: Threat, size: int, key: tuple[int, int]
) -> dict[str, Trial]:
    """The trials that judge a candidate, by name of their figure; `key` is (seed, epoch)."""
    some = split.prefix(select.images)
    attack = adversary(select.metric, threat)
    found = {"clean": Trial(net, some, None, size, ("select", "clean", *key), select.draws)}
    if attack:
        found[select.metric] = Trial(net, some, attack, size, ("select", select.metric, *key), select.draws)
    return found


def sparse_enough(net: nn.Module, least: float | None) -> bool:
    """Whether the share of dead input channels, or where there are none of zero weights, reaches `least`."""
    return least is None or (channel_sparsity(net) or weight_sparsity(net)) >= least
