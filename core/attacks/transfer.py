"""Transfer: images made against another network (Papernot, McDaniel, Goodfellow 2016, arXiv 1605.07277).

The other network is the random network without its noise, whose gradients no draw blurs, or a stored model, by the SHA-256
of its safetensors file. If such images break what direct ones do not, the direct attack was too weak (Carlini et al. 2019,
arXiv 1902.06705, section 5.2). The attack sees nothing of the network that is judged, so it counts as a black box; the twin
shares its weights.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, PrivateAttr
from torch import Tensor, nn

from core.attacks.base import Attack, untouched
from core.attacks.composite import Composite
from core.family import OneOf
from core.noise import Expectation, Quiet, reseed

TWIN = "noise_free_twin"


class Transfer(Composite):
    """Images made against another network (Papernot et al. 2016, arXiv 1605.07277): the noise-free twin or a stored model."""

    name: Literal["transfer"] = "transfer"
    attack: Annotated[Attack, OneOf("core.attacks", without=("transfer",))]
    """The attack on the other network: any but transfer."""
    source: Annotated[str, Field(alias="from", pattern=r"^(noise_free_twin|[0-9a-f]{64})$")]
    """The other network: `noise_free_twin`, the random network without its noise, or the SHA-256 of a stored model's file."""

    _other: nn.Module | None = PrivateAttr(None)

    @classmethod
    def cheap(cls) -> dict[str, object]:
        """A few steps against the twin."""
        return {"attack": {"name": "pgd", "steps": 5}, "from": TWIN}

    def reading(self, load: Callable[[str], nn.Module]) -> Self:
        """The same with the stored model's network."""
        made = super().reading(load)
        made._other = None if self.source == TWIN else load(self.source)
        return made

    def steps_from(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """The part's candidates against the other network, which is left as found."""
        other = self._network(net)
        if self.source != TWIN:
            reseed(other, int(torch.randint(2**62, (), generator=generator, device=x.device)))
        with untouched(other):
            yield from self.attack.steps_from(other, x, y, generator)

    def _network(self, net: nn.Module) -> nn.Module:
        if self.source == TWIN:
            return Quiet(net.net if isinstance(net, Expectation) else net)
        assert self._other is not None, "reading(load) comes first"
        return self._other

    @property
    def needs_noise(self) -> bool:
        """Only a random network has a twin without noise."""
        return self.source == TWIN

    @property
    def source_sha256(self) -> str | None:
        """The stored model, where it is one."""
        return None if self.source == TWIN else self.source

    @property
    def black_box(self) -> bool:
        """It takes no gradient of the network that is judged."""
        return True

    @property
    def default_label(self) -> str:
        """Where from, and the part's label."""
        source = "twin" if self.source == TWIN else self.source[:8]
        return f"transfer-{source}-{self.attack.label or self.attack.default_label}"[:64]
