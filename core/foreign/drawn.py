"""A network that draws at random as it pleases, made one whose draws have a stream of their own."""

import torch
from torch import Tensor, nn

from core.device import kept_rng, seed_of
from core.noise import Stochastic


class Drawn(Stochastic):
    """A random network: before each pass torch's global generators start anew from its stream, and go on as before behind it.

    Its randomness cannot be taken out, so where noise is to be silent it repeats one draw. Noise from other generators than
    torch's is beyond its reach.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) pixels to (B, classes) logits."""
        with kept_rng():
            torch.manual_seed(self._seed())
            return torch.as_tensor(self.net(x))

    def _seed(self) -> int:
        if self.silent:
            return seed_of("silent")
        if self.stream is None:
            raise RuntimeError("a random network must be seeded before use: core.noise.reseed(net, ...)")
        return int(torch.randint(2**62, (), generator=self.stream, device=self.stream.device))
