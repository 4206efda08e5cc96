"""Train, cut whole channels once, tune what is left: the frame of network slimming and of l1-norm filter pruning.

A channel is cut where it can be removed for real: what its consumer reads of it, its scale and shift in the norm, and the
producer's filter become zero together (`core.channels.kill`), so that compaction takes it out of every layer it runs
through. The consumer's zeros are held by a mask; no gradient reaches the others behind them.

`then: scratch` throws the trained weights away and trains the pruned shape from random ones (Liu et al. 2019, "Rethinking
the value of network pruning", arXiv 1810.05270, their Scratch-E for equal shares of the epochs). The random weights are
those of a fresh network under a seed of their own, not the ones that training began with. Unlike theirs, they are drawn for
the whole width and then cut, so their variance is that of the whole network's layers.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from core.channels import Tie, kill, weights
from core.optimizers import Optimizer
from core.sparsifiers.base import SparseOptimizer, Sparsifier, Stage
from core.sparsifiers.masked import Masked
from core.sparsifiers.shares import TwoRates, TwoStages


class OneShot(Sparsifier):
    """Train, cut channels once, tune. Members give `dead`, and `training` where their first stage is not plain."""

    then: Literal["finetune", "scratch"] = "finetune"
    """What follows the cut: tuning the trained weights, or training the pruned shape from random ones."""
    shares: TwoStages = (0.5, 0.5)
    """How the epochs are divided between training and tuning."""
    lrs: TwoRates = (1.0, 1.0)
    """Learning rate of each stage, as a share of train.lr."""

    @abstractmethod
    def dead(self, net: nn.Module, ties: tuple[Tie, ...]) -> list[tuple[Tie, Tensor]]:
        """The channels to cut, (channels,) booleans, of each tie that has a say."""

    def training(
        self, net: nn.Module, base: torch.optim.Optimizer, steps_per_epoch: int, epochs: int
    ) -> SparseOptimizer:
        """The optimiser of the first stage: the wrapped one alone."""
        return SparseOptimizer(base, steps_per_epoch, epochs)

    def stages(self, epochs: int, lr: float) -> list[Stage]:
        """Train, if that comes to an epoch; then tune, for an epoch at least."""
        first = min(round(epochs * self.shares[0]), epochs - 1)
        tuned = Stage(self.then, epochs - first, lr * self.lrs[1])
        return [Stage("train", first, lr * self.lrs[0]), tuned] if first else [tuned]

    def advance(self, net: nn.Module, stage: Stage, ties: tuple[Tie, ...], fresh: Callable[[], nn.Module]) -> nn.Module:
        """The trained network with its dead channels cut; before `scratch`, with the weights of a fresh one."""
        if stage.name == "train":
            return net
        dead = self.dead(net, ties)
        if stage.name == "scratch":
            net.load_state_dict(fresh().state_dict())
        for tie, channels in dead:
            kill(net, tie, channels)
        return net

    def optimizer(self, net: nn.Module, base: Optimizer, steps_per_epoch: int, stage: Stage) -> SparseOptimizer:
        """The member's own training, then masked training."""
        made = base.make(net.parameters(), stage.lr)
        if stage.name == "train":
            return self.training(net, made, steps_per_epoch, stage.epochs)
        return Masked(made, steps_per_epoch, stage.epochs, weights(net))
