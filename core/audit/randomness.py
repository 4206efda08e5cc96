"""Does the noise only spoil the attack? Images made with the noise fixed, or without it, must not fool a random network better.

What Athalye et al. 2018 (arXiv 1802.00420) and Tramer et al. 2020 (arXiv 2002.08347) ask of defences that draw: attack with the
randomness fixed, attack the network without it, and judge all of them by fresh draws.
"""

from dataclasses import replace

from torch import nn

from core.audit.subject import Look, Subject
from core.noise import Fixed, Quiet

LIMITS = (1.0, 3.0)


def fixed_noise(subject: Subject) -> Look:
    """Images made against one draw, the same in every step, judged by fresh ones."""
    yield from _made_against(
        subject, "fixed_noise", Fixed(subject.net, *subject.key("fixed")), "one draw of its noise, kept"
    )


def twin(subject: Subject) -> Look:
    """Images made against the network without its noise."""
    yield from _made_against(subject, "noise_free_twin", Quiet(subject.net), "it without its noise")


def _made_against(subject: Subject, check: str, other: nn.Module, made: str) -> Look:
    once = yield from subject.evaluated()
    loss = subject.strength.losses[:1]
    (attack,) = replace(subject.strength, losses=loss, draws=1).attacks(subject.spec.threat)
    trial = subject.trial(check, attack, on=other)
    yield from trial
    gain = 100 * (float(once.mean()) - trial.accuracy)
    words = f"Images made against {made}, lower the accuracy {gain:+.1f} points further than those made against fresh noise."
    advice = "Average the gradients over more draws, and add this attack to the evaluation: it is the stronger one."
    yield subject.checked(check, max(0.0, gain), LIMITS, "points lost", words, advice)
