"""A sparsifier is an optimiser: what a method of sparse training is, and how its state survives a restart.

`SparseOptimizer` wraps a torch optimiser. The wrapped one moves the weights; the method adds its own rule before and after
that step. Copies, duals and masks of a parameter `p` live in `self.state[p]`, so a checkpoint, a resume and a schedule need
to know nothing about the method, and the training loop has no `if sparsifier ==`.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from core.channels import Tie
from core.family import Plugin
from core.optimizers import Optimizer


class Stage(NamedTuple):
    """A part of training with its own optimiser: a multi-stage method trains, then prunes, then tunes."""

    name: str
    epochs: int
    lr: float


class SparseOptimizer(torch.optim.Optimizer):
    """A torch optimiser with a rule of sparsity around its step. Methods override `before`, `after`, `end_epoch`, `sparse`.

    `step(closure)`: the closure clears the gradients, computes the loss, calls `backward` and returns the loss, as torch's
    optimisers ask. Unlike torch's, the closure is required, so that a method may evaluate it more than once. Steps are
    counted here, so a method knows when an epoch ends without being told.
    """

    def __init__(self, base: torch.optim.Optimizer, steps_per_epoch: int, epochs: int) -> None:
        super().__init__(base.param_groups, base.defaults)
        self.base, self.steps_per_epoch, self.epochs, self.steps = base, steps_per_epoch, epochs, 0
        self.figures: dict[str, float] = {}
        """What the method has to say about itself, noted at the end of each epoch."""
        # One list for both, so that a schedule that sets lr reaches the wrapped optimiser.
        self.param_groups = base.param_groups

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """One step of the method; returns the loss."""
        loss = closure()
        with torch.no_grad():
            self.move()
            self.steps += 1
            if self.steps % self.steps_per_epoch == 0:
                self.end_epoch()
        return loss

    def move(self) -> None:
        """Change the weights, given their gradients: the wrapped step between the method's own two halves."""
        self.before()
        self.base.step()
        self.after()

    def before(self) -> None:
        """What the method does between the gradient and the wrapped optimiser's step."""

    def after(self) -> None:
        """What the method does after the wrapped optimiser's step."""

    def end_epoch(self) -> None:
        """What the method does after the last step of an epoch."""

    def sparse(self, p: nn.Parameter) -> Tensor:
        """The sparse version of a parameter, with exact zeros; the parameter itself where the method leaves it alone."""
        return p.data

    @torch.no_grad()
    def finalize(self) -> None:
        """Put the sparse version of every parameter in its place."""
        for p in self.parameters():
            p.copy_(self.sparse(p))

    def parameters(self) -> Iterator[nn.Parameter]:
        """All parameters, in order."""
        for group in self.param_groups:
            yield from group["params"]

    def chosen(self) -> Iterator[tuple[nn.Parameter, dict[str, Any]]]:
        """The parameters that the method makes sparse (those it keeps state for), each with its state."""
        yield from ((p, self.state[p]) for p in self.parameters() if p in self.state)

    def state_dict(self) -> dict[str, Any]:
        """Everything a restart needs: the wrapped optimiser's state, the method's by number of parameter, the step."""
        own = {str(i): dict(self.state[p]) for i, p in enumerate(self.parameters()) if p in self.state}
        return {"base": self.base.state_dict(), "own": own, "steps": self.steps, "figures": self.figures}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave. Unlike torch's, it keeps the type of every tensor (masks stay boolean), and
        gives each the memory layout of its parameter, as it had when it was made."""
        self.base.load_state_dict(state["base"])
        self.param_groups = self.base.param_groups
        everyone = list(self.parameters())
        for p in everyone:
            self.base.state[p] = {key: _laid_out(value, p) for key, value in self.base.state[p].items()}
        for number, own in state["own"].items():
            p = everyone[int(number)]
            self.state[p] = {key: _laid_out(value, p) for key, value in own.items()}
        self.steps, self.figures = state["steps"], state["figures"]


def _laid_out(value: Any, p: nn.Parameter) -> Any:
    """A copy of `value` on p's device; with p's memory layout, if it has p's shape."""
    if not isinstance(value, Tensor):
        return value
    if value.shape == p.shape:
        return torch.empty_like(p, dtype=value.dtype, requires_grad=False).copy_(value)
    return value.clone()


class Sparsifier(Plugin):
    """A method of sparse training. Members give `optimizer`; `penalty`, `stages`, `advance`, `prepare`, `fits` if needed."""

    @abstractmethod
    def optimizer(self, net: nn.Module, base: Optimizer, steps_per_epoch: int, stage: Stage) -> SparseOptimizer:
        """The optimiser of one stage of the training of `net`; `base` makes the one that it wraps."""

    @classmethod
    def strong(cls) -> dict[str, Any]:
        """What to add to `example` so that a few steps make zeros; the contract tests use it."""
        return {}

    @abstractmethod
    def without_strength(self) -> "Sparsifier":
        """These settings at strength zero, where the method must equal the wrapped optimiser bit for bit."""

    def fits(self, shape: Callable[[], nn.Module], ties: tuple[Tie, ...]) -> None:
        """Raise `InvalidSpec`, with pointers from /sparsifier on, where this method cannot make such a network sparse.

        Asked before anything is computed: `shape()` makes the network without values. `ties`: who shares a channel index.
        """

    def stages(self, epochs: int, lr: float) -> list[Stage]:
        """The parts of a training of `epochs` epochs at base rate `lr`; one, unless the method says otherwise."""
        return [Stage("train", epochs, lr)]

    def prepare(self, net: nn.Module) -> nn.Module:
        """The network to train: itself, or with layers wrapped."""
        return net

    def advance(self, net: nn.Module, stage: Stage, ties: tuple[Tie, ...], fresh: Callable[[], nn.Module]) -> nn.Module:
        """The network to train in `stage`, given the finalised one of the stage before.

        `ties`: who shares a channel index. `fresh()`: the same network with other random weights, always the same ones.
        After a restart it is called for the stages gone by too, with whatever weights; those of the checkpoint come after.
        """
        return net

    def penalty(self, net: nn.Module) -> Tensor | float:
        """What the method adds to the loss."""
        return 0.0
