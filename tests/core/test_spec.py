"""The job specification: defaults, inheritance, exact numbers, and thirty ways to get it wrong."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidSpec
from core.spec import JobSpec, parse
from wrong_specs import LEAST, WRONG

THESIS = {
    "version": 1,
    "kind": "train",
    "name": "en2-resnet20-rgsm",
    "project": "cifar10-robust",
    "seed": 1,
    "replicates": 5,
    "dataset": {"name": "cifar10", "validation": 5000, "split_seed": 0, "augment": "crop_flip"},
    "threat": {"norm": "linf", "eps": "8/255"},
    "model": {"name": "enresnet", "depth": 20, "members": 2, "noise": 0.1, "noise_std": "batch"},
    "objective": {"name": "pgd", "steps": 10, "step": "2/255", "random_start": True, "loss": "ce", "craft_batchnorm": "train"},
    "sparsifier": {"name": "rgsm", "groups": "conv_input_channels", "prox": "group_l0", "beta": 1.0, "lambda1": 0.05,
                   "lambda2": 1e-5, "pull": "outside_momentum", "replace": "epoch_end", "min_groups": 1},
    "train": {"epochs": 200, "batch_size": 128, "lr": 0.1, "momentum": 0.9, "nesterov": True, "momentum_reset": "epoch",
              "weight_decay": 5e-4, "schedule": {"name": "multistep", "milestones": [80, 120, 160], "gamma": 0.1},
              "precision": "fp32",
              "select": {"split": "validation", "metric": "pgd20", "every": 1, "from_epoch": 80, "draws": 4, "sparsity_at_least": None}},
    "evaluate": {"batch_size": 128, "images": 10000, "audit": "quick",
                 "paper": {"attacks": ["fgsm", {"name": "ifgsm", "steps": 20, "step": "1/255"},
                                       {"name": "nattack", "images": 1000, "population": 300, "iterations": 400, "sigma": 0.1,
                                        "lr": 0.02, "checks": 40}]}},
    "compact": {"streams": "gather", "logits": 1e-4, "predictions_changed": 0},
    "export": [{"name": "safetensors"}],
    "resources": {"gpus": 1, "max_duration": "24h", "priority": "normal"},
}  # fmt: skip


def test_the_specification_of_the_service_page_is_valid() -> None:
    spec = parse(THESIS)
    assert [one.seed for one in spec.seeds()] == [1, 2, 3, 4, 5]
    assert [attack.label for attack in spec.evaluate.paper.attacks] == ["fgsm", "ifgsm20", "nattack400"]


def test_every_default_and_every_inherited_setting_is_written_out() -> None:
    spec = parse(
        {**LEAST, "threat": {"eps": "4/255"}, "objective": "pgd", "evaluate": {"paper": {"attacks": ["ifgsm"]}}}
    )
    written = spec.json_dict()
    assert written["objective"] | {} == written["objective"]
    assert (written["objective"]["eps"], written["objective"]["step"]) == ("4/255", "1/255")
    (attack,) = written["evaluate"]["paper"]["attacks"]
    assert (attack["eps"], attack["step"], attack["keep"], attack["label"]) == ("4/255", "1/510", "last", "ifgsm20")
    assert written["evaluate"]["images"] == 10_000


def test_what_is_resolved_resolves_to_itself() -> None:
    spec = parse(THESIS)
    assert parse(spec.json_dict()) == spec
    assert spec.resolved() == spec


@pytest.mark.parametrize(
    ("written", "value"),
    [("8/255", Fraction(8, 255)), (0.1, Fraction(1, 10)), ("0.031", Fraction(31, 1000)), (0, Fraction(0))],
)
def test_fractions_stay_exact(written: Any, value: Fraction) -> None:
    spec = parse({**LEAST, "threat": {"eps": written}})
    assert spec.threat.eps == value
    assert parse(spec.json_dict()).threat.eps == value


def test_the_digest_knows_what_is_computed_and_nothing_else() -> None:
    one = parse(LEAST)
    assert parse({**LEAST, "name": "other", "project": "p", "resources": {"priority": "high"}}).digest == one.digest
    assert parse({**LEAST, "threat": {"eps": "8/255"}}).digest == one.digest, "a default written out"
    assert parse({**LEAST, "seed": 2}).digest != one.digest
    assert parse({**LEAST, "train": {"lr": 0.2}}).digest != one.digest


def test_the_schema_describes_every_member() -> None:
    schema = JobSpec.model_json_schema()
    assert {"Pgd", "Ifgsm", "NAttack", "EnResNet", "Rgsm"} <= {name.split("__")[-1] for name in schema["$defs"]}


@pytest.mark.parametrize(
    ("document", "pointer", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG]
)
def test_what_is_wrong_is_named(document: Any, pointer: str, message: str) -> None:
    with pytest.raises(InvalidSpec, match=message) as caught:
        parse(document)
    assert pointer in [problem.pointer for problem in caught.value.problems]


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse({**LEAST, "sparsifier": "rgms", "train": {"epcohs": 3}})
    hints = {problem.pointer: problem.expected for problem in caught.value.problems}
    assert hints["/sparsifier"].endswith("did you mean rgsm?")
    assert hints["/train/epcohs"] == "did you mean epochs?"


def test_what_was_given_is_repeated_only_if_it_is_short() -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse({**LEAST, "name": "x" * 10_000})
    assert len(str(caught.value.problems[0].got)) < 100


def test_pointers_start_where_the_caller_says() -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse({**LEAST, "threat": {"eps": 9}}, "/spec")
    assert caught.value.problems[0].pointer == "/spec/threat/eps"


@given(
    eps=st.one_of(
        st.fractions(0, 1, max_denominator=1000).map(str),
        st.floats(0, 1).map(lambda eps: round(eps, 20)),
        st.sampled_from([0, 1, 16 / 255, 6 / 255]),
    ),
    steps=st.integers(1, 1000),
)
@settings(max_examples=60, deadline=None)
def test_what_is_stored_can_be_read_back(eps: Any, steps: int) -> None:
    attacks = ["fgsm", {"name": "pgd", "steps": steps}, {"name": "ifgsm", "steps": steps}]
    document = {
        **LEAST,
        "threat": {"eps": eps},
        "objective": {"name": "pgd", "steps": steps},
        "evaluate": {"paper": {"attacks": attacks}},
    }
    spec = parse(document)
    assert JobSpec.model_validate(spec.json_dict()) == spec == parse(spec.json_dict())


@pytest.mark.parametrize("share", [0.25, 0, [0.5, 0, 0.25, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]])
def test_a_share_for_all_layers_and_one_for_each_are_kept_as_they_were_given(share: Any) -> None:
    spec = parse({**LEAST, "sparsifier": {"name": "l1_filter", "share": share}})
    assert spec.json_dict()["sparsifier"]["share"] == share
    assert parse(spec.json_dict()) == spec
    assert parse(spec.json_dict()).digest == spec.digest
