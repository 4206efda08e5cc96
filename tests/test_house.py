"""The house in order: imports, names, sizes, and pages that say what is true."""

import ast
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import networkx
import pytest
import torch
from torch import nn

from core.device import generator
from core.family import Plugin

ROOMS = ("core", "store", "worker", "api", "local", "migrations", "sparring")
MAX_LINES = 400
ALLOWED_IN_STORE = {"core.errors", "core.events", "core.files"}


def tracked(root: Path, *patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *patterns],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    return [root / line for line in listed.stdout.splitlines() if (root / line).is_file()]


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
    return found


def calls(path: Path) -> set[str]:
    return {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


def test_the_import_rules_are_kept(root: Path) -> None:
    done = subprocess.run([Path(sys.executable).with_name("lint-imports")], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_no_modules_import_one_another_in_a_circle() -> None:
    graph = grimp.build_graph(*ROOMS, cache_dir=None)
    edges = networkx.DiGraph(
        (module, found) for module in graph.modules for found in graph.find_modules_directly_imported_by(module)
    )
    assert [sorted(circle) for circle in networkx.strongly_connected_components(edges) if len(circle) > 1] == []


@pytest.mark.parametrize("room", ["store", "worker"])
def test_only_the_attempt_knows_more_of_core_than_errors_events_and_files(room: str, root: Path) -> None:
    for path in tracked(root, f"{room}/*.py"):
        if path.name in ("attempt.py", "recorder.py"):
            continue
        known = {name for name in imports(path) if name.startswith("core.")}
        assert all(
            any(name == allowed or name.startswith(f"{allowed}.") for allowed in ALLOWED_IN_STORE) for name in known
        ), path


def test_the_science_neither_prints_nor_reads_the_environment(root: Path) -> None:
    for path in tracked(root, "core/*.py"):
        if "sample" in path.parts:
            continue
        assert "print" not in calls(path), path
        assert not re.search(r"os\.environ|os\.getenv", path.read_text()), path


def test_no_file_is_over_400_lines(root: Path) -> None:
    kept = {".py", ".md", ".js", ".css", ".html", ".yaml", ".yml", ".toml"}
    for path in tracked(root):
        if path.suffix in kept and "vendor" not in path.parts and "reference" not in path.parts:  # that is generated
            assert len(path.read_text().splitlines()) <= MAX_LINES, path


def test_every_module_says_what_it_is(root: Path) -> None:
    for room in (*ROOMS, "tests", "benchmarks", "docs"):
        for path in tracked(root, f"{room}/*.py"):
            assert ast.get_docstring(ast.parse(path.read_text())), path


def test_nothing_is_left_undone_or_skipped(root: Path) -> None:
    unfinished = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b|mark\.skip|pytest\.skip\(|xfail")
    for path in tracked(root, "*.py", "*.js"):
        if path.name != Path(__file__).name and "vendor" not in path.parts:
            assert not unfinished.search(path.read_text()), path


def expanded(name: str) -> list[str]:
    """core/attacks/{base,fgsm}.py to its two names."""
    braces = re.search(r"\{(.*)\}", name)
    return [name.replace(braces[0], one) for one in braces[1].split(",")] if braces else [name]


def test_the_tree_in_the_readme_is_the_tree(root: Path) -> None:
    """Every listed path is there, and every module of the rooms is listed, with a clause."""
    text = (root / "README.md").read_text()
    tree = re.search(r"## The tree\n.*?```\n(.*?)```", text, re.DOTALL)
    assert tree
    listed: set[str] = set()
    for line in tree[1].splitlines():
        if line.strip():
            names, _, clause = line.strip().partition("  ")
            assert clause.strip(), f"no clause: {line}"
            for name in names.split(" "):
                listed |= set(expanded(name))
    assert [name for name in listed if not (root / name).exists()] == []
    modules = {str(path.relative_to(root)) for room in ROOMS for path in tracked(root, f"{room}/*.py")}
    modules -= {name for name in modules if name.endswith("__init__.py") or "/versions/" in name}
    assert modules - listed == set()
    top = {path.relative_to(root).parts[0] for path in tracked(root)} - {".gitignore", ".dockerignore"}
    assert {name for name in top if not any(entry.split("/")[0] == name for entry in listed)} == set()


def test_the_reference_pages_are_fresh(root: Path) -> None:
    spec = importlib.util.spec_from_file_location("generate", root / "docs/generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    for name, text in generate.pages().items():
        assert (root / "docs/reference" / name).read_text() == text, f"{name} is stale: make docs"


def test_links_in_the_pages_lead_somewhere(root: Path) -> None:
    for page in tracked(root, "*.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), (page, link)


def test_the_member_that_the_docs_show_works(root: Path, tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", (root / "docs/howto/add-a-member.md").read_text(), re.DOTALL)[1]
    path = tmp_path / "smoothed.py"
    path.write_text(code)
    spec = importlib.util.spec_from_file_location("smoothed", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert issubclass(module.Smoothed, Plugin)
    net, x, y = nn.Linear(4, 3), torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1])
    plain = nn.functional.cross_entropy(net(x), y)
    loss, stats = module.Smoothed(smoothing=0.0).loss(net, x, y, generator("cpu", 0))
    torch.testing.assert_close(loss, plain)
    assert set(stats) == {"clean"}


TOLD = """
import json, sys
sys.path.insert(0, ".")
from api.app import site
from api.routes.catalogues import described
from core.family import members
from core.spec import JobSpec, parse
from docs import generate
job = parse({"dataset": "mnist", "model": "lenet5", "objective": {"name": "smoothed", "smoothing": 0.25}})
print(json.dumps({
    "api": described(members("core.objectives")["smoothed"]).settings["properties"]["smoothing"]["default"],
    "schema": "Smoothed" in JobSpec.model_json_schema()["$defs"],
    "openapi": "Smoothed" in site.openapi()["components"]["schemas"],
    "help": "smoothing" in generate.pages()["objectives.md"],
    "spec": job.json_dict()["objective"]["smoothing"],
}))
"""


def test_one_new_file_is_a_member_in_the_api_the_schema_the_help_and_the_contract_tests(
    root: Path, tmp_path: Path
) -> None:
    """The member that the docs show, put in a copy of the checkout, and nothing else changed."""
    copy = tmp_path / "checkout"
    for path in tracked(root, "core", "api", "store", "sparring", "presets", "docs", "tests", "pyproject.toml"):
        place = copy / path.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    code = re.search(r"```python\n(.*?)```", (root / "docs/howto/add-a-member.md").read_text(), re.DOTALL)[1]
    (copy / "core/objectives/smoothed.py").write_text(code)
    told = subprocess.run([sys.executable, "-c", TOLD], cwd=copy, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout) == {"api": 0.1, "schema": True, "openapi": True, "help": True, "spec": 0.25}
    contracts = [sys.executable, "-m", "pytest", "-q", "tests/contracts", "-k", "smoothed"]
    done = subprocess.run(contracts, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b[5-9] passed|\b\d\d passed", done.stdout), done.stdout


def test_the_compose_file_holds_no_secret_and_runs_nobody_as_root(root: Path) -> None:
    import yaml

    compose = yaml.safe_load((root / "docker-compose.yml").read_text())
    services = compose["services"]
    assert set(services) == {"postgres", "redis", "migrate", "api", "worker"}
    for name in ("postgres", "redis"):
        assert services[name]["user"] == "999:999", "these images start as root where nothing is said"
    built = re.findall(r"^USER (.*)$", (root / "Dockerfile").read_text(), re.MULTILINE)
    assert built == ["10001"]
    for service in services.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    for name in ("api", "worker", "migrate"):
        assert services[name]["read_only"]
        assert "user" not in services[name], "theirs is the image's"
        assert services[name]["secrets"] == ["sparring_database_url", "sparring_broker_url"]
    for name in ("postgres", "redis", "api", "worker"):
        assert services[name]["healthcheck"]
    asked = services["postgres"]["healthcheck"]["test"][-1]
    assert "--host 127.0.0.1" in asked, "the server that only makes the database listens on its socket alone"
    assert "ports" not in services["postgres"]
    assert "ports" not in services["redis"]
    (gpu,) = services["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert gpu["capabilities"] == ["gpu"]
    text = (root / "docker-compose.yml").read_text()
    assert not re.search(r"(?i)password:\s*[^\s{]|://[^\s\"']*:[^\s\"']*@", text)
    secret = [".env", *(Path(one["file"]).as_posix() for one in compose["secrets"].values())]
    kept = subprocess.run(["git", "check-ignore", *secret], cwd=root, capture_output=True, text=True)
    assert kept.stdout.split() == secret, "what the how-to writes beside the compose file is no part of git"


def test_the_api_of_the_image_ends_its_streams_before_it_would_be_killed(root: Path) -> None:
    waits = re.search(r'"--timeout-graceful-shutdown", "(\d+)"', (root / "Dockerfile").read_text())
    assert waits
    assert int(waits[1]) < 10, "Docker kills after ten seconds"


def test_what_the_dockerfile_copies_is_there_and_not_ignored(root: Path) -> None:
    ignored = (root / ".dockerignore").read_text().splitlines()
    for line in (root / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY"):
            for name in line.split()[1:-1]:
                assert (root / name).exists(), name
                assert any(
                    (kept.startswith("!") and Path(name).match(kept[1:])) or f"!{name}" == kept for kept in ignored
                ), name
