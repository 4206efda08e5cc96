"""RGSM: relaxed group-wise splitting for structured sparsity.

Yang, Xin and others 2020 (arXiv 2003.00631), algorithm 2; the thesis, section 4.1. RVSM with groups, and with a group
lasso on w beside it:

    f(w) + lambda2 sum_g ||w_g||_2 + lambda1 P(u) + (beta/2) ||w - u||^2

lambda2 is a differentiable term of the loss (the norm as sqrt(sum w^2 + 1e-8), as in the authors' code); lambda1 is the
weight of the proximal operator on u. Groups are the *input* channels of every convolution, RGB and shortcuts included,
without a factor sqrt(group size): ResNet20 has 675, and the counts behind the thesis's percentages fit no other choice.
`size_weight: sqrt` puts that factor, common in group lassos (Yuan and Lin 2006), before both penalties of a group. The authors'
main program uses the group-l0 operator, threshold sqrt(2 lambda1 / beta), where the thesis's text (eq. 4.4) has the group
lasso's: `prox` chooses. The transformed l1 of the thesis's chapter 3 is there for groups too, on the norm of each.
"""

import math
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from core import proximal
from core.channels import convolutions
from core.optimizers import Optimizer
from core.sparsifiers.base import SparseOptimizer, Sparsifier, Stage
from core.sparsifiers.rvsm import Pull, Replace, Splitting

AXES = {"conv_input_channels": proximal.INPUT_CHANNELS, "conv_filters": proximal.FILTERS}


class Rgsm(Sparsifier):
    """Relaxed group-wise splitting (Yang et al. 2020, arXiv 2003.00631; thesis, 4.1): whole channels become zero."""

    name: Literal["rgsm"] = "rgsm"
    groups: Literal["conv_input_channels", "conv_filters"] = "conv_input_channels"
    """What becomes zero together: input channels (the authors' code) or output filters."""
    prox: Literal["group_l0", "group_lasso", "group_transformed_l1"] = "group_l0"
    """The operator that makes u: keep or kill (the authors' code), shrink (thesis, eq. 4.4), or between the two."""
    a: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """Shape of group_transformed_l1 (the thesis uses 1)."""
    beta: Annotated[float, Field(gt=0, le=1e3)] = 1.0
    """Strength of the pull between w and u (thesis: 1)."""
    lambda1: Annotated[float, Field(ge=0, le=1e3)] = 5e-2
    """Weight of the penalty on u. group_l0 kills norms up to sqrt(2 lambda1 / beta); group_lasso up to lambda1 / beta."""
    lambda2: Annotated[float, Field(ge=0, le=1e3)] = 1e-5
    """Weight of the group lasso on w (thesis: 1e-5)."""
    size_weight: Literal["none", "sqrt"] = "none"
    """Factor on lambda1 and lambda2 of a group: none (the authors' code), or the square root of its number of weights."""
    pull: Pull = "outside_momentum"
    """Where the pull acts."""
    replace: Replace = "epoch_end"
    """When w becomes u."""
    min_groups: Annotated[int, Field(ge=0, le=4096)] = 1
    """How many groups of a layer stay, whatever their norm; the authors' code has no such rule (0)."""

    def optimizer(self, net: nn.Module, base: Optimizer, steps_per_epoch: int, stage: Stage) -> SparseOptimizer:
        """The splitting of every convolution weight."""
        made = base.make(net.parameters(), stage.lr)
        return Splitting(
            made, steps_per_epoch, stage.epochs, convolutions(net), self.split, self.beta, self.pull, self.replace
        )

    @classmethod
    def strong(cls) -> dict[str, object]:
        """Zeros at once."""
        return {"lambda1": 1.0}

    def without_strength(self) -> "Rgsm":
        """lambda1 = lambda2 = 0, where u = w."""
        return self.model_copy(update={"lambda1": 0.0, "lambda2": 0.0})

    def split(self, w: Tensor) -> Tensor:
        """u = prox_{(lambda1/beta) P}(w), but for the groups that min_groups keeps."""
        axes = AXES[self.groups]
        return proximal.keep_some(self._operator(w, axes), w, axes, self.min_groups)

    def _operator(self, w: Tensor, axes: proximal.Axes) -> Tensor:
        lam = self.lambda1 / self.beta * self.factor(w)
        if self.prox == "group_transformed_l1":
            return proximal.group_transformed_l1(w, lam, self.a, axes)
        return (proximal.group_hard if self.prox == "group_l0" else proximal.group_soft)(w, lam, axes)

    def factor(self, w: Tensor) -> float:
        """What both penalties of a group of `w` are multiplied by; all its groups have one size."""
        sizes = (w.shape[axis] for axis in AXES[self.groups])
        return math.sqrt(math.prod(sizes)) if self.size_weight == "sqrt" else 1.0

    def penalty(self, net: nn.Module) -> Tensor | float:
        """lambda2 sum_g sqrt(||w_g||^2 + 1e-8) over all convolutions, with the factor of size_weight."""
        if not self.lambda2:
            return 0.0
        axes = AXES[self.groups]
        norms = [self.factor(w) * w.square().sum(axes).add(1e-8).sqrt().sum() for w in convolutions(net)]
        return self.lambda2 * sum(norms, start=norms[0].new_zeros(()))
