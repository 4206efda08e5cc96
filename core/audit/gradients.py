"""Do the gradients say anything? Those of exactly zero, and of a random network those that are mostly noise."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F

from core.ascent import LOSSES, gradient
from core.audit.subject import Look, Subject
from core.noise import Expectation, reseed


def batches(subject: Subject) -> Iterator[slice]:
    """The images, batch by batch."""
    size, n = subject.spec.evaluate.batch_size, len(subject.images)
    yield from (slice(at, min(at + size, n)) for at in range(0, n, size))


def zero_gradients(subject: Subject) -> Look:
    """A gradient of exactly zero, under cross-entropy or margin, stops an attack before it starts."""
    x, y = subject.images.batch(0, len(subject.images))
    zero = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for name in ("ce", "margin"):
        reseed(subject.net, *subject.key("gradient", name))
        for some in batches(subject):
            pixels, _, _ = gradient(subject.net, x[some], y[some], LOSSES[name])
            zero[some] |= pixels.flatten(1).eq(0).all(1)
    share = 100 * float(zero.double().mean())
    words = f"{share:.1f} % of the images have a gradient of exactly zero, under cross-entropy or margin."
    advice = (
        "Attack the margin of logits before any softmax or rounding, in fp32; put a differentiable stand-in for a step that has "
        "no gradient (BPDA), or search without gradients."
    )
    yield subject.checked("zero_gradients", share, (1, 10), "% of images", words, advice)


def agreement(subject: Subject) -> Look:
    """Two independent gradients, averaged over as many draws as the evaluation's attacks average, must point the same way.

    Expectation over transformation (Athalye et al. 2018). Where n draws give a cosine c, noise and signal say that
    4 n (1 - c) / c draws would give 0.8. Judged is how much the mean cosine over the images lacks to 1.
    """
    x, y = subject.images.batch(0, len(subject.images))
    draws = subject.strength.draws
    cosines, net = [], Expectation(subject.alone, draws)
    for some in batches(subject):
        pair = []
        for which in ("one", "other"):
            reseed(net, *subject.key("agreement", which, str(some.start)))
            pair.append(gradient(net, x[some], y[some], LOSSES[subject.strength.losses[0]])[0].flatten(1))
        cosines.append(F.cosine_similarity(pair[0], pair[1]))
        yield some.start / len(x)
    cosine = float(torch.cat(cosines).double().mean())
    words = (
        f"Two gradients, each of {draws} draw(s) of the noise, have a cosine of {cosine:.2f} (1: the same direction)."
    )
    needed = math.ceil(4 * draws * (1 - cosine) / max(cosine, 0.01))
    advice = f"Average the gradients of attacks over more draws: about {needed} would give a cosine of 0.8."
    yield subject.checked("eot_gradients", 1 - cosine, (0.2, 0.5), "short of a cosine of 1", words, advice)
