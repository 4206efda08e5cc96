"""C&W in the l_inf norm: projected gradient ascent on the margin of Carlini and Wagner.

Carlini and Wagner 2017 (arXiv 1608.04644) define the margin f_6; Madry et al. 2018 (section 5.2) ascend it within an l_inf
ball, the convention followed here. The settings behind the thesis's column A4 cannot be recovered, and its numbers lie 12
points above what an eps-bounded margin attack leaves: the two are not comparable (docs/why/methods.md).
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from core.attacks.pgd import GradientAttack
from core.threat import Norm


class CwLinf(GradientAttack):
    """PGD on the Carlini-Wagner margin (arXiv 1608.04644, f_6; as in Madry et al. 2018), 50 steps from a random start."""

    name: Literal["cw_linf"] = "cw_linf"
    norms: ClassVar[tuple[Norm, ...]] = ("linf",)
    steps: Annotated[int, Field(ge=1, le=10_000)] = 50
    """Gradient steps."""

    @classmethod
    def cheap(cls) -> dict[str, object]:
        """A few steps."""
        return {"steps": 5}

    def starts(self, x: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """One random start."""
        yield self.threat.uniform_start(x, generator)

    @property
    def ascends(self) -> Literal["ce", "margin"]:
        """The margin."""
        return "margin"
