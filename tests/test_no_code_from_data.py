"""P23 in the source: nothing that turns bytes of others into code is called anywhere in what is run."""

import ast
import subprocess
from pathlib import Path

import pytest

from test_house import ROOMS, tracked

MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
CALLS = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {"torch.load", "torch.hub", "yaml.unsafe_load", "yaml.full_load", "os.system", "subprocess.getoutput"}
ALLOWED = {"core/foreign/python.py"}
"""Runs the file that its owner names on the command line, on that machine: that is what it is for; never by the service."""


def named(node: ast.AST) -> str:
    """torch.load of the node of torch.load."""
    if isinstance(node, ast.Attribute):
        return f"{named(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def dangers(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names} & MODULES
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module)} & MODULES
        elif isinstance(node, ast.Call):
            called = named(node.func)
            found |= {called} & (CALLS | ATTRIBUTES)
            trusted = [one for one in node.keywords if one.arg in ("allow_pickle", "shell", "trust_remote_code")]
            found |= {f"{called}({one.arg})" for one in trusted if getattr(one.value, "value", True) is not False}
    return found


def test_p23_nothing_unpickles_or_evaluates(root: Path) -> None:
    for room in ROOMS:
        for path in tracked(root, f"{room}/*.py"):
            if str(path.relative_to(root)) not in ALLOWED:
                assert dangers(path.read_text()) == set(), path


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", "pickle"),
        ("from marshal import loads", "marshal"),
        ("import torch\ntorch.load(x)", "torch.load"),
        ("eval(x)", "eval"),
        ("np.load(x, allow_pickle=True)", "np.load(allow_pickle)"),
        ("subprocess.run(x, shell=True)", "subprocess.run(shell)"),
    ],
)
def test_p23_the_search_finds_what_it_looks_for(source: str, found: str) -> None:
    assert dangers(source) == {found}


def test_p23_the_service_never_imports_what_runs_a_file_of_somebody_elses(root: Path) -> None:
    text = subprocess.run(
        ["grep", "-rlE", "foreign|importlib", "api", "worker", "store"], cwd=root, capture_output=True, text=True
    )
    lines = [name for name in text.stdout.split() if name.endswith(".py")]
    for name in lines:
        assert "foreign." not in "".join(line for line in (root / name).read_text().splitlines() if "import" in line), (
            name
        )
