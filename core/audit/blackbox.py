"""Does an attack without gradients find what those with gradients miss? Then the gradients hide something.

The full audit adds a search of its own to the evaluation's: Square (Andriushchenko et al. 2020, arXiv 1912.00049), which moves
random squares and looks at logits alone.
"""

import torch
from torch import Tensor

from core.attacks.base import Attack
from core.attacks.torchattacks import Torchattacks
from core.audit.subject import Found, Look, Subject
from core.events import Scored

QUERIES = 500
LIMITS = (0.2, 1.0)
ADVICE = "Trust the lower number; give the attacks with gradients more steps and other losses, or a differentiable stand-in."


def square(subject: Subject) -> Attack:
    """The search, in the threat's ball."""
    norm = {"linf": "Linf", "l2": "L2"}[subject.spec.threat.norm]
    return Torchattacks(attack="Square", settings={"n_queries": QUERIES, "norm": norm}).within(subject.spec.threat)


def black_box(subject: Subject) -> Look:
    """Images broken without gradients alone, among the same images, at the threat's radius."""
    blind, seeing = subject.group(black_box=True), subject.group(black_box=False)
    told, advice = 0.0, ADVICE
    if blind and seeing:
        n = min(s.images for s in blind + seeing)
        told = 100 * (_lost_together(blind, seeing, n) if subject.random else _lost_alone(blind, seeing, n))
        words = f"Without gradients {told:.1f} points more are lost than with them, on the first {n} images."
        if not subject.full:
            yield subject.checked("black_box_only", told, LIMITS, "points lost", words, advice, n)
            return
    if subject.full:
        yield from _searched(subject, told)


def _searched(subject: Subject, told: float) -> Look:
    """The evaluation's own finding, and what our search takes of the images that its gradients left."""
    once = yield from subject.evaluated()
    after = yield from _after_search(subject, "square", once)
    lost = max(told, 100 * float(once.mean() - after.mean()))
    words = f"Without gradients ({QUERIES} queries of Square, and what the evaluation ran) {lost:.1f} points fall beyond what gradients take."
    settled = False
    if lost > max(LIMITS[1], 300 / len(once)):
        strong = yield from subject.strongest()
        rest = 100 * float(strong.mean() - subject.lower(strong, after[strong > 0] if not subject.random else after).mean())
        settled = rest <= max(LIMITS[0], 100 / len(once))
        words += f" Of them {subject.arsenal.words(subject.random)} leaves {rest:.1f} points: "
        words += "the evaluation was too short." if settled else "its gradients mislead."
    yield subject.checked("black_box_only", lost, LIMITS, "points lost", words, ADVICE, settled=settled)


def _after_search(subject: Subject, name: str, left: Tensor) -> Found:
    trial = subject.trial(name, square(subject), subject.where(left))
    yield from trial
    return subject.lower(left, trial.right.double().mean(0))


def _lost_together(blind: list[Scored], seeing: list[Scored], n: int) -> float:
    """For a random network, whose single images fall by chance: how much lower the best blind attack's accuracy is."""
    lowest = [min(s.survived[:n].count("1") for s in group) for group in (seeing, blind)]
    return max(0, lowest[0] - lowest[1]) / n


def _lost_alone(blind: list[Scored], seeing: list[Scored], n: int) -> float:
    """The share of images that only blind attacks break."""
    fell = torch.tensor([[mark == "0" for mark in s.survived[:n]] for s in blind]).any(0)
    stood = torch.tensor([[mark == "1" for mark in s.survived[:n]] for s in seeing]).all(0)
    return float((fell & stood).double().mean())
