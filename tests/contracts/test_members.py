"""Every member of every family documents itself, cites its source, and has a cheap example."""

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import TypeAdapter

from core.family import OneOf, Plugin, members

FAMILIES = ("datasets", "models", "objectives", "sparsifiers", "attacks", "exporters")
EVERY = [
    pytest.param(name, member, id=f"{family}.{name}")
    for family in FAMILIES
    for name, member in members(f"core.{family}").items()
]
SOURCE = re.compile(
    r"arXiv \d{4}\.\d{4,5}|[A-Z][a-z]+ (et al\. )?\(?(19|20)\d{2}|thesis|huggingface|torchattacks|pytorch",
    re.IGNORECASE,
)
NO_SOURCE = {"dense", "natural", "compact"}
"""Members that are nobody's method."""


@pytest.mark.parametrize(("name", "member"), EVERY)
def test_a_member_is_named_after_its_file(name: str, member: type[Plugin]) -> None:
    assert member.__module__.rpartition(".")[2] == name == member.model_fields["name"].default


@pytest.mark.parametrize(("name", "member"), EVERY)
def test_a_member_and_its_module_say_what_they_are(name: str, member: type[Plugin]) -> None:
    assert len(inspect.getdoc(member) or "") > 20
    assert len(inspect.getdoc(sys.modules[member.__module__]) or "") > 60 or name in NO_SOURCE


@pytest.mark.parametrize(("name", "member"), EVERY)
def test_a_member_cites_its_source(name: str, member: type[Plugin]) -> None:
    text = (inspect.getdoc(sys.modules[member.__module__]) or "") + (inspect.getdoc(member) or "")
    assert SOURCE.search(text) or name in NO_SOURCE


@pytest.mark.parametrize(("name", "member"), EVERY)
def test_every_setting_describes_itself(name: str, member: type[Plugin]) -> None:
    silent = [key for key, field in member.model_fields.items() if not field.description and key != "name"]
    assert silent == []


@pytest.mark.parametrize(("name", "member"), EVERY)
def test_the_example_is_valid_and_survives_json(name: str, member: type[Plugin]) -> None:
    made = member.model_validate(member.example())
    assert member.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(("name", "member"), EVERY)
def test_a_specification_takes_every_setting_as_it_is_written(name: str, member: type[Plugin]) -> None:
    family = Annotated[Plugin, OneOf(member.__module__.rpartition(".")[0])]
    made = member.model_validate(member.example())
    assert TypeAdapter(family).validate_json(json.dumps(made.model_dump(mode="json")), strict=True) == made


@pytest.mark.parametrize(("name", "member"), EVERY)
def test_an_unknown_setting_is_refused(name: str, member: type[Plugin]) -> None:
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        member.model_validate({**member.example(), "colour": "red"})


def test_a_module_without_its_plug_in_is_a_mistake(tmp_path, monkeypatch) -> None:
    package = tmp_path / "toys"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "ball.py").write_text("from core.family import Plugin\nclass Cube(Plugin):\n    name: str = 'cube'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(LookupError, match="toys.ball holds no plug-in named 'ball'"):
        members("toys")


def test_a_module_without_a_named_plug_in_holds_what_members_share(tmp_path, monkeypatch) -> None:
    package = tmp_path / "sports"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "rules.py").write_text("from core.family import Plugin\nclass Rules(Plugin):\n    players: int = 2\n")
    (package / "go.py").write_text("from sports.rules import Rules\nclass Go(Rules):\n    name: str = 'go'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert list(members("sports")) == ["go"]


def test_a_new_file_is_a_new_member(tmp_path, monkeypatch) -> None:
    package = tmp_path / "games"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "chess.py").write_text("from core.family import Plugin\nclass Chess(Plugin):\n    name: str = 'chess'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert list(members("games")) == ["chess"]


INSTALLED = """
from typing import Literal
from core.attacks.base import Attack

class Ours(Attack):
    \"\"\"A team's own.\"\"\"
    name: Literal["ours"] = "ours"
    def steps_from(self, net, x, y, generator):
        yield 1 - x
    @property
    def passes(self):
        return 0.5

class Loud(Ours):
    name: Literal["Ours"] = "Ours"
"""


@pytest.fixture
def installed(tmp_path: Path):
    """Installs a distribution that names entry points, and runs code in a process that sees it."""

    def run(entry: str, code: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "our_attacks.py").write_text(INSTALLED)
        about = tmp_path / "ours-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: ours\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[sparring.attacks]\n{entry}\n")
        path = f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"
        command = [sys.executable, "-c", code]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": path}
        )

    return run


def test_an_installed_attack_is_a_member_like_any_other(installed) -> None:
    done = installed(
        "ours = our_attacks:Ours",
        "from core.spec import parse\n"
        "job = {'dataset': 'mnist', 'model': 'lenet5', 'evaluate': {'paper': {'attacks': ['ours']}}}\n"
        "(attack,) = parse(job).evaluate.paper.attacks\n"
        "print(type(attack).__name__, attack.eps, attack.label)",
    )
    assert done.stdout.split() == ["Ours", "8/255", "ours"], done.stderr


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("pgd = our_attacks:Ours", "is named 'pgd', as another member of core.attacks"),
        ("theirs = our_attacks:Ours", "theirs = our_attacks:Ours is no plug-in named 'theirs'"),
        ("Ours = our_attacks:Loud", "'Ours' must be named by at most 32 small letters"),
        ("ours = our_attacks:Literal", "ours = our_attacks:Literal is no plug-in named 'ours'"),
    ],
)
def test_an_entry_point_that_is_no_new_member_says_so(installed, entry: str, message: str) -> None:
    done = installed(entry, "from core.family import members; members('core.attacks')")
    assert message in done.stderr
