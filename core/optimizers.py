"""The optimisers that a sparsifier builds on: a choice by name with the settings of the paper's recipe."""

from collections.abc import Iterable
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from core.family import Settings


class Optimizer(Settings):
    """SGD, Adam or AdamW with the settings that `train` carries.

    The defaults are the thesis's and its code's: SGD, lr 0.1, Nesterov momentum 0.9, coupled weight decay 5e-4 on every
    parameter. That code makes the optimiser anew each epoch, which sets the momentum to zero: `momentum_reset: epoch`.
    """

    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """The rule."""
    lr: Annotated[float, Field(gt=0, le=100)] = 0.1
    """Learning rate before the schedule."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of sgd; beta_1 of adam and adamw."""
    nesterov: bool = True
    """Nesterov's form of momentum (sgd only)."""
    momentum_reset: Literal["never", "epoch"] = "never"
    """Whether the momentum starts from zero at each epoch, as in the thesis's code."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 5e-4
    """Coupled L2 on all parameters; decoupled for adamw."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "Optimizer":
        if self.optimizer == "sgd" and self.nesterov and not self.momentum:
            raise ValueError("nesterov: true needs a momentum above 0; give nesterov: false")
        return self

    def make(self, parameters: Iterable[nn.Parameter], lr: float | None = None) -> torch.optim.Optimizer:
        """The torch optimiser of these parameters, at `lr` if given."""
        lr = self.lr if lr is None else lr
        if self.optimizer == "sgd":
            return torch.optim.SGD(parameters, lr, self.momentum, 0, self.weight_decay, self.nesterov)
        kind = torch.optim.Adam if self.optimizer == "adam" else torch.optim.AdamW
        return kind(parameters, lr, (self.momentum, 0.999), weight_decay=self.weight_decay)
