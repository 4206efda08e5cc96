"""Do the gradients say anything? Those of exactly zero, and of a random network those that are mostly noise."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from core.ascent import LOSSES, gradient
from core.audit.subject import Look, Subject
from core.noise import Expectation, reseed

EOT = 16
"""Draws that each of the two compared gradients averages, at the least."""


def batches(subject: Subject) -> Iterator[slice]:
    """The images, batch by batch."""
    size = subject.spec.evaluate.batch_size
    yield from (slice(at, at + size) for at in range(0, len(subject.images), size))


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
    """Two independent averages over draws must point the same way (expectation over transformation, EOT).

    The cosine of the two gradients, averaged over the images; what is judged is how much it lacks to 1.
    """
    x, y = subject.images.batch(0, len(subject.images))
    draws = max(EOT, subject.strength.draws)
    cosines, net = [], Expectation(subject.alone, draws)
    for some in batches(subject):
        pair = []
        for which in ("one", "other"):
            reseed(net, *subject.key("agreement", which, str(some.start)))
            pair.append(gradient(net, x[some], y[some], LOSSES[subject.strength.losses[0]])[0].flatten(1))
        cosines.append(F.cosine_similarity(*pair))
        yield some.start / len(x)
    cosine = float(torch.cat(cosines).double().mean())
    words = f"Two gradients, each averaged over {draws} draws of the noise, have a cosine of {cosine:.2f} (1: the same direction)."
    advice = "Average the gradients of attacks over more draws, until two averages agree."
    yield subject.checked("eot_gradients", 1 - cosine, (0.2, 0.5), "short of a cosine of 1", words, advice)
