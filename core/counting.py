"""How often an attack asks a network about each image: a query is one forward pass on one candidate of the image.

Every draw of an average is a query; a backward pass is none. The rows of each call are counted as they come, and shared evenly
among the images that the attack is busy with: all of its batch, or those that it names by `about`. So an attack that leaves
alone what has fallen has to name the rest. Classes of torchattacks, which name nobody, share a batch's queries evenly.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from core.noise import Expectation


class Counted(nn.Module):
    """A network that counts how often it is asked about each of some images: `queries`, (images,)."""

    def __init__(self, net: nn.Module, images: int, device: torch.device) -> None:
        super().__init__()
        self.net, self.busy = net, torch.arange(images, device=device)
        self.queries = torch.zeros(images, dtype=torch.float64, device=device)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, classes)."""
        self.queries[self.busy] += len(x) / len(self.busy)
        return torch.as_tensor(self.net(x))


def counted(net: nn.Module, x: Tensor) -> tuple[nn.Module, Counted]:
    """`net` as an attack on the images `x`, (B, C, H, W), sees it, and the counter within: of an expectation each draw counts."""
    if isinstance(net, Expectation):
        counter = Counted(net.net, len(x), x.device)
        return Expectation(counter, net.draws), counter
    counter = Counted(net, len(x), x.device)
    return counter, counter


@contextmanager
def about(net: nn.Module, some: Tensor | slice) -> Iterator[None]:
    """Meanwhile `net` is asked about the images `some` alone, indices (n,) among those that the attack is busy with.

    Nothing happens to a network that does not count.
    """
    counters = [module for module in net.modules() if isinstance(module, Counted)]
    before = [counter.busy for counter in counters]
    for counter in counters:
        counter.busy = counter.busy[some]
    try:
        yield
    finally:
        for counter, busy in zip(counters, before, strict=True):
            counter.busy = busy
