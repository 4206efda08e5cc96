"""`sparring audit` as a user meets it: no service, no specification."""

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from core.models.lenet5 import LeNet5
from foreign import Means, exported
from sparring.cli import app

MODEL = """
from pathlib import Path

import safetensors.torch
from torch import nn

net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
net.load_state_dict(safetensors.torch.load_file(Path(__file__).with_name("means.safetensors")))

def quantised(x):
    return net((x * 8).round() / 8)

def flat(x):
    return x.flatten(1)
"""
ATTACKS = ["--attack", "fgsm", "--attack", "{name: ifgsm, steps: 5}"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    state = Means().layer.state_dict()
    safetensors.torch.save_file({f"1.{name}": tensor for name, tensor in state.items()}, tmp_path / "means.safetensors")
    path = tmp_path / "mymodel.py"
    path.write_text(MODEL)
    return path


def audit(*words: object, code: int = 0, data: str = "fashion_mnist_sample") -> tuple[str, str]:
    asked = ["audit", "--data", data, "--eps", "0.05", "--images", "64", *map(str, words)]
    done = CliRunner().invoke(app, asked, prog_name="sparring")
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


def test_a_python_file_is_judged_by_a_process_of_its_own(file: Path) -> None:
    asked = ["audit", f"{file}:net", "--data", "fashion_mnist_sample", "--eps", "0.05", "--images", "16", "--json"]
    done = subprocess.run([sys.executable, "-m", "sparring.cli", *asked], capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert list(report["scores"]) == ["clean", "apgd_ce50", "apgd_t50", "square500", "worst_case"]
    assert report["verdict"] in ("passed", "warnings")


def test_a_report_is_told_in_words_or_as_json(file: Path) -> None:
    out, _ = audit(f"{file}:net", *ATTACKS)
    assert out.splitlines()[0] == "note: it was in training mode; it is judged in evaluation mode"
    report = json.loads(audit(f"{file}:net", *ATTACKS, "--json")[0])
    assert list(report["scores"]) == ["clean", "fgsm", "ifgsm5", "worst_case"]
    assert report["verdict"] in ("passed", "warnings")
    assert out.splitlines()[-1] == f"verdict: {report['verdict']}. {report['words']}"
    for label, score in report["scores"].items():
        assert f"{f'strict {label}':<20} {100 * score['accuracy']:5.1f} %" in out
    for check in report["checks"]:
        assert f"audit: {check['check']} {check['verdict']}: {check['words']}" in out


def test_a_failed_audit_leaves_with_one(file: Path) -> None:
    report = json.loads(audit(f"{file}:quantised", *ATTACKS, "--json", code=1)[0])
    assert report["verdict"] == "failed"


def test_a_safetensors_file_and_an_onnx_file_are_judged_the_same_way(file: Path, tmp_path: Path) -> None:
    onnx.save(exported(Means(), torch.rand(2, 1, 28, 28)), tmp_path / "net.onnx")
    found = json.loads(audit(tmp_path / "net.onnx", *ATTACKS, "--json")[0])
    plain = json.loads(audit(f"{file}:net", *ATTACKS, "--json")[0])
    assert [s["survived"] for s in found["scores"].values()] == [s["survived"] for s in plain["scores"].values()]
    assert any("a logit differs from onnxruntime's by at most" in notice for notice in found["notices"])


def test_a_state_dict_needs_its_architecture(tmp_path: Path) -> None:
    state = LeNet5(widths="20-50-500").create(10, 1, 3).state_dict()
    safetensors.torch.save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "net.safetensors")
    _, error = audit(tmp_path / "net.safetensors", code=4)
    assert "Name the architecture: --model resnet" in error
    named = ["--model", "{name: lenet5, widths: 20-50-500}"]
    report = json.loads(audit(tmp_path / "net.safetensors", *named, "--attack", "fgsm", "--json", code=1)[0])
    assert {c["check"]: c["verdict"] for c in report["checks"]}["above_chance"] == "failed", "it was never trained"


@pytest.mark.parametrize(
    ("attribute", "words", "code", "says"),
    [
        ("nett", [], 3, "did you mean net?"),
        ("flat", [], 4, "it returns a shape of 128 x 784. It must return logits of shape 128 x 10"),
        ("net", ["--norm", "l7"], 4, "/threat/norm: is not a known value"),
        ("net", ["--attack", "{name: [}"], 4, "Not readable"),
        ("net", ["--images", "0"], 2, "--images"),
    ],
)
def test_refusals_have_their_exit_codes(file: Path, attribute: str, words: list[str], code: int, says: str) -> None:
    _, error = audit(f"{file}:{attribute}", *words, code=code)
    assert says in error


def test_missing_data_leave_with_three(file: Path, tmp_path: Path) -> None:
    _, error = audit(f"{file}:net", "--root", tmp_path, code=3, data="cifar10")
    assert "sparring data fetch cifar10" in error


def test_without_torch_the_command_still_says_what_it_takes() -> None:
    """The client installs without torch: only a network that is judged imports it."""
    code = "import sys; sys.modules['torch'] = None; from sparring.cli import app; app(['audit', '--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "mymodel.py:net" in done.stdout
