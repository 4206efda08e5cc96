"""Does an attack without gradients find what those with gradients miss? Then the gradients hide something.

The full audit adds a search of its own to the evaluation's: Square (Andriushchenko et al. 2020, arXiv 1912.00049), which moves
random squares and looks at logits alone.
"""

import torch

from core.attacks.base import Attack
from core.attacks.square import Square
from core.audit.subject import Look, Subject, floored, judged, points
from core.events import Scored

QUERIES = 500
LIMITS = (0.2, 1.0)
ADVICE = (
    "Trust the lower number; give the attacks with gradients more steps and other losses, or a differentiable stand-in."
)


def square(subject: Subject) -> Attack:
    """The search, in the threat's ball."""
    return Square(queries=QUERIES).within(subject.spec.threat)


def black_box(subject: Subject) -> Look:
    """Images broken without gradients alone, among the same images, at the threat's radius."""
    blind, seeing = subject.group(black_box=True), subject.group(black_box=False)
    n = min((s.images for s in blind + seeing), default=0)
    told = 0.0
    if blind and seeing:
        told = 100 * (_lost_together(blind, seeing, n) if subject.random else _lost_alone(blind, seeing, n))
    if subject.full:
        yield from _searched(subject, told)
    elif blind and seeing:
        words = f"Without gradients {told:.1f} points more are lost than with them, on the first {n} images."
        yield subject.checked("black_box_only", told, LIMITS, "points lost", words, ADVICE, n)


def _searched(subject: Subject, told: float) -> Look:
    """The evaluation's own finding, and what our search takes of the images that its gradients left."""
    once = yield from subject.evaluated()
    trial = subject.trial("square", square(subject), subject.where(once))
    yield from trial
    found = trial.right.double().mean(0)
    lost, settled = max(told, points(once, subject.lower(once, found))), False
    words = f"Without gradients (the evaluation's own attacks, {QUERIES} queries of Square) {lost:.1f} points more are lost."
    if judged(lost, *floored(LIMITS, len(once))) == "failed":
        strong = yield from subject.strongest()
        rest = points(strong, subject.lower(strong, found if subject.random else found[strong[once > 0] > 0]))
        settled = judged(rest, *floored(LIMITS, len(once))) == "passed"
        words += f" {subject.arsenal.words(subject.random)} leaves {rest:.1f} of them: "
        words += "the evaluation's attacks were too short." if settled else "the gradients mislead."
    yield subject.checked("black_box_only", lost, LIMITS, "points lost", words, ADVICE, settled=settled)


def _lost_together(blind: list[Scored], seeing: list[Scored], n: int) -> float:
    """For a random network, whose single images fall by chance: how much lower the best blind attack's accuracy is."""
    lowest = [min(s.survived[:n].count("1") for s in group) for group in (seeing, blind)]
    return max(0, lowest[0] - lowest[1]) / n


def _lost_alone(blind: list[Scored], seeing: list[Scored], n: int) -> float:
    """The share of images that only blind attacks break."""
    fell = torch.tensor([[mark == "0" for mark in s.survived[:n]] for s in blind]).any(0)
    stood = torch.tensor([[mark == "1" for mark in s.survived[:n]] for s in seeing]).all(0)
    return float((fell & stood).double().mean())
