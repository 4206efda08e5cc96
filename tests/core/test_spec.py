"""The job specification: defaults, inheritance, exact numbers, and thirty ways to get it wrong."""

from fractions import Fraction
from typing import Any

import pytest

from core.errors import InvalidSpec
from core.spec import JobSpec, parse

LEAST: dict[str, Any] = {"dataset": "cifar10", "model": "resnet"}
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


WRONG: list[tuple[str, Any, str, str]] = [
    ("nothing", {}, "/dataset", "is missing"),
    ("a number", 5, "", "should be an object"),
    ("null", None, "", "should be an object"),
    ("a list", [], "", "should be an object"),
    ("a text", "mnist", "", "should be an object"),
    ("unknown key", {**LEAST, "epochs": 3}, "/epochs", "is not a known key"),
    ("unknown dataset", {**LEAST, "dataset": "cifar11"}, "/dataset", "is not a known value"),
    ("unknown model", {**LEAST, "model": {"name": "resnte"}}, "/model/name", "is not a known value"),
    ("no name", {**LEAST, "model": {"depth": 20}}, "/model", "the key `name` is missing"),
    ("unknown nested key", {**LEAST, "train": {"epoch": 3}}, "/train/epoch", "is not a known key"),
    ("unknown setting of a member", {**LEAST, "sparsifier": {"name": "rvsm", "lamb": 1}}, "/sparsifier/lamb", "is not a known key"),
    ("text for a number", {**LEAST, "train": {"epochs": "three"}}, "/train/epochs", "should be a valid integer"),
    ("number as text", {**LEAST, "train": {"epochs": "3"}}, "/train/epochs", "should be a valid integer"),
    ("fraction of an epoch", {**LEAST, "train": {"epochs": 2.5}}, "/train/epochs", "should be a valid integer"),
    ("true as a number", {**LEAST, "seed": True}, "/seed", "should be a valid integer"),
    ("eps 9", {**LEAST, "threat": {"eps": 9}}, "/threat/eps", "should be less than or equal to 1"),
    ("negative eps", {**LEAST, "threat": {"eps": -0.1}}, "/threat/eps", "should be greater than or equal to 0"),
    ("eps over zero", {**LEAST, "threat": {"eps": "1/0"}}, "/threat/eps", "a fraction such as 8/255"),
    ("eps in words", {**LEAST, "threat": {"eps": "eight"}}, "/threat/eps", "a fraction such as 8/255"),
    ("NaN", {**LEAST, "train": {"lr": float("nan")}}, "/train/lr", "should be a finite number"),
    ("infinity", {**LEAST, "train": {"lr": float("inf")}}, "/train/lr", "should be a finite number"),
    ("huge epochs", {**LEAST, "train": {"epochs": 10**12}}, "/train/epochs", "should be less than or equal to 100000"),
    ("huge integer", {**LEAST, "seed": 2**70}, "/seed", "should be"),
    ("huge ensemble", {**LEAST, "model": {"name": "enresnet", "members": 10**6}}, "/model/members", "should be less than or equal to 20"),
    ("huge product", {**LEAST, "model": {"name": "enresnet", "members": 20, "depth": 1202}}, "/model", "depth times members is 24040"),
    ("wrong depth", {**LEAST, "model": {"name": "resnet", "depth": 21}}, "/model/depth", "depth must be 6n \\+ 2"),
    ("path as project", {**LEAST, "project": "../../etc"}, "/project", "should match pattern"),
    ("path as label", {**LEAST, "evaluate": {"paper": {"attacks": [{"name": "fgsm", "label": "../x"}]}}}, "/evaluate/paper/attacks/0/label", "should match pattern"),
    ("path as dataset", {**LEAST, "dataset": "../../etc/passwd"}, "/dataset", "is not a known value"),
    ("control character", {**LEAST, "name": "a\x00b"}, "/name", "control characters"),
    ("lone surrogate", {**LEAST, "name": "a\ud800"}, "/name", "surrogates"),
    ("long name", {**LEAST, "name": "x" * 10_000}, "/name", "at most 200 characters"),
    ("same label twice", {**LEAST, "evaluate": {"paper": {"attacks": ["fgsm", "fgsm"]}}}, "/evaluate/paper/attacks/1/label", "is taken"),
    ("too much validation", {**LEAST, "dataset": {"name": "cifar10", "validation": 50_000}}, "/dataset/validation", "leaves no image"),
    ("no validation to select on", {**LEAST, "dataset": {"name": "cifar10", "validation": 0}}, "/train/select", "needs validation images"),
    ("batch larger than the data", {**LEAST, "dataset": {"name": "cifar10", "images": 10}}, "/train/batch_size", "larger than the training split"),
    ("more images than there are", {**LEAST, "evaluate": {"images": 10_001}}, "/evaluate/images", "more than the test set has"),
    ("wrong images for the model", {**LEAST, "model": "lenet5"}, "/model", "does not take the images of cifar10"),
    ("falling milestones", {**LEAST, "train": {"schedule": {"name": "multistep", "milestones": [9, 3]}}}, "/train/schedule/milestones", "must rise"),
    ("unknown schedule", {**LEAST, "train": {"schedule": "cosin"}}, "/train/schedule", "valid"),
    ("unknown metric", {**LEAST, "train": {"select": {"metric": "test"}}}, "/train/select/metric", "should match pattern"),
    ("code as an attack", {**LEAST, "evaluate": {"paper": {"attacks": [{"name": "torchattacks", "attack": "os.system"}]}}}, "/evaluate/paper/attacks/0", "torchattacks has no attack 'os.system'"),
    ("more checks than moves", {**LEAST, "evaluate": {"paper": {"attacks": [{"name": "nattack", "iterations": 5, "checks": 6}]}}}, "/evaluate/paper/attacks/0", "checks must be at most iterations"),
    ("too many attacks", {**LEAST, "evaluate": {"paper": {"attacks": ["fgsm"] * 51}}}, "/evaluate/paper/attacks", "at most 50 items"),
    ("endless duration", {**LEAST, "resources": {"max_duration": "forever"}}, "/resources/max_duration", "should match pattern"),
]  # fmt: skip


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
