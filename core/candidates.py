"""What is printed for a network under several attacks: of each image's candidates, the worst.

A candidate is the clean image or what an attack made of it. On a random network the worst is the one that is wrong in most
of the *selection* draws; how often that one is right is then read from *judging* draws of another stream:

    R = mean over the images of (1 - P[wrong | the worst candidate])

Choosing and reading by the same draws would let the noise break images by itself: of m candidates, one that is unlucky.
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor


class Candidates(NamedTuple):
    """One candidate of each of n images, in order, on the CPU."""

    images: Tensor  # (n, C, H, W) in [0, 1]
    wrong: Tensor  # (n,) share of the selection draws in which it is misjudged
    right: Tensor  # (n,) share of the judging draws in which it is judged right
    always: Tensor  # (n,) whether it is right in every judging draw
    by: Tensor  # (n,) number of the attack that made it; 0 is none
    predicted: Tensor  # (n,) the class said most often in the judging draws
    distance: Tensor  # (n,) how far it lies from the clean image, in the norm of the attack that made it
    queries: Tensor  # (n,) how often the attacks so far asked about the image, whichever made the candidate

    @classmethod
    def judged(
        cls,
        images: Tensor,
        selected: Tensor,
        right: Tensor,
        by: int,
        predicted: Tensor,
        distance: Tensor,
        queries: Tensor,
    ) -> Self:
        """Those of one attack; without selection draws, the judge's serve as both.

        (n, C, H, W), (draws, n), (draws, n), and (n,) each.
        """
        wrong = (~(selected if len(selected) else right)).float().mean(0)
        told = (torch.full(wrong.shape, by), predicted, distance, queries)
        return cls(images, wrong, right.float().mean(0), right.all(0), *told)

    def first(self, n: int) -> Self:
        """Those of the first n images."""
        return type(self)(*(values[:n] for values in self))

    def or_worse(self, others: Self) -> Self:
        """For each image the worse candidate of both, its own where equal. `others` may be of fewer images, the first ones.

        The queries of both are added, since both attacks were made to find it.
        """
        n = len(others.wrong)
        worse = torch.zeros(len(self.wrong), dtype=torch.bool)
        worse[:n] = others.wrong > self.wrong[:n]
        pairs = zip(self, others, strict=True)
        made = type(self)(*(_replaced(mine, worse, theirs[worse[:n]]) for mine, theirs in pairs))
        queries = self.queries.clone()
        queries[:n] += others.queries
        return made._replace(queries=queries)


def _replaced(values: Tensor, where: Tensor, others: Tensor) -> Tensor:
    """A copy of `values` with `others` in the places that `where` marks."""
    copy = values.clone()
    copy[where] = others
    return copy
