"""Networks trained for real with a planted flaw: the check made for it catches each, and passes its honest twin.

The whole audit of each, which takes longer, is for the slow tests.
"""

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.planted import CASES, Build, Case, trained
from core.audit import Audit
from core.audit.binarisation import binarisation
from core.audit.blackbox import black_box
from core.audit.gradients import agreement, zero_gradients
from core.audit.sanity import repeatable
from core.audit.subject import Subject
from core.datasets.base import Splits
from core.device import kept_rng
from core.evaluate import Evaluation
from core.events import Audited, Checked, Scored
from core.spec import JobSpec, parse

SPEC = {
    "dataset": {"name": "fashion_mnist_sample", "validation": 1000},
    "model": "lenet5",
    "threat": {"eps": "1/20"},
    "evaluate": {
        "images": 48,
        "audit": "full",
        "paper": {"attacks": [{"name": "pgd", "steps": 40, "restarts": 2}, {"name": "cw_linf", "steps": 40}]},
    },
}

CHECKS = {
    "zero_gradients": zero_gradients,
    "repeatable": repeatable,
    "black_box_only": black_box,
    "binarisation": binarisation,
    "eot_gradients": agreement,
}
OF_THEIR_OWN = list({(case.honest, case.caught_by): case for case in CASES}.values())
"""One case for each honest network and check: most flaws are planted in the same network."""


@cache
def data() -> tuple[JobSpec, Splits]:
    spec = parse(SPEC)
    return spec, spec.dataset.load(Path())


@cache
def judged(build: Build, epochs: int) -> tuple[nn.Module, list[Scored]]:
    """A trained network, and what its evaluation found. Some draw from the global generator, which is seeded here."""
    spec, splits = data()
    net = trained(build, splits.train, epochs, seed=1)
    with kept_rng():
        torch.manual_seed(1)
        scored = [event for event in Evaluation(spec, net, splits, Path(), []).run() if isinstance(event, Scored)]
    assert scored[0].accuracy > 0.3, "it has learned something"
    return net, scored


def checked(case: Case, build: Build) -> Checked:
    """What the check that is made for the flaw finds, alone."""
    spec, splits = data()
    net, scored = judged(build, case.epochs)
    with kept_rng():
        torch.manual_seed(1)
        subject = Subject(spec, net, splits.test.prefix(spec.evaluate.images), splits.train, scored)
        (found,) = [found for found in CHECKS[case.caught_by](subject) if isinstance(found, Checked)]
    assert found.check == case.caught_by
    return found


@cache
def audited(build: Build, epochs: int) -> tuple[str, dict[str, Checked]]:
    spec, splits = data()
    net, scored = judged(build, epochs)
    with kept_rng():
        torch.manual_seed(1)
        events = list(Audit(spec, net, splits, scored).run())
    (end,) = [event for event in events if isinstance(event, Audited)]
    assert end.level == "full"
    return end.verdict, {event.check: event for event in events if isinstance(event, Checked)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_planted_flaw_is_caught_by_the_check_made_for_it(case: Case) -> None:
    found = checked(case, case.flawed)
    assert found.verdict != "passed", found.words
    assert found.advice


@pytest.mark.parametrize("case", OF_THEIR_OWN, ids=lambda case: case.name)
def test_its_honest_twin_passes_that_check(case: Case) -> None:
    found = checked(case, case.honest)
    assert found.verdict == "passed", found.words
    assert not found.advice


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_full_audit_passes_no_planted_flaw(case: Case) -> None:
    verdict, checks = audited(case.flawed, case.epochs)
    assert verdict != "passed"
    assert checks[case.caught_by].verdict != "passed", checks[case.caught_by].words


@pytest.mark.slow
@pytest.mark.parametrize("case", OF_THEIR_OWN, ids=lambda case: case.name)
def test_the_full_audit_passes_an_honest_twin(case: Case) -> None:
    verdict, checks = audited(case.honest, case.epochs)
    assert verdict == "passed", [check.words for check in checks.values() if check.verdict != "passed"]
    assert not any(check.advice for check in checks.values())


def test_a_trained_network_is_the_same_for_the_same_seed() -> None:
    _, splits = data()
    few = splits.train.prefix(128)
    one, same, other = (trained(CASES[0].honest, few, 1, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])
