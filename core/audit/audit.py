"""The checks in their order, those that apply, and the verdict: the worst of theirs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from core.audit.binarisation import binarisation
from core.audit.blackbox import black_box
from core.audit.convergence import rising, twice
from core.audit.cost import images
from core.audit.gradients import agreement, zero_gradients
from core.audit.randomness import fixed_noise, twin
from core.audit.sanity import identity, repeatable, unbounded
from core.audit.strength import protocol
from core.audit.subject import Look, Subject
from core.datasets.base import Split
from core.events import Audited, Checked, Event, Progress, Scored, Verdict
from core.noise import stochastic_layers
from core.spec import Spec

Check = Callable[[Subject], Look]
QUICK: tuple[Check, ...] = (repeatable, identity, unbounded, zero_gradients, twice, black_box)
FULL: tuple[Check, ...] = (repeatable, identity, unbounded, zero_gradients, twice, rising, black_box, binarisation)
QUICK_IF_RANDOM: tuple[Check, ...] = (twin,)
FULL_IF_RANDOM: tuple[Check, ...] = (agreement, fixed_noise, twin)


@dataclass
class Audit:
    """The audit of one network on a prefix of the test images, as deep as `spec.evaluate.audit` says."""

    spec: Spec
    net: nn.Module
    images: Split
    scored: list[Scored]

    def run(self) -> Iterator[Event]:
        """All checks that apply, then the verdict."""
        few = images(self.spec, bool(stochastic_layers(self.net)))
        scored = [one for one in self.scored if one.protocol == protocol(self.spec)]
        subject = Subject(self.spec, self.net, self.images.prefix(few), scored)
        checks = FULL if subject.full else QUICK
        if subject.random:
            checks += FULL_IF_RANDOM if subject.full else QUICK_IF_RANDOM
        verdicts: list[Verdict] = []
        for number, check in enumerate(checks):
            yield _progress(number, len(checks), check)
            for found in check(subject):
                if isinstance(found, Checked):
                    verdicts.append(found.verdict)
                    yield found
                else:
                    yield _progress(number + found, len(checks), check)
        worst = max(verdicts, key=("passed", "warnings", "failed").index)
        yield Audited(level="full" if subject.full else "quick", verdict=worst)


def _progress(done: float, of: int, check: Check) -> Progress:
    return Progress(phase="audit", done=done, total=of, text=check.__name__.replace("_", " "))
