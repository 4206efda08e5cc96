"""ADMM pruning: alternating direction method of multipliers with a fixed share of zeros.

Zhang et al. 2018 (arXiv 1804.03294); with adversarial training Ye et al. 2019 (arXiv 1903.12561). min f(W) + g(Z) with
W = Z, where g allows only a given share of non-zeros. In scaled form,

    W <- a few steps of SGD on f(W) + (rho/2) ||W - Z + U||^2        Z <- Proj(W + U)        U <- U + W - Z

with the projection that keeps the largest weights, or groups, of each layer. Three stages: train, ADMM, then cut
(W <- Proj(W)) and fine-tune what is left under a fixed mask.

This is the fair baseline: Z and U are kept for the whole ADMM stage, the projection is on |w|, U is divided when rho grows
(scaled duals are y / rho), and the network that is evaluated is the projected one. Ye et al. update Z, U and rho every 20
epochs, rho by a factor of 1.3 from 1e-3: `update_every: 20, rho: 1.0e-3, rho_growth: 1.3`. Zhang et al. prune the linear
layers of LeNet too, to a seventieth of its weights: `layers: all, sparsity: [0.8, 0.92, 0.991, 0.93]` of the net with widths
20-50-500. The implementation behind the thesis's Table 4.7 does none of this: `mode: thesis` repeats it, faults and all, and
is no ADMM (`core/sparsifiers/published.py`).
"""

import math
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from core import proximal
from core.channels import Tie, convolutions, weights
from core.optimizers import Optimizer
from core.sparsifiers.base import SparseOptimizer, Sparsifier, Stage
from core.sparsifiers.masked import Masked
from core.sparsifiers.published import Published
from core.sparsifiers.shares import PerLayer, ThreeRates, ThreeStages, each

AXES = {
    "unstructured": proximal.ELEMENTS,
    "filter": proximal.FILTERS,
    "column": proximal.COLUMNS,
    "channel": proximal.INPUT_CHANNELS,
}


class Alternating(SparseOptimizer):
    """The ADMM stage: Z and U of some parameters in the state. `split` has each one's share of zeros."""

    def __init__(
        self,
        base: torch.optim.Optimizer,
        steps_per_epoch: int,
        epochs: int,
        settings: "Admm",
        split: dict[nn.Parameter, float],
    ) -> None:
        super().__init__(base, steps_per_epoch, epochs)
        self.settings, self.split = settings, split
        for p in split:
            self.state[p].update(Z=self.project(p, p.data), U=torch.zeros_like(p.data))

    def project(self, p: nn.Parameter, w: Tensor) -> Tensor:
        """Proj(w), with the share of zeros that p is to have."""
        return self.settings.project(w, self.split[p])

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
            state["Z"] = self.project(p, p + state["U"])
            state["U"] = (state["U"] + p - state["Z"]) / self.settings.rho_growth
        gap = sum(float((p - state["Z"]).square().sum()) for p, state in self.chosen())
        size = sum(float(p.square().sum()) for p, _ in self.chosen())
        self.figures["gap"] = (gap / size) ** 0.5 if size else 0.0  # the primal residual, ||W - Z|| / ||W||

    def sparse(self, p: nn.Parameter) -> Tensor:
        """Proj(W)."""
        return self.project(p, p.data) if p in self.state else p.data


class Admm(Sparsifier):
    """ADMM pruning to a given share of zeros a layer (Zhang et al. 2018, arXiv 1804.03294): train, ADMM, fine-tune."""

    name: Literal["admm"] = "admm"
    mode: Literal["fair", "thesis"] = "fair"
    """fair: ADMM. thesis: the faulty loop behind the thesis's Table 4.7, to repeat that table and not to be ranked; it has
    one stage, and knows no update_every, rho_growth, shares or lrs."""
    structure: Literal["unstructured", "filter", "column", "channel"] = "unstructured"
    """What becomes zero together: single weights, output filters, one position over all filters, input channels."""
    layers: Literal["convolutions", "all"] = "convolutions"
    """What is pruned: convolutions, or linear layers too (unstructured only)."""
    sparsity: PerLayer = 0.6
    """Share of each pruned layer's weights, or groups, that become zero: one number, or one for each layer, in order."""
    rho: Annotated[float, Field(ge=0, le=1e3)] = 1e-2
    """Penalty of the augmented Lagrangian at the start (thesis, Table 3.2: 1e-2)."""
    rho_growth: Annotated[float, Field(ge=1, le=10)] = 1.0
    """Factor on rho at each update (Ye et al.: 1.3). Where lr times rho comes near 1, training diverges."""
    update_every: Annotated[int, Field(ge=1, le=1000)] = 1
    """Epochs between two updates of Z, U and rho (Ye et al.: 20)."""
    shares: ThreeStages = (0.5, 0.25, 0.25)
    """How the epochs are divided among training, ADMM and fine-tuning."""
    lrs: ThreeRates = (1.0, 0.1, 0.1)
    """Learning rate of each stage, as a share of train.lr (Ye et al.: 0.01 after 0.1)."""

    @model_validator(mode="after")
    def _linear_layers_have_no_channels(self) -> "Admm":
        if self.layers == "all" and self.structure != "unstructured":
            raise ValueError(f"layers: all goes with structure: unstructured alone, not with {self.structure}")
        return self

    @model_validator(mode="after")
    def _as_published(self) -> "Admm":
        if self.mode == "thesis":
            if self.structure in ("filter", "column") or self.layers == "all":
                raise ValueError("mode: thesis knows structure unstructured or channel, of convolutions")
            for key in ("rho_growth", "update_every", "shares", "lrs"):
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(f"mode: thesis knows no {key}: leave it out")
        return self

    def fits(self, shape: Callable[[], nn.Module], ties: tuple[Tie, ...]) -> None:
        """A list of shares must have one for each pruned layer."""
        if isinstance(self.sparsity, tuple):
            self.split(shape())

    def split(self, net: nn.Module) -> dict[nn.Parameter, float]:
        """The weights that are pruned, each with its share of zeros; `InvalidSpec` where `sparsity` lists another number."""
        pruned = weights(net) if self.layers == "all" else convolutions(net)
        return dict(zip(pruned, each(self.sparsity, len(pruned), "sparsity"), strict=True))

    def stages(self, epochs: int, lr: float) -> list[Stage]:
        """Train, ADMM for an epoch at least, fine-tune; of these two, one that rounds to no epoch is left out."""
        if self.mode == "thesis":
            return [Stage("train", epochs, lr)]
        first = min(round(epochs * self.shares[0]), epochs - 1)
        second = max(round(epochs * (self.shares[0] + self.shares[1])) - first, 1)
        lengths = (first, second, epochs - first - second)
        every = zip(("train", "admm", "finetune"), lengths, self.lrs, strict=True)
        return [Stage(name, length, lr * share) for name, length, share in every if length]

    def optimizer(self, net: nn.Module, base: Optimizer, steps_per_epoch: int, stage: Stage) -> SparseOptimizer:
        """Plain training, the alternation, or masked training; or the published loop."""
        made, split = base.make(net.parameters(), stage.lr), self.split(net)
        if self.mode == "thesis":
            return Published(made, steps_per_epoch, stage.epochs, split, self.structure == "channel", self.rho)
        if stage.name == "admm":
            return Alternating(made, steps_per_epoch, stage.epochs, self, split)
        if stage.name == "finetune":
            return Masked(made, steps_per_epoch, stage.epochs, list(split))
        return SparseOptimizer(made, steps_per_epoch, stage.epochs)

    @classmethod
    def strong(cls) -> dict[str, object]:
        """Zeros at once."""
        return {"sparsity": 0.5}

    def without_strength(self) -> "Admm":
        """rho = 0 and nothing cut."""
        return self.model_copy(update={"rho": 0.0, "sparsity": 0.0})

    def project(self, w: Tensor, sparsity: float) -> Tensor:
        """The nearest tensor with the given share of zeros."""
        return proximal.keep_largest(w, sparsity, AXES[self.structure])
