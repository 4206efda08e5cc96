"""Projected gradient ascent on a loss over the pixels: the loop that objectives and attacks share.

Madry et al. 2018 (arXiv 1706.06083), section 2.1: x_{t+1} = Proj(x_t + step * direction(grad loss(x_t))).
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.noise import Expectation, stochastic_layers
from core.threat import Threat

Network = Callable[[Tensor], Tensor]
PerImageLoss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of each image. (B, K), (B,) -> (B,)."""
    return F.cross_entropy(logits, y, reduction="none")


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """How far the best wrong class is ahead: max over k != y of z_k, minus z_y. (B, K), (B,) -> (B,).

    Carlini and Wagner 2017 (arXiv 1608.04644), f_6 with the sign turned and without the clamp at confidence kappa: an
    attack ascends it. Works for any logits, log-softmax heads included (no constant stands in for the masked class).
    """
    truth = F.one_hot(y, logits.shape[1]).bool()
    return logits.masked_fill(truth, -torch.inf).amax(1) - logits[truth]


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Difference of logits ratio: the margin over z_(1) - z_(3), the largest minus the third largest logit. (B, K), (B,) -> (B,).

    Croce and Hein 2020 (arXiv 2003.01690), equation 6. Neither a shift nor a scale of the logits changes it, so a network
    cannot hide behind large ones. Needs three classes or more.
    """
    largest = logits.topk(3, 1).values
    return margin(logits, y) / (largest[:, 0] - largest[:, 2] + 1e-12)


LOSSES: dict[str, PerImageLoss] = {"ce": cross_entropy, "margin": margin, "dlr": dlr}


def gradient(net: Network, x: Tensor, y: Tensor, loss: PerImageLoss) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient to the pixels alone, the per-image losses and the logits at `x`; of an `Expectation`, their means over its draws.

    The losses are summed, not averaged: every image keeps the scale it would have alone. No gradient of a parameter is
    computed or touched (2 forward-equivalents, where `backward()` would cost 3). Of a network that cuts the pixels off it is
    zero, which the audit finds.
    """
    if not isinstance(net, Expectation):
        return _gradient(net, x, y, loss)
    drawn = [_gradient(net.net, x, y, loss) for _ in range(net.draws)]
    pixels, losses, logits = (torch.stack(each).mean(0) for each in zip(*drawn, strict=True))
    return pixels, losses, logits


def _gradient(net: Network, x: Tensor, y: Tensor, loss: PerImageLoss) -> tuple[Tensor, Tensor, Tensor]:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = net(x)
        losses = loss(logits, y)
        (pixels,) = torch.autograd.grad(losses.sum(), x, materialize_grads=True)
    return pixels.nan_to_num(0.0, 0.0, 0.0), losses.detach(), logits.detach()  # what is not finite leads nowhere


def ascend(
    net: Network, x: Tensor, y: Tensor, start: Tensor, threat: Threat, step: float, steps: int, loss: PerImageLoss
) -> Iterator[Tensor]:
    """Yields the iterates after each of `steps` steps from `start`, all in the ball around `x` and in [0, 1]."""
    candidate = start
    for _ in range(steps):
        pixels, _, _ = gradient(net, candidate, y, loss)
        candidate = threat.project(candidate + step * threat.direction(pixels), x)
        yield candidate


class Best:
    """Of the candidates shown, the one that fools the network, and of those the one with the largest loss, per image.

    Where nothing fools, the largest loss decides. The clean image is a candidate like any other.
    """

    def __init__(self, x: Tensor) -> None:
        self.image = x.clone()
        self.loss = torch.full((len(x),), -torch.inf, device=x.device)
        self.fooled = torch.zeros(len(x), dtype=torch.bool, device=x.device)

    def show(
        self, candidate: Tensor, logits: Tensor, y: Tensor, losses: Tensor, some: Tensor | slice = slice(None)
    ) -> None:
        """Keep `candidate` for the images where it is better than all before. (B, C, H, W), (B, K), (B,), (B,).

        `some` are the indices of the images that are shown, (B,), where those are not all.
        """
        fooled = logits.argmax(1) != y
        before = self.fooled[some]
        better = (fooled & ~before) | ((fooled == before) & (losses > self.loss[some]))
        self.image[some] = torch.where(better.view(-1, 1, 1, 1), candidate, self.image[some])
        self.loss[some] = torch.where(better, losses, self.loss[some])
        self.fooled[some] = before | fooled

    def left(self, net: nn.Module) -> Tensor:
        """The indices of the images that are still to be attacked, (B,): those that nothing has fooled yet.

        On a random network all: what fools some draws need not fool the next, and the images of a batch may influence one
        another.
        """
        everyone = torch.arange(len(self.fooled), device=self.fooled.device)
        return everyone if stochastic_layers(net) else everyone[~self.fooled]
