"""Scoring an archive of adversarial images again, by forward passes alone: no attack of ours is imported, or needed.

Checked are the ball, the box, and the printed accuracy. A network without noise must give it exactly, but for images whose
logits tie within rounding on another machine: so many images may be judged the other way. A random network is judged by draws
of its own, which must agree with the printed number within four standard errors of both sets of draws.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from core.alone import with_constants
from core.device import numerics
from core.modes import evaluating
from core.noise import reseed, stochastic_layers
from core.witness import Archive

SIZE = 128
ROUNDING = 1e-5
"""How far, relative to the radius, an image may lie outside its ball by rounding."""
TIE = 1e-4
"""How near to one another, relative to the range of its logits, an image's two highest ones tie."""
ERRORS = 4.0


class Verified(NamedTuple):
    """What was found, beside what the archive states; `problems` is empty if they agree."""

    images: int
    moved: int
    farthest: float
    stated: float
    found: float
    allowed: float
    problems: tuple[str, ...]


def verify(archive: Archive, net: nn.Module, draws: int | None = None) -> Verified:
    """Judge the archive's images with `net`: by one forward pass, or on a random network by `draws` (the archive's number)."""
    about = archive.about
    net = with_constants(net, about.frozen)
    random = bool(stochastic_layers(net))
    many = (draws or about.draws) if random else 1
    with evaluating(net), numerics(deterministic=False), torch.no_grad():
        batches = list(_judged(archive, net, many))
    right = torch.cat([judged for judged, _ in batches], 1).double().mean(0)
    ties = sum(tied for _, tied in batches)
    clean = archive.x.float() / 255
    farthest = float(about.threat.distance(archive.adversarial, clean).max())
    found = float(right.mean())
    allowed = _allowed(right, archive.right.double(), many, about.draws) if random else ties / len(right)
    return Verified(
        images=len(archive.y),
        moved=int((archive.adversarial != clean).flatten(1).any(1).sum()),
        farthest=farthest,
        stated=about.accuracy,
        found=found,
        allowed=allowed,
        problems=tuple(_problems(archive, farthest, found, allowed)),
    )


def _judged(archive: Archive, net: nn.Module, draws: int) -> Iterator[tuple[Tensor, int]]:
    """Batch by batch, in which draws each image is right, (draws, B), and of how many images the last draw's logits tie."""
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    for start in range(0, len(archive.y), SIZE):
        x, y = archive.adversarial[start : start + SIZE].to(device), archive.y[start : start + SIZE].to(device)
        judged = torch.zeros(draws, len(y), dtype=torch.bool)
        for draw in range(draws):
            reseed(net, "verify", start, draw)
            logits = net(x)
            judged[draw] = (logits.argmax(1) == y).cpu()
        yield judged, _tied(logits)


def _tied(logits: Tensor) -> int:
    """Of how many images the two highest logits lie within rounding of one another. (B, classes)."""
    highest = logits.topk(2).values
    return int((highest[:, 0] - highest[:, 1] <= TIE * (highest[:, 0] - logits.amin(1))).sum())


def _allowed(right: Tensor, stated: Tensor, draws: int, stated_draws: int) -> float:
    """Four standard errors of the difference of two means over images, each a frequency over its draws."""
    variances = (right * (1 - right)).sum() / draws + (stated * (1 - stated)).sum() / stated_draws
    return max(ERRORS * math.sqrt(float(variances)), 0.5) / len(right)


def _problems(archive: Archive, farthest: float, found: float, allowed: float) -> Iterator[str]:
    about = archive.about
    eps = float(about.threat.eps)
    if not farthest <= eps * (1 + ROUNDING) + 1e-7:  # NaN is in no ball, and would fool any network
        yield f"an image lies {farthest:.6g} from its original, outside the {about.threat.norm} ball of {eps:.6g}"
    if not bool(((archive.adversarial >= 0) & (archive.adversarial <= 1)).all()):
        yield "a pixel lies outside [0, 1]"
    if not abs(float(archive.right.double().mean()) - about.accuracy) <= 1e-6:
        yield "the stated accuracy is not the mean of the images' own figures"
    if not abs(found - about.accuracy) <= allowed + 1e-9:
        yield f"the network gets {100 * found:.2f} % right, the archive states {100 * about.accuracy:.2f} %"
