"""How often an attack asks a network about each image: a query is one forward pass on one candidate of the image.

Every draw of an average is a query; a backward pass is none. The rows of each call are counted as they come, and shared evenly
among the images that the network is asked about: all of the attack's batch, or those that it names by `about`. So an attack
that leaves alone what has fallen has to name the rest. Classes of torchattacks, which name nobody, share a batch's queries
evenly.
"""

import torch
from torch import Tensor, nn

from core.noise import Expectation, Quiet


class Counted(nn.Module):
    """A network that adds to `queries`, (n,), how often it is asked about each image; `busy`, (m,), are those asked about."""

    def __init__(self, net: nn.Module, queries: Tensor, busy: Tensor) -> None:
        super().__init__()
        self.net, self.queries, self.busy = net, queries, busy

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, classes). Asked about no image, it counts nothing."""
        self.queries[self.busy] += len(x) / max(1, len(self.busy))
        return torch.as_tensor(self.net(x))


def counted(net: nn.Module, x: Tensor) -> tuple[nn.Module, Tensor]:
    """`net` as an attack on the images `x`, (n, C, H, W), is to see it, and what it will have asked about each, (n,)."""
    queries = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    everyone = torch.arange(len(x), device=x.device)
    if isinstance(net, Expectation):
        return Expectation(Counted(net.net, queries, everyone), net.draws), queries
    return Counted(net, queries, everyone), queries


def about(net: nn.Module, some: Tensor | slice) -> nn.Module:
    """`net` for questions about the images `some` alone, indices (m,) among those that it is asked about.

    A network that does not count is its own.
    """
    match net:
        case Counted():
            return Counted(net.net, net.queries, net.busy[some])
        case Expectation():
            return Expectation(about(net.net, some), net.draws)
        case Quiet():
            return Quiet(about(net.net, some))
    return net
