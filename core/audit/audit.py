"""The checks in their order, those that apply, and the verdict: the worst of theirs. An audit goes on behind its last check."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from core.audit.binarisation import binarisation
from core.audit.blackbox import black_box
from core.audit.convergence import rising, twice
from core.audit.cost import images
from core.audit.gradients import agreement, zero_gradients
from core.audit.randomness import fixed_noise, twin
from core.audit.sanity import identity, repeatable, unbounded
from core.audit.strength import protocol
from core.audit.subject import Known, Look, Subject
from core.datasets.base import Splits
from core.events import Audited, Checked, Event, Progress, Scored, Verdict
from core.noise import stochastic_layers
from core.spec import Spec

Check = Callable[[Subject], Look]
QUICK: tuple[Check, ...] = (repeatable, identity, unbounded, zero_gradients, twice, black_box)
FULL: tuple[Check, ...] = (repeatable, identity, unbounded, zero_gradients, twice, rising, black_box, binarisation)
QUICK_IF_RANDOM: tuple[Check, ...] = (twin,)
FULL_IF_RANDOM: tuple[Check, ...] = (agreement, fixed_noise, twin)
WORST: tuple[Verdict, ...] = ("passed", "warnings", "failed")


@dataclass
class Audit:
    """The audit of one network on a prefix of the test images, as deep as `spec.evaluate.audit` says.

    `frozen` are the constants of its noise, where the evaluation has measured them. `state` is what `saved` takes: the checks
    in it are not made again, and count in the verdict.
    """

    spec: Spec
    net: nn.Module
    splits: Splits
    scored: list[Scored]
    frozen: list[float] | None = None
    saved: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        saved = self.saved or {"checked": {}, "known": {} if self.frozen is None else {"frozen": self.frozen}}
        self.checked = {name: Checked.model_validate(body) for name, body in saved["checked"].items()}
        self.known: Known = saved["known"]

    @property
    def state(self) -> dict[str, Any]:
        """What the checks so far have found, and what the others rest on."""
        checked = {name: found.model_dump(mode="json") for name, found in self.checked.items()}
        return {"checked": checked, "known": dict(self.known)}

    def run(self) -> Iterator[Event]:
        """All checks that apply and are not made yet, then the verdict."""
        subject = self._subject()
        checks = self._checks(subject)
        for number, check in enumerate(checks):
            if check.__name__ not in self.checked:
                yield from self._made(check, subject, number, len(checks))
        worst = max((found.verdict for found in self.checked.values()), key=WORST.index)
        yield Audited(level="full" if subject.full else "quick", verdict=worst)

    def _subject(self) -> Subject:
        few = images(self.spec, bool(stochastic_layers(self.net)))
        scored = [one for one in self.scored if one.protocol == protocol(self.spec)]
        return Subject(self.spec, self.net, self.splits.test.prefix(few), self.splits.train, scored, self.known)

    def _checks(self, subject: Subject) -> tuple[Check, ...]:
        if subject.full:
            return FULL + FULL_IF_RANDOM if subject.random else FULL
        return QUICK + QUICK_IF_RANDOM if subject.random else QUICK

    def _made(self, check: Check, subject: Subject, number: int, of: int) -> Iterator[Event]:
        """One check: how far it is, and what it found."""
        yield _progress(number, of, check)
        for found in check(subject):
            if isinstance(found, Checked):
                self.checked[check.__name__] = found
                yield found
            else:
                yield _progress(number + found, of, check)


def _progress(done: float, of: int, check: Check) -> Progress:
    return Progress(phase="audit", done=done, total=of, text=check.__name__.replace("_", " "))
