"""How many draws of a random network an attack's gradients must be averaged over: as many as make the average repeatable.

The number is the least m for which two independent averages of m gradients point the same way: their mean cosine over some
images is at least 0.8, the threshold of the audit (expectation over transformation: Athalye et al. 2018, arXiv 1707.07397).
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.ascent import cross_entropy, gradient

STABLE = 0.8
MOST = 64


def agreement(net: nn.Module, x: Tensor, y: Tensor) -> Iterator[float]:
    """The mean cosine of two independent averages of 1, 2, 3, ... gradients of the cross-entropy; goes on for ever.

    (B, C, H, W), (B,); `net` is a single draw at each call, seeded before. An image whose gradient is zero counts as 0.
    """
    one, other = torch.zeros_like(x), torch.zeros_like(x)
    while True:
        one += gradient(net, x, y, cross_entropy)[0]
        other += gradient(net, x, y, cross_entropy)[0]
        yield float(F.cosine_similarity(one.flatten(1), other.flatten(1)).mean())


def draws_needed(net: nn.Module, x: Tensor, y: Tensor) -> Iterator[tuple[int, float]]:
    """The number of draws tried, with their cosine: what comes last is enough, or the most that are taken."""
    for draws, cosine in enumerate(agreement(net, x, y), 1):
        yield draws, cosine
        if cosine >= STABLE or draws == MOST:
            return
