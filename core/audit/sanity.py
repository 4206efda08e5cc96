"""Does the evaluation ask a question that has an answer? The same logits again, radius 0, radius 0.5."""

from fractions import Fraction

import torch
from torch import Tensor

from core.attacks.pgd import Pgd
from core.audit.strength import Strength
from core.audit.subject import Look, Subject, apart
from core.device import generator
from core.noise import Foreign, Quiet, reseed
from core.threat import Threat


def without_bound(full: bool, random: bool) -> Strength:
    """The attack at radius 0.5."""
    if full:
        return Strength(steps=40, losses=("ce",) if random else ("ce", "margin"), keep="last" if random else "best")
    return Strength(steps=10, keep="last")


def repeatable(subject: Subject) -> Look:
    """An image must get the same logits again, and in other company: else its outcome is not its own.

    Foreign randomness (dropout left on, random resizing) fails here, and so does batch norm left in training mode. From here on
    such a network counts as random, drawing from the global generator.
    """
    many = subject.images.prefix(subject.spec.evaluate.batch_size)
    again = subject.differ(many)
    foreign = any(
        isinstance(module, Foreign) for module in subject.net.modules()
    )  # whose company cannot be told from its draws
    company = torch.zeros_like(again) if foreign else _in_company(subject, many.batch(0, len(many))[0])
    share = 100 * float((again | company).double().mean())
    words = "The same image gets the same logits, asked again and among other images."
    if again.any():
        words = f"{share:.0f} % of the images get other logits when they are asked again with the same seed."
    elif company.any():
        words = f"{share:.0f} % of the images get other logits when they are asked among other images."
    advice = (
        "Put every layer in evaluation mode; make randomness a layer of core.noise, so that attacks average over it."
    )
    yield subject.checked("repeatable", share, (1, 10), "% of images", words, advice, len(many))


@torch.no_grad()
def _in_company(subject: Subject, x: Tensor) -> Tensor:
    net = Quiet(subject.net) if subject.random else subject.net
    half = (len(x) + 1) // 2
    return apart(net(x), torch.cat([net(x[:half]), net(x[half:])]) if len(x) > 1 else net(x))


def identity(subject: Subject) -> Look:
    """An attack of radius 0 must return the image."""
    x, y = subject.images.batch(0, subject.spec.evaluate.batch_size)
    reseed(subject.net, *subject.key("identity"))
    attack = Pgd(steps=2).within(Threat(norm=subject.spec.threat.norm, eps=Fraction(0)), "last")
    attacked = attack.perturb(subject.net, x, y, generator(x.device, *subject.key("identity")))
    changed = int((attacked != x).flatten(1).any(1).sum())
    words = "At radius 0 the attack returns the image itself." if not changed else "The attack leaves its ball."
    yield subject.checked(
        "eps_0", changed, (0, 0), "images changed", words, "Report it: no attack may do that.", len(x)
    )


def unbounded(subject: Subject) -> Look:
    """With an l_inf radius of 0.5 any image can become grey, so no network can beat chance."""
    strength = without_bound(subject.full, subject.random)
    left = yield from subject.survival("eps_0.5", strength, threat=Threat(eps=Fraction(1, 2)))
    accuracy, chance = 100 * float(left.mean()), 1 / subject.spec.dataset.num_classes
    limit = 100 * (chance + 3 * (chance * (1 - chance) / len(left)) ** 0.5)
    words = "An attack without a real bound takes everything: the gradients lead somewhere."
    if accuracy > limit:
        words = "Even a radius of 0.5 leaves more than chance: the attack is lost, its numbers mean nothing."
    advice = "Look for gradients that are zero or lead nowhere; attack through a differentiable stand-in, or without gradients."
    yield subject.checked("eps_0.5", accuracy, (limit, limit), "% accuracy", words, advice)
