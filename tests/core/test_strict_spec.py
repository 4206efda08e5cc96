"""The strict protocol as settings: what is filled in, and what is refused."""

import pytest

from core.errors import InvalidSpec
from core.spec import parse

JOB = {
    "dataset": {"name": "fashion_mnist_sample"},
    "model": "lenet5",
    "train": {"select": None},
    "evaluate": {"images": 96, "strict": {"images": 64}},
}


@pytest.mark.parametrize(
    ("strict", "pointer", "message"),
    [
        ({"images": 97}, "/evaluate/strict/images", "is more than are evaluated"),
        ({"attacks": []}, "/evaluate/strict/attacks", "at least 1"),
        ({"attacks": ["fgsm", "fgsm"]}, "/evaluate/strict/attacks/1/label", "is taken"),
        ({"attacks": [{"name": "fgsm", "label": "worst_case"}]}, "/evaluate/strict/attacks/0/label", "is taken"),
        ({"attacks": [{"name": "cw_linf", "norm": "l2"}]}, "/evaluate/strict/attacks/0/norm", "does not search there"),
        ({"attacks": [{"name": "pgd", "eps": 1.5}]}, "/evaluate/strict/attacks/0/eps", "more than the whole box"),
        ({"attacks": [{"name": "pgd", "eps": "1/2550"}]}, "/evaluate/strict/attacks", "robust that nothing attacked"),
        ({"attacks": [{"name": "pgd", "norm": "l2"}]}, "/evaluate/strict/attacks", "robust that nothing attacked"),
        ({"attacks": [{"name": "pgd", "images": 4}]}, "/evaluate/strict/attacks", "robust that nothing attacked"),
        ({"attacks": [{"name": "pgd", "epz": 1}]}, "/evaluate/strict/attacks/0/epz", "is not a known key"),
        ({"eot": 0}, "/evaluate/strict/eot", "greater than or equal to 1"),
        ({"precision": "bf16"}, "/evaluate/strict/precision", "is not a known value"),
    ],
)
def test_what_is_wrong_with_a_strict_protocol_is_named(strict, pointer: str, message: str) -> None:
    with pytest.raises(InvalidSpec, match=message) as caught:
        parse({**JOB, "evaluate": {**JOB["evaluate"], "strict": strict}})
    pointers = [problem.pointer for problem in caught.value.problems]
    assert pointer in pointers
    assert "/evaluate/strict/attacks" not in pointers or pointer.startswith("/evaluate/strict/attacks")


def test_the_resolved_job_names_its_strict_attacks_and_images() -> None:
    spec = parse({**JOB, "evaluate": {"strict": {}}})
    strict = spec.evaluate.strict
    assert strict is not None
    assert strict.images == 1000
    assert strict.attacks
    assert all(attack.eps == spec.threat.eps and attack.label for attack in strict.attacks)
    assert parse(spec.json_dict()) == spec
