"""The binarisation test: an adversarial example is planted, and the attack must find one.

Zimmermann et al. 2022 (arXiv 2206.13991), section 4: around each image a linear read-out of the network's features is trained
to tell points inside the ball (class 0) from a point of its boundary (class 1). So the two-class network has an adversarial
example, and an attack that misses it, with the budget that it had, was not able to find one had there been any.

Unlike the paper, the features are the logits, which any network has; the inner points are uniform in the ball; the boundary point
is the best separated of some random ones; the read-out is Fisher's discriminant, in closed form; and its threshold lies a tenth
of the way back from the boundary point to the farthest inner point (the paper: a thousandth). Random networks are held at one
draw, those whose images influence one another at constant scales of noise.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from core.audit.gradients import batches
from core.audit.subject import Look, Subject
from core.device import generator
from core.noise import Fixed
from core.threat import Threat

INNER = 100
"""Points inside the ball, the image among them."""
BOUNDARY = 16
"""Random points of the boundary, of which one is planted."""
BACK = 0.1
RIDGE = 1e-4
"""Of the mean variance of a logit, added to the covariance: a shift of all logits has none."""


class Readout(nn.Module):
    """Two classes read linearly from a network's logits, for each image of a batch its own: (B, C, H, W) to (B, 2)."""

    def __init__(self, net: nn.Module, direction: Tensor, threshold: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.net, self.direction, self.threshold, self.scale = net, direction, threshold, scale

    def forward(self, x: Tensor) -> Tensor:
        """Logits of class 0 (inside) and class 1 (planted); at the image itself they are 1 and -1."""
        score = (torch.as_tensor(self.net(x)).to(self.direction) * self.direction).sum(1)
        value = ((score - self.threshold) / self.scale).float()
        return torch.stack([-value, value], 1)


def boundary(x: Tensor, threat: Threat, stream: torch.Generator) -> Tensor:
    """A random point of the ball's boundary, brought into the box."""
    noise = torch.empty_like(x).normal_(generator=stream)
    return threat.project(x + float(threat.eps) * threat.direction(noise), x)


@torch.no_grad()
def plant(net: nn.Module, x: Tensor, threat: Threat, stream: torch.Generator) -> tuple[Readout, Tensor]:
    """The two-class network, and for which images it has a planted example: (B,)."""
    inner = torch.stack([net(x).double(), *(net(threat.uniform_start(x, stream)).double() for _ in range(INNER - 1))])
    edges = [boundary(x, threat, stream) for _ in range(BOUNDARY)]
    outer = torch.stack([net(edge).double() for edge in edges])  # (M, B, K)
    mean = inner.mean(0)
    spread = inner - mean
    covariance = torch.einsum("nbk,nbl->bkl", spread, spread) / len(inner)
    ridge = RIDGE * covariance.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-30)
    covariance = covariance + ridge.view(-1, 1, 1) * torch.eye(inner.shape[2], device=x.device)
    ways = torch.linalg.solve(covariance, (outer - mean).movedim(0, -1)).movedim(-1, 0)  # (M, B, K)
    planted = (ways * (outer - mean)).sum(2)
    farthest = torch.einsum("nbk,mbk->mnb", spread, ways).amax(1)
    best = ((planted - farthest) / planted.clamp_min(1e-30)).argmax(0)  # (B,)
    each = torch.arange(len(x), device=x.device)
    way, top, inside = ways[best, each], planted[best, each], farthest[best, each]
    level = (way * mean).sum(1)
    threshold = level + top - BACK * (top - inside)
    scale = (threshold - (way * inner[0]).sum(1)).clamp_min(1e-30)
    readout = Readout(net, way, threshold, scale)
    example = torch.stack(edges)[best, each]
    return readout, (top > inside) & (readout(example)[:, 1] > 0) & (readout(x)[:, 1] < 0)


def binarisation(subject: Subject) -> Look:
    """The evaluation's attack, with its budget, on the two-class network."""
    planted = found = 0
    for some in batches(subject):
        there, hit = _planted_and_found(subject, some)
        planted, found = planted + int(there.sum()), found + int((hit & there).sum())
        yield some.stop / len(subject.images)
    missed = 100 * (1 - found / planted) if planted else 100.0
    words = f"Of {planted} planted adversarial examples the attack misses {missed:.0f} %."
    if not planted:
        words = (
            "No adversarial example can be planted: the logits do not move within the ball, so no attack can be tested."
        )
    advice = "The attack would not have found an adversarial example had there been one: its loss or its gradients must change."
    yield subject.checked("binarisation", missed, (5, 20), "% missed", words, advice, max(planted, 1))


def _planted_and_found(subject: Subject, some: slice) -> tuple[Tensor, Tensor]:
    """For which images of a batch an example is planted, and for which the attack ends at one of class 1."""
    net = Fixed(subject.alone, *subject.key("binarised")) if subject.random else subject.net
    losses = tuple(loss for loss in subject.strength.losses if loss != "dlr") or ("margin",)
    (attack,) = replace(subject.strength, losses=losses[:1], keep="best").attacks(subject.spec.threat)
    x, _ = subject.images.batch(some.start, some.stop - some.start)
    stream = generator(x.device, *subject.key("binarised", str(some.start)))
    readout, there = plant(net, x, subject.spec.threat, stream)
    attacked = attack.perturb(readout, x, torch.zeros(len(x), dtype=torch.long, device=x.device), stream)
    with torch.no_grad():
        return there, readout(attacked)[:, 1] > 0
