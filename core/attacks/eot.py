"""EOT: an attack on a random network by the mean of many draws (Athalye, Engstrom, Ilyas, Kwok 2018, arXiv 1707.07397).

A random network's gradient at one draw points where that draw would err. Averaged over draws, the gradient of the expected
loss remains. The attack is handed `core.noise.Expectation` in the network's place: what ascends gets the mean of the draws'
gradients, what looks at logits (a judge of candidates, a black box, an attack of another library) the mean logits.

On a network without noise it is the attack itself. An expectation that the protocol has already taken is taken anew, with
the draws given here.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from core.attacks.base import Attack
from core.attacks.composite import Composite
from core.family import OneOf
from core.noise import Expectation, stochastic_layers


class Eot(Composite):
    """Expectation over transformation (Athalye et al. 2018, arXiv 1707.07397): an attack on the mean of many draws."""

    name: Literal["eot"] = "eot"
    attack: Annotated[Attack, OneOf("core.attacks", without=("eot", "transfer"))]
    """The attack that sees the mean: any but eot and transfer."""
    draws: Annotated[int, Field(ge=1, le=1000)] = 20
    """Draws averaged at each look at the network."""

    @classmethod
    def cheap(cls) -> dict[str, object]:
        """A few steps, two draws."""
        return {"attack": {"name": "pgd", "steps": 5}, "draws": 2}

    def steps_from(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """The part's candidates against the mean of the draws."""
        alone = net.net if isinstance(net, Expectation) else net
        seen = Expectation(alone, self.draws) if stochastic_layers(alone) else alone
        yield from self.attack.steps_from(seen, x, y, generator)

    @property
    def passes(self) -> float:
        """The part's, once a draw."""
        return self.attack.passes * self.draws
