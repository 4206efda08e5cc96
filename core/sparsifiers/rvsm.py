"""RVSM: relaxed variable splitting for unstructured sparsity.

Dinh and Xin 2018 (arXiv 1812.05719); the thesis, chapter 3. With the Lagrangian
L(w, u) = f(w) + lam P(u) + (beta/2) ||w - u||^2, each batch does

    w <- w - lr grad f(w) - lr beta (w - u)        u <- argmin_u L(w, u) = prox_{(lam/beta) P}(w)

There is no multiplier, so w and u keep a gap and u is the sparse one. At the end of each epoch the authors' code replaces w
by u and goes on from there (thesis, 3.1.4: "without any performance loss"). It applies the pull straight to the weights,
so outside the momentum; an older helper adds it to the gradient, so inside: `pull` chooses. Every convolution weight is
split, biases, batch norm and linear layers are not.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from core import proximal
from core.channels import convolutions
from core.optimizers import Optimizer
from core.sparsifiers.base import SparseOptimizer, Sparsifier, Stage

Pull = Literal["outside_momentum", "inside_momentum"]
Replace = Literal["epoch_end", "never"]


class Splitting(SparseOptimizer):
    """The relaxed splitting of some parameters, with u = `prox`(w) in the state."""

    def __init__(
        self,
        base: torch.optim.Optimizer,
        steps_per_epoch: int,
        epochs: int,
        split: list[nn.Parameter],
        prox: Callable[[Tensor], Tensor],
        beta: float,
        pull: Pull,
        replace: Replace,
    ) -> None:
        super().__init__(base, steps_per_epoch, epochs)
        self.prox, self.beta, self.pull, self.replace = prox, beta, pull, replace
        for p in split:
            self.state[p]["u"] = prox(p.data)

    def before(self) -> None:
        """The pull towards u, of the batch before: on the weights at the present rate, or into the gradient."""
        rates = {p: group["lr"] for group in self.param_groups for p in group["params"]}
        for p, state in self.chosen():
            gap = p - state["u"]
            if self.pull == "outside_momentum":
                p.sub_(gap, alpha=rates[p] * self.beta)
            elif p.grad is not None:
                p.grad.add_(gap, alpha=self.beta)

    def after(self) -> None:
        """The new u."""
        for p, state in self.chosen():
            state["u"] = self.prox(p)

    def end_epoch(self) -> None:
        """Note the gap between w and u, then replace w by u, if so set."""
        pairs = [(p, state["u"]) for p, state in self.chosen()]
        gap = sum(float((p - u).square().sum()) for p, u in pairs)
        size = sum(float(p.square().sum()) for p, _ in pairs)
        self.figures["gap"] = (gap / size) ** 0.5 if size else 0.0  # ||w - u|| / ||w||
        if self.replace == "epoch_end":
            self.finalize()

    def sparse(self, p: nn.Parameter) -> Tensor:
        """u."""
        return self.state[p]["u"] if p in self.state else p.data


class Rvsm(Sparsifier):
    """Relaxed variable splitting (Dinh and Xin 2018, arXiv 1812.05719; thesis, chapter 3): single weights become zero."""

    name: Literal["rvsm"] = "rvsm"
    prox: Literal["l0", "l1", "transformed_l1"] = "l0"
    """The penalty P, by its proximal operator. The thesis's robust tables use l0, threshold sqrt(2 lam / beta)."""
    lam: Annotated[float, Field(ge=0, le=1e3)] = 1e-6
    """Weight of the penalty (thesis, Table 4.4: 1e-6)."""
    beta: Annotated[float, Field(gt=0, le=1e3)] = 0.1
    """Strength of the pull between w and u (Table 4.4: 0.01, 0.1, 0.5). A larger beta lowers the threshold: denser."""
    a: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """Shape of transformed_l1 (the thesis uses 1)."""
    pull: Pull = "outside_momentum"
    """Where the pull acts (the authors' main program: on the weights, outside the momentum)."""
    replace: Replace = "epoch_end"
    """When w becomes u."""

    def optimizer(self, net: nn.Module, base: Optimizer, steps_per_epoch: int, stage: Stage) -> SparseOptimizer:
        """The splitting of every convolution weight."""
        made = base.make(net.parameters(), stage.lr)
        return Splitting(
            made, steps_per_epoch, stage.epochs, convolutions(net), self.split, self.beta, self.pull, self.replace
        )

    @classmethod
    def strong(cls) -> dict[str, object]:
        """Zeros at once."""
        return {"lam": 1e-3}

    def without_strength(self) -> "Rvsm":
        """lam = 0, where u = w."""
        return self.model_copy(update={"lam": 0.0})

    def split(self, w: Tensor) -> Tensor:
        """u = prox_{(lam/beta) P}(w)."""
        lam = self.lam / self.beta
        if self.prox == "transformed_l1":
            return proximal.transformed_l1(w, lam, self.a)
        return proximal.soft(w, lam) if self.prox == "l1" else proximal.hard(w, lam)
