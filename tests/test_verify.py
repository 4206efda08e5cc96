"""`sparring verify`: archive and network agree or not, by forward passes alone, with no attack of ours loaded."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from core import witness
from core.blueprint import Blueprint
from core.candidates import Candidates
from core.datasets.base import Split
from core.events import Event, Exported, Scored, Witnessed
from core.exporters.safetensors import Safetensors
from core.threat import Threat
from core.verify import verify as score
from core.witness import About, Archive
from recorded import ran
from sparring.cli import app

SCRIPT = """
import sys
from sparring.cli import app
try:
    app(["verify", *sys.argv[1:]])
except SystemExit as left:
    print(left.code, "core.attacks" in sys.modules, "core.verify" in sys.modules)
"""
RANDOM: dict[str, Any] = {
    "model": {"name": "enresnet", "depth": 8, "members": 1},
    "train": {"epochs": 1, "batch_size": 64, "select": None, "schedule": {"name": "onecycle"}},
    "evaluate": {
        "images": 16,
        "batch_size": 8,
        "audit": "off",
        "strict": {"eot": 1, "selection_draws": 4, "judging_draws": 32, "attacks": [{"name": "pgd", "steps": 2}]},
    },
    "export": ["safetensors"],
}


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    return ran(tmp_path_factory.mktemp("run"))


def model(events: list[Event], exporter: str = "safetensors") -> str:
    return next(one.path for one in events if isinstance(one, Exported) and one.exporter == exporter)


def archive(events: list[Event], network: str = "trained", label: str = "worst_case") -> str:
    return next(
        one.path for one in events if isinstance(one, Witnessed) and (one.network, one.label) == (network, label)
    )


def verify(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["verify", *map(str, arguments)])
    return done.exit_code, done.output


def test_an_archive_agrees_with_the_network_that_was_attacked(events: list[Event]) -> None:
    (score,) = [e for e in events if isinstance(e, Scored) and (e.network, e.label) == ("trained", "worst_case")]
    code, said = verify(archive(events), model(events))
    assert (code, "agrees: ball, box and accuracy" in said) == (0, True)
    assert f"stated {100 * score.accuracy:.2f} %, found {100 * score.accuracy:.2f} % right" in said
    assert "40 images" in said
    assert "linf ball of 1/10" in said
    lossy = "1-int8.int8.safetensors"
    assert verify(archive(events, lossy, "pgd5"), model(events, "int8"))[0] == 0


def test_the_process_loads_no_attack(events: list[Event]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, archive(events), model(events)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 False True"


def test_json_says_what_was_found(events: list[Event]) -> None:
    code, said = verify(archive(events), model(events), "--json")
    found = json.loads(said)
    assert (code, found["images"], found["problems"], found["stated"] == found["found"]) == (0, 40, [], True)


def test_another_network_does_not_agree(events: list[Event], tmp_path: Path) -> None:
    shape = Blueprint.model_validate({"model": "lenet5", "num_classes": 10, "channels": 1})
    Safetensors().write(shape.build(3), shape, tmp_path / "other")
    code, said = verify(archive(events), tmp_path / "other")
    assert (code, "does not agree: the network gets" in said) == (1, True)


def changed(path: str, to: Path, **values: Any) -> Path:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    about = json.loads(str(arrays["about"])) | values.pop("about", {})
    data = io.BytesIO()
    np.savez_compressed(data, **arrays | {"about": np.array(json.dumps(about))} | values)
    to.write_bytes(data.getvalue())
    return to


def test_forged_numbers_balls_and_pixels_are_found(events: list[Event], tmp_path: Path) -> None:
    true, net = archive(events), model(events)
    with np.load(true) as file:
        moved, right = file["adversarial"], file["right"]
    forged = {
        "the archive states": {"about": {"accuracy": 0.0}, "right": np.zeros_like(right)},
        "not the mean": {"about": {"accuracy": float(right.mean()) + 0.01}},
        "outside the linf ball": {"adversarial": np.clip(moved + 0.2, 0, 1)},
        "outside [0, 1]": {"adversarial": np.full_like(moved, np.nan)},
    }
    for words, change in forged.items():
        code, said = verify(changed(true, tmp_path / "forged.npz", **change), net)
        assert (code, words in said) == (1, True), said


def test_a_random_network_agrees_within_the_noise_of_its_draws(tmp_path: Path) -> None:
    found = ran(tmp_path, **RANDOM)
    code, said = verify(archive(found), model(found))
    assert (code, "points apart is within its noise, or its ties" in said) == (0, True), said
    assert verify(archive(found), model(found), "--draws", "8")[0] == 0


@pytest.mark.parametrize("missing", [0, 1])
def test_a_file_that_is_not_there_is_named(events: list[Event], missing: int) -> None:
    paths = [archive(events), model(events)]
    paths[missing] = "/nowhere"
    code, said = verify(*paths)
    assert (code, "There is no file /nowhere" in said) == (3, True)


def test_files_that_cannot_be_read_are_told_from_those_that_disagree(events: list[Event], tmp_path: Path) -> None:
    true, net, odd = archive(events), model(events), tmp_path / "odd"
    for data in (b"", b"x", Path(true).read_bytes()[:500], Path(net).read_bytes()):
        odd.write_bytes(data)
        code, said = verify(odd, net)
        assert (code, "is no archive of adversarial images" in said) == (4, True)
    for data in (b"", Path(net).read_bytes()[:-8], Path(true).read_bytes()):
        odd.write_bytes(data)
        code, said = verify(true, odd)
        assert (code, "is no file of a network" in said) == (4, True)
    with np.load(true) as file:
        wrong = {
            "the arrays should be": {"y": file["y"].astype(np.int32)},
            "one value for each of 40 images": {"right": file["right"][:-1]},
            r"should be (n, C, H, W)": {"x": file["x"][:, :, :-1]},
            "numbers of attacks": {"by": file["by"] + 99},
        }
    for words, change in wrong.items():
        code, said = verify(changed(true, odd, **change), net)
        assert (code, words in said) == (4, True), said


def test_a_network_of_other_images_is_told_so(events: list[Event], tmp_path: Path) -> None:
    shape = Blueprint.model_validate({"model": {"name": "resnet", "depth": 8}, "num_classes": 10, "channels": 3})
    Safetensors().write(shape.build(), shape, tmp_path / "other")
    code, said = verify(archive(events), tmp_path / "other")
    assert (code, "do not belong together" in said) == (4, True)


def test_an_image_whose_logits_tie_may_be_judged_the_other_way_and_no_other(tmp_path: Path) -> None:
    """A network that says its three pixels: of one image they are as good as equal."""
    net = nn.Flatten()
    x = torch.tensor([[9, 0, 0], [9, 0, 0], [0, 9, 0], [7, 7, 0]], dtype=torch.uint8).view(4, 1, 1, 3)
    images, none = Split(x, torch.tensor([0, 0, 1, 0])), torch.zeros(4, dtype=torch.int64)
    shown = x.float() / 255
    shown[3, 0, 0, 1] += 1e-6
    problems = []
    for right in ([1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]):
        share = torch.tensor(right)
        worst = Candidates(shown, 1 - share, share, share == 1, none, none, torch.zeros(4), none)
        about = About(label="worst_case", network="trained", dataset="mnist", threat=Threat(), attacks=("clean",), accuracy=sum(right) / 4, draws=1, frozen=())  # fmt: skip
        witness.write(tmp_path / "archive.npz", about, images, worst)
        found = score(Archive(tmp_path / "archive.npz"), net)
        problems.append((found.found, found.allowed, len(found.problems)))
    assert problems == [(0.75, 0.25, 0), (0.75, 0.25, 1)]
