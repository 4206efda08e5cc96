"""AutoAttack: four attacks one after the other, each on the images that the earlier ones left.

Croce and Hein 2020 (arXiv 2003.01690), section 5. `standard` is APGD on the cross-entropy, targeted APGD, targeted FAB and the
Square attack; `rand`, for random networks, APGD on the cross-entropy and on the difference of logits ratio, with gradients that
are averaged over 20 draws.

Unlike in the authors' code no draw of a random network decides that an image is done: every part attacks every image, and the
candidate returned is the one with the largest margin of the mean logits. (The code judges by a single forward pass.)
"""

from collections.abc import Iterator
from itertools import chain, islice, repeat
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from core.ascent import Best
from core.attacks.apgd_ce import ApgdCe
from core.attacks.apgd_dlr import ApgdDlr
from core.attacks.apgd_t import ApgdT
from core.attacks.base import Attack
from core.attacks.fab import Fab
from core.attacks.pgd import Ascended
from core.attacks.runs import everyone, look
from core.attacks.square import Square
from core.counting import about
from core.noise import Expectation, stochastic_layers

DRAWS = 20


class Autoattack(Attack):
    """AutoAttack (Croce and Hein 2020, arXiv 2003.01690), standard or rand, with the authors' budgets."""

    name: Literal["autoattack"] = "autoattack"
    version: Literal["standard", "rand"] = "standard"
    """standard: apgd_ce, apgd_t, fab, square. rand, for random networks: apgd_ce, apgd_dlr, both over 20 draws."""
    steps: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Steps of APGD and FAB."""
    targets: Annotated[int, Field(ge=1, le=999)] = 9
    """Wrong classes that targeted APGD and FAB aim at."""
    queries: Annotated[int, Field(ge=2, le=1_000_000)] = 5000
    """Queries of Square."""

    @classmethod
    def cheap(cls) -> dict[str, object]:
        """A few steps and queries."""
        return {"steps": 5, "targets": 2, "queries": 20}

    @property
    def parts(self) -> tuple[Attack, ...]:
        """The attacks, in their order."""
        first = ApgdCe(steps=self.steps)
        if self.version == "rand":
            return first, ApgdDlr(steps=self.steps)
        targeted = {"steps": self.steps, "targets": self.targets}
        return first, ApgdT(**targeted), Fab(**targeted), Square(queries=self.queries)

    def steps_from(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """The best candidates of the parts that are done; the first one attacks all images, also those wrong already."""
        net, best = self._seen(net), Best(x)
        look(best, net, x, y, everyone(x))
        for number, part in enumerate(self.parts):
            some, turns = best.left(net) if number else everyone(x), part.turns(len(x))
            seen = about(net, some)
            steps = part.within(self.threat).steps_from(seen, x[some], y[some], generator) if len(some) else iter(())
            for turn, found in enumerate(islice(chain(steps, repeat(None)), turns), 1):
                if found is not None and turn == turns:
                    look(best, seen, found, y[some], some)
                yield best.image

    def _seen(self, net: nn.Module) -> nn.Module:
        """The network as `rand` sees it: a random one over its draws, 20 or as many more as it was handed with."""
        if self.version == "standard" or not stochastic_layers(net):
            return net
        return net if isinstance(net, Expectation) and net.draws >= DRAWS else Expectation(bare(net), DRAWS)

    @property
    def ascends(self) -> Ascended:
        """What decides between the parts."""
        return "margin"

    @property
    def least_classes(self) -> int:
        """What its parts need."""
        return max(part.least_classes for part in self.parts)

    @property
    def default_label(self) -> str:
        """The name, and the version unless it is the standard one."""
        return self.name if self.version == "standard" else f"{self.name}_{self.version}"

    @property
    def length(self) -> int:
        """Steps of a run of APGD."""
        return self.steps

    def turns(self, images: int) -> int:
        """Those of its parts."""
        return sum(part.turns(images) for part in self.parts)

    @property
    def passes(self) -> float:
        """One for the clean image, the parts' and one each to judge them; of all draws, and as if no image fell early."""
        once = 1 + sum(part.passes + 1 for part in self.parts)
        return once * (DRAWS if self.version == "rand" else 1)


def bare(net: nn.Module) -> nn.Module:
    """The network inside an expectation."""
    return net.net if isinstance(net, Expectation) else net
