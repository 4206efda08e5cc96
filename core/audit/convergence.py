"""Have the attacks arrived? Twice the effort must hardly find more, and the loss must have stopped rising.

A check that fails is judged again on a stronger attack. If that one has arrived, the verdict is a warning: the evaluation's
numbers are too high, but by how much is known.
"""

from collections.abc import Generator

import torch
from torch import Tensor

from core.ascent import LOSSES, ascend
from core.audit.strength import Strength
from core.audit.subject import Look, Subject, floored, judged, points
from core.datasets.base import Split
from core.device import generator
from core.noise import Fixed

TWICE = (0.5, 1.5)
RISING = (5.0, 20.0)
LEAST = 0.05
"""The share of its whole rise that a loss must gain in the last tenth of the steps to be still rising: half of what it would
gain if it rose evenly."""


def twice(subject: Subject) -> Look:
    """Twice the steps (in the full audit also starts and draws) must hardly find more than the evaluation did."""
    once = yield from subject.evaluated()
    double = subject.strength.doubled() if subject.full else subject.strength.longer()
    more = yield from subject.survival("twice", double, once)
    drop, settled = points(once, more), False
    words = f"{double.words(subject.random)}: {drop:.1f} points fall that the evaluation's gradient attacks leave."
    if subject.full and judged(drop, *floored(TWICE, len(once))) == "failed":
        settled, told = yield from _arrived(subject)
        words += told
    advice = (
        "Give the attacks more steps, restarts and losses, and on random networks more draws, until nothing more falls."
    )
    yield subject.checked("twice_the_steps", drop, TWICE, "points lost", words, advice, settled=settled)


def _arrived(subject: Subject) -> Generator[float, None, tuple[bool, str]]:
    """Whether twice the steps of the stronger attack find hardly more than it does, and that in words."""
    strong = yield from subject.strongest()
    beyond = yield from subject.survival("beyond", subject.arsenal.longer(), strong)
    rest = points(strong, beyond)
    settled = judged(rest, *floored(TWICE, len(strong))) == "passed"
    words = f" {subject.arsenal.words(subject.random)}: {100 * float(strong.mean()):.1f} % are left,"
    words += f" and twice its steps take {rest:.1f} points more: that one has {'' if settled else 'not '}arrived."
    return settled, words


def rising(subject: Subject) -> Look:
    """In the last tenth of the steps the best loss of an image that still stands must have stopped rising."""
    once = yield from subject.evaluated()
    share = yield from _still_rising(subject, subject.strength, once)
    words = f"The loss of {share:.0f} % of the images still rises at the end of {subject.strength.steps} steps, without success."
    settled = False
    if judged(share, *RISING) == "failed":
        strong = yield from subject.strongest()
        rest = yield from _still_rising(subject, subject.arsenal, strong)
        settled = judged(rest, *RISING) == "passed"
        words += f" {subject.arsenal.words(subject.random)}: {rest:.0f} % rise, {100 * float(strong.mean()):.1f} % are right."
    advice = "Give the attacks more steps, or longer ones."
    yield subject.checked("loss_rising", share, RISING, "% of images", words, advice, settled=settled)


def _still_rising(subject: Subject, strength: Strength, before: Tensor) -> Generator[float, None, float]:
    """The share of all images, in per cent, that stand and whose loss rises. On a random network under one draw."""
    rising, standing = 0, subject.where(before)
    size = subject.spec.evaluate.batch_size
    for at in range(0, len(standing), size):
        best, stands = _curve(subject, strength, standing, at)
        tenth = max(1, strength.steps // 10)
        gained = best[-1] - best[-1 - tenth]
        rising += int((stands & (gained > LEAST * (best[-1] - best[0]))).sum())
        yield at / len(standing)
    return 100 * rising / len(subject.images)


def _curve(subject: Subject, strength: Strength, standing: Split, at: int) -> tuple[Tensor, Tensor]:
    """The best loss after each step, (steps + 1, B), and which images no step has fooled, (B,)."""
    x, y = standing.batch(at, subject.spec.evaluate.batch_size)
    stream = generator(x.device, *subject.key("rising", str(at)))
    net = Fixed(subject.alone, *subject.key("rising")) if subject.random else subject.net
    (attack, *_), loss = strength.attacks(subject.spec.threat), LOSSES[strength.losses[0]]
    start = subject.spec.threat.uniform_start(x, stream)
    losses, fooled = [], torch.zeros(len(x), dtype=torch.bool, device=x.device)
    step = float(attack.step or 0)
    for candidate in (start, *ascend(net, x, y, start, subject.spec.threat, step, strength.steps, loss)):
        with torch.no_grad():
            logits = net(candidate)
        losses.append(loss(logits, y))
        fooled |= logits.argmax(1) != y
    return torch.stack(losses).cummax(0).values, ~fooled
