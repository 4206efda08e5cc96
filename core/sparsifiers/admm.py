"""ADMM pruning: alternating direction method of multipliers with a fixed share of zeros.

Zhang et al. 2018 (arXiv 1804.03294); with adversarial training Ye et al. 2019 (arXiv 1903.12561). min f(W) + g(Z) with
W = Z, where g allows only a given share of non-zeros. In scaled form,

    W <- a few steps of SGD on f(W) + (rho/2) ||W - Z + U||^2        Z <- Proj(W + U)        U <- U + W - Z

with the projection that keeps the largest weights, or groups, of each layer. Three stages: train, ADMM, then cut
(W <- Proj(W)) and fine-tune what is left under a fixed mask.

This is the fair baseline: Z and U are kept for the whole ADMM stage, the projection is on |w|, U is divided when rho grows
(scaled duals are y / rho), and the network that is evaluated is the projected one. Ye et al. update Z, U and rho every 20
epochs, rho by a factor of 1.3 from 1e-3: `update_every: 20, rho: 1.0e-3, rho_growth: 1.3`. The
implementation behind the thesis's Table 4.7 does none of these (see docs/why/methods.md).
"""

import math
from typing import Annotated, Literal

import torch
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor, nn

from core import proximal
from core.channels import convolutions
from core.optimizers import Optimizer
from core.sparsifiers.base import SparseOptimizer, Sparsifier, Stage

AXES = {
    "unstructured": proximal.ELEMENTS,
    "filter": proximal.FILTERS,
    "column": proximal.COLUMNS,
    "channel": proximal.INPUT_CHANNELS,
}
AS_TUPLE = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
Share = Annotated[float, Field(ge=0, le=1)]
Shares = Annotated[tuple[Share, Share, Share], AS_TUPLE]
Rate = Annotated[float, Field(gt=0, le=100)]
Rates = Annotated[tuple[Rate, Rate, Rate], AS_TUPLE]


class Alternating(SparseOptimizer):
    """The ADMM stage: Z and U of some parameters in the state."""

    def __init__(
        self,
        base: torch.optim.Optimizer,
        steps_per_epoch: int,
        epochs: int,
        settings: "Admm",
        split: list[nn.Parameter],
    ) -> None:
        super().__init__(base, steps_per_epoch, epochs)
        self.settings = settings
        for p in split:
            self.state[p].update(Z=settings.project(p.data), U=torch.zeros_like(p))

    @property
    def rho(self) -> float:
        """The penalty now: multiplied by rho_growth at every update of Z and U."""
        updates = self.steps // (self.steps_per_epoch * self.settings.update_every)
        return self.settings.rho and self.settings.rho * math.prod([self.settings.rho_growth] * updates)

    def before(self) -> None:
        """Add rho (W - Z + U), the gradient of the augmented term."""
        rho = self.rho
        for p, state in self.chosen():
            if p.grad is not None:
                p.grad.add_(p - state["Z"] + state["U"], alpha=rho)

    def end_epoch(self) -> None:
        """The updates of Z and U, if their turn has come; U is divided by the growth of rho that takes place here."""
        if self.steps % (self.steps_per_epoch * self.settings.update_every):
            return
        for p, state in self.chosen():
            state["Z"] = self.settings.project(p + state["U"])
            state["U"] = (state["U"] + p - state["Z"]) / self.settings.rho_growth
        gap = sum(float((p - state["Z"]).square().sum()) for p, state in self.chosen())
        size = sum(float(p.square().sum()) for p, _ in self.chosen())
        self.figures["gap"] = (gap / size) ** 0.5 if size else 0.0  # the primal residual, ||W - Z|| / ||W||

    def sparse(self, p: nn.Parameter) -> Tensor:
        """Proj(W)."""
        return self.settings.project(p.data) if p in self.state else p.data


class Masked(SparseOptimizer):
    """Training in which what is zero now stays zero: gradients are masked, and weights after the step."""

    def __init__(
        self, base: torch.optim.Optimizer, steps_per_epoch: int, epochs: int, masked: list[nn.Parameter]
    ) -> None:
        super().__init__(base, steps_per_epoch, epochs)
        for p in masked:
            self.state[p]["mask"] = p.data != 0

    def before(self) -> None:
        """Mask the gradients, so that no momentum builds up on what is cut."""
        for p, state in self.chosen():
            if p.grad is not None:
                p.grad.mul_(state["mask"])

    def after(self) -> None:
        """Mask the weights."""
        for p, state in self.chosen():
            p.mul_(state["mask"])


class Admm(Sparsifier):
    """ADMM pruning to a given share of zeros a layer (Zhang et al. 2018, arXiv 1804.03294): train, ADMM, fine-tune."""

    name: Literal["admm"] = "admm"
    structure: Literal["unstructured", "filter", "column", "channel"] = "unstructured"
    """What becomes zero together: single weights, output filters, one position over all filters, input channels."""
    sparsity: Annotated[float, Field(ge=0, lt=1)] = 0.6
    """Share of each convolution's weights, or groups, that become zero."""
    rho: Annotated[float, Field(ge=0, le=1e3)] = 1e-2
    """Penalty of the augmented Lagrangian at the start (thesis, Table 3.2: 1e-2)."""
    rho_growth: Annotated[float, Field(ge=1, le=10)] = 1.0
    """Factor on rho at each update (Ye et al.: 1.3). Where lr times rho comes near 1, training diverges."""
    update_every: Annotated[int, Field(ge=1, le=1000)] = 1
    """Epochs between two updates of Z, U and rho (Ye et al.: 20)."""
    shares: Shares = (0.5, 0.25, 0.25)
    """How the epochs are divided among training, ADMM and fine-tuning."""
    lrs: Rates = (1.0, 0.1, 0.1)
    """Learning rate of each stage, as a share of train.lr (Ye et al.: 0.01 after 0.1)."""

    @model_validator(mode="after")
    def _shares_are_one(self) -> "Admm":
        if abs(sum(self.shares) - 1) > 1e-9:
            raise ValueError(f"shares must add up to 1, not {sum(self.shares):g}")
        if not self.shares[1]:
            raise ValueError("the second of the shares, ADMM's, must be above 0: nothing would be cut")
        return self

    def stages(self, epochs: int, lr: float) -> list[Stage]:
        """Train, ADMM for an epoch at least, fine-tune; of these two, one that rounds to no epoch is left out."""
        first = min(round(epochs * self.shares[0]), epochs - 1)
        second = max(round(epochs * (self.shares[0] + self.shares[1])) - first, 1)
        lengths = (first, second, epochs - first - second)
        every = zip(("train", "admm", "finetune"), lengths, self.lrs, strict=True)
        return [Stage(name, length, lr * share) for name, length, share in every if length]

    def optimizer(self, net: nn.Module, base: Optimizer, steps_per_epoch: int, stage: Stage) -> SparseOptimizer:
        """Plain training, the alternation, or masked training."""
        made = base.make(net.parameters(), stage.lr)
        if stage.name == "admm":
            return Alternating(made, steps_per_epoch, stage.epochs, self, convolutions(net))
        if stage.name == "finetune":
            return Masked(made, steps_per_epoch, stage.epochs, convolutions(net))
        return SparseOptimizer(made, steps_per_epoch, stage.epochs)

    @classmethod
    def strong(cls) -> dict[str, object]:
        """Zeros at once."""
        return {"sparsity": 0.5}

    def without_strength(self) -> "Admm":
        """rho = 0 and nothing cut."""
        return self.model_copy(update={"rho": 0.0, "sparsity": 0.0})

    def project(self, w: Tensor) -> Tensor:
        """The nearest tensor with the given share of zeros."""
        return proximal.keep_largest(w, self.sparsity, AXES[self.structure])
