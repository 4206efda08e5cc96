"""Judging a network that Sparring did not train: the checks on entry, the attacks, the audit, and one report of it all.

images = spec.dataset.load(root).test
report = Report.of(spec, admitted, examine(spec, admitted, images))
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from torch import nn

from core.attacks.base import Attack
from core.audit import Audit
from core.datasets.base import Split, Splits
from core.device import numerics
from core.errors import NoGradients, UnreadableModel
from core.evaluate import Evaluation
from core.events import WORST_CASE, Audited, Checked, Event, Noticed, Scored, Verdict
from core.foreign.blackbox import NO_BADGE
from core.foreign.entry import Admitted, admit
from core.foreign.load import load
from core.modes import evaluating
from core.protocols import Strict
from core.spec import Examination
from core.threat import Norm

BLIND_DRAWS = 8
"""Draws whose mean logits a black-box attack on a random network looks at."""
COMPARED = 128
"""Images on which a network is checked before it is judged."""
WORST: tuple[Verdict, ...] = ("passed", "warnings", "failed")
WORDS = {
    "passed": "No check found the attacks too weak: the accuracies under attack are bounds worth quoting.",
    "warnings": "Some checks found something between good and bad: read them before the accuracies are quoted.",
    "failed": "A check found the attacks too weak or the network misread: the accuracies under attack mean nothing yet.",
    NO_BADGE: "Without gradients nobody can say whether the attacks were strong enough: the accuracies are no proof.",
    "unaudited": "The evaluation was not audited.",
}


USUAL_ATTACKS: list[Any] = [
    {"name": "apgd_ce", "steps": 50},
    {"name": "apgd_t", "steps": 50, "targets": 3},
    {"name": "square", "queries": 500},
]
"""What a network is attacked with unless somebody says otherwise: two losses, and no gradient at all."""


def opened(target: Any, spec: Examination, test: Split, model: Any = None) -> Admitted:
    """A network, read and checked on entry: an object or a name (see `core.foreign.load`), on the device of `test`."""
    x, _ = test.batch(0, COMPARED)
    net, name, words = load(target, x, spec.dataset.num_classes, model)
    admitted = admit(net, name, x, spec.dataset.num_classes)
    admitted.notices += [words] if words and not admitted.black_box else []
    return admitted


def without_gradients(spec: Examination) -> Examination:
    """The same with those of its attacks that ask for logits alone."""
    blind = tuple(attack for attack in _attacks(spec) if attack.black_box)
    return _with(spec, strict=_strict(spec).model_copy(update={"attacks": blind}))


def examine(spec: Examination, admitted: Admitted, splits: Splits, work: Path) -> Iterator[Event]:
    """All that there is to say of a network, as it is found; adversarial images are kept in `work`.

    `NoGradients` is raised where an attack needs what a black box lacks.
    """
    for attack in _attacks(spec):
        if admitted.black_box and not attack.black_box:
            raise NoGradients(admitted.name, admitted.black_box, attack.label or attack.name)
    yield from (Noticed(text=text) for text in admitted.notices)
    yield from admitted.checks
    with evaluating(admitted.net), numerics(False):
        yield from _judged(spec, admitted, splits, work)


def _judged(spec: Examination, admitted: Admitted, splits: Splits, work: Path) -> Iterator[Event]:
    """Scores and checks; a verdict only where gradients could be looked at, and never a better one than on entry."""
    scored: list[Scored] = []
    checks = list(admitted.checks)
    if admitted.black_box and _strict(spec).eot == "auto":  # what has no gradient does not say how many it needs
        spec = _with(spec, strict=_strict(spec).model_copy(update={"eot": BLIND_DRAWS}))
    evaluation = Evaluation(spec, admitted.net, splits, work, [], load=_nothing_stored)
    for event in evaluation.run():
        if not isinstance(event, Scored):
            yield event
        elif event.protocol == "strict":
            scored.append(event)
            yield event
    checks.append(_above_chance(scored[0], spec.dataset.num_classes))
    yield checks[-1]
    if spec.evaluate.audit == "off" or admitted.black_box:
        return
    for event in Audit(spec, admitted.net, splits, scored, evaluation.frozen).run():
        if isinstance(event, Audited):
            worst = max((event.verdict, *(check.verdict for check in checks)), key=WORST.index)
            event = event.model_copy(update={"verdict": worst})
        yield event


def _nothing_stored(sha256: str) -> nn.Module:
    raise UnreadableModel(sha256, "there are no stored networks here; a service has them")


def _strict(spec: Examination) -> Strict:
    assert spec.evaluate.strict, "an examination is strict"
    return spec.evaluate.strict


def _attacks(spec: Examination) -> tuple[Attack, ...]:
    return _strict(spec).attacks or ()


def _with(spec: Examination, **changes: Any) -> Examination:
    return spec.model_copy(update={"evaluate": spec.evaluate.model_copy(update=changes)})


def _above_chance(clean: Scored, num_classes: int) -> Checked:
    """A network that only guesses has been handed pixels or labels that it does not know."""
    chance = 1 / num_classes
    limit = chance + 3 * (chance * (1 - chance) / clean.images) ** 0.5
    above = clean.accuracy > limit
    words = "The network knows these images: it is right more often than by chance."
    if not above:
        words = "The network only guesses. Does it expect other pixels than [0, 1], or the classes in another order?"
    missing = 100 * max(0.0, limit - clean.accuracy)
    return Checked(
        check="above_chance",
        value=missing,
        passes=0,
        fails=0,
        unit="points below chance + 3 standard errors",
        images=clean.images,
        verdict="passed" if above else "failed",
        words=words,
    )


class Report(BaseModel):
    """What came of an examination. `scores` are by the attacks' labels, beside `clean` and `worst_case`, that of all of them."""

    model_config = ConfigDict(frozen=True)

    network: str
    dataset: str
    norm: Norm
    eps: float
    seed: int
    random: bool
    black_box: str | None
    notices: list[str]
    scores: dict[str, Scored]
    checks: list[Checked]
    verdict: Literal["passed", "warnings", "failed", "black-box only, no badge", "unaudited"]
    words: str

    @classmethod
    def of(cls, spec: Examination, admitted: Admitted, events: Iterable[Event]) -> "Report":
        """Gather what `examine` yields."""
        seen = list(events)
        verdict = next((event.verdict for event in seen if isinstance(event, Audited)), "unaudited")
        if admitted.black_box:
            verdict = NO_BADGE
        return cls(
            network=admitted.name,
            dataset=spec.dataset.name,
            norm=spec.threat.norm,
            eps=float(spec.threat.eps),
            seed=spec.seed,
            random=admitted.random,
            black_box=admitted.black_box,
            notices=[event.text for event in seen if isinstance(event, Noticed)],
            scores={event.label: event for event in seen if isinstance(event, Scored)},
            checks=[event for event in seen if isinstance(event, Checked)],
            verdict=verdict,
            words=WORDS[verdict],
        )

    @property
    def badge(self) -> bool:
        """Whether the evaluation may be quoted: not if a check failed, nor if gradients were out of reach."""
        return self.verdict not in ("failed", NO_BADGE)

    @property
    def clean(self) -> float:
        """The accuracy without attack."""
        return self.scores["clean"].accuracy

    @property
    def robust(self) -> float:
        """The accuracy that the worst attack on each image left."""
        return self.scores[WORST_CASE].accuracy
