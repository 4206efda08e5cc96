"""`make mutants [ONLY=store/jobs.py] [SHARE=0.2]`: do the tests bite? One fault after the other in the modules on which the promises rest.

Each mutant is a fork of this process with the servers already running: it imports the changed module, runs the tests that
call the changed function, and ends with the first that fails; those that have caught a fault before go first. Nothing is written
into the tree.
"""

import ast
import importlib.util
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import psycopg
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE.parent), str(ROOT)]

import api.app  # noqa: E402, F401
import conftest  # noqa: E402, F401

OURS = ("api", "conftest", "local", "migrations", "sparring", "store", "worker")
for name in [name for name in sys.modules if name.split(".")[0] in OURS]:
    del sys.modules[name]  # each fork imports what is ours anew, and finds what others have written loaded

import local.postgres  # noqa: E402
import local.valkey  # noqa: E402
from core.intervals import wilson  # noqa: E402
from promises.equivalent import EQUIVALENT  # noqa: E402
from promises.mutants import Mutant, mutants  # noqa: E402

TESTS = {
    "store/policy.py": "store/test_policy",
    "store/schedule.py": "store/test_schedule store/test_jobs store/test_guards store/test_claims store/test_explain",
    "store/jobs.py": "store/test_jobs store/test_lifecycle store/test_reaper store/test_dependencies store/test_parts store/test_guards store/test_claims",
    "store/attempts.py": "store/test_jobs store/test_parts store/test_guards store/test_claims worker/test_app",
    "store/feed.py": "store/test_jobs store/test_parts store/test_guards store/test_claims",
    "store/sight.py": "store/test_team api/test_people api/test_team",
    "api/permissions.py": "api/test_access api/test_people api/test_matrix",
}
"""The modules of state, claim, fencing and permissions, each with the tests that concern it. Those that act at random are not
among them: what they catch today they may miss tomorrow."""
PATIENCE = 5.0
"""A mutant for which the tests take so many times as long goes round in circles."""


class Changed(SourceFileLoader):
    """Loads a module from another text."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(name, str(ROOT / f"{name.replace('.', '/')}.py"))
        self.text = text

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.text, self.path, "exec", dont_inherit=True)

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """Of all imports the one of this module."""
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None


class Reach:
    """A pytest plug-in: which functions of a module each test calls, and how long it takes."""

    def __init__(self, file: str, told: int) -> None:
        self.file, self.told = file, told
        self.called: set[str] = set()
        self.found: dict[str, tuple[float, list[str]]] = {}
        threading.settrace(self._trace)
        sys.settrace(self._trace)

    def _trace(self, frame: FrameType, *_: Any) -> None:
        if frame.f_code.co_filename == self.file:
            self.called.add(frame.f_code.co_qualname.split(".<locals>")[0])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a test has called, its fixtures included."""
        seconds, functions = self.found.get(report.nodeid, (0.0, []))
        self.found[report.nodeid] = (seconds + report.duration, sorted({*functions, *self.called}))
        self.called.clear()
        if report.failed:
            print(f"{report.nodeid} fails:\n{report.longreprtext}")
            self.found = {}
            pytest.exit("the module as it is does not pass")

    def pytest_sessionfinish(self) -> None:
        """Tell it."""
        os.write(self.told, json.dumps(self.found).encode())


class Witness:
    """A pytest plug-in: runs some tests in their order, tells which one fails first, and ends the process with it."""

    def __init__(self, chosen: list[str], told: int) -> None:
        self.chosen, self.told = {test: place for place, test in enumerate(chosen)}, told

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Choose and order the tests."""
        items[:] = sorted((one for one in items if one.nodeid in self.chosen), key=lambda one: self.chosen[one.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """The first failure ends it."""
        if report.failed:
            os.write(self.told, report.nodeid.encode())
            os._exit(1)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, nextitem: pytest.Item | None) -> None:
        """The servers live on: after the last test nothing is taken down."""
        if nextitem is None:
            os._exit(0)


class Bench:
    """The servers, and the mutants that are tried on them."""

    def __init__(self, home: Path, postgres: Any, valkey: Any) -> None:
        self.home, self.servers = home, (postgres, valkey)
        self.caught: Counter[str] = Counter()

    def reach(self, module: str) -> dict[str, tuple[float, list[str]]]:
        """The tests that concern a module, each with its seconds and the functions that it calls."""
        files = [f"tests/{name}.py" for name in TESTS[module].split()]
        _, told = self._fork(module, None, files, lambda told: Reach(str(ROOT / module), told), 3600)
        if not told:
            raise SystemExit(f"The tests of {module} do not pass as it is:\n{(self.home / 'output').read_text()}")
        return {test: found for test, found in json.loads(told).items() if found[1]}

    def bitten(self, module: str, text: str, tests: dict[str, float]) -> str | None:
        """Which of these tests fails on a module with this text; None if they all pass."""
        if not tests:
            return None
        chosen = sorted(tests, key=lambda test: (-self.caught[test], tests[test]))
        files = sorted({test.split("::")[0] for test in chosen})
        most = PATIENCE * (20 + sum(tests.values()))
        status, test = self._fork(module, text, files, lambda told: Witness(chosen, told), most)
        self.caught.update([test] if test else [])
        return test or {0: None, None: "it does not end"}.get(status, "it cannot be imported")

    def _fork(
        self, module: str, text: str | None, files: list[str], plugin: Any, most: float
    ) -> tuple[int | None, str]:
        """Run tests in a fork: how it ended, None if it did not, and what it told."""
        with tempfile.TemporaryFile() as told:
            if not (pid := os.fork()):
                try:
                    self._try(module, text, files, plugin, told.fileno())
                except BaseException:
                    traceback.print_exc()
                finally:
                    sys.stdout.flush()
                    sys.stderr.flush()
                    os._exit(2)
            status = self._wait(pid, most)
            told.seek(0)
            return status, told.read().decode()

    def _wait(self, pid: int, most: float) -> int | None:
        """How a fork has ended, None if it had to be; nothing that it has started lives on."""
        until, status = time.monotonic() + most, None
        while status is None and time.monotonic() < until:
            time.sleep(0.02)
            found, code = os.waitpid(pid, os.WNOHANG)
            status = os.waitstatus_to_exitcode(code) if found else None
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        if status is None:
            os.waitpid(pid, 0)
        return status

    def _try(self, module: str, text: str | None, files: list[str], plugin: Any, told: int) -> None:
        """In the fork: the changed module, the running servers, the tests."""
        os.setsid()
        output = os.open(self.home / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        if text is not None:
            sys.meta_path.insert(0, Changed(module.removesuffix(".py").replace("/", "."), text))  # type: ignore[arg-type]
        postgres, valkey = self.servers
        local.postgres.Postgres = lambda _: nullcontext(postgres)  # type: ignore[assignment, misc]
        local.valkey.Valkey = lambda _: nullcontext(valkey)  # type: ignore[assignment, misc]
        folder = str(self.home / "tests")
        pytest.main(
            [
                "-q",
                "-p",
                "no:cacheprovider",
                "-W",
                "ignore::pytest.PytestAssertRewriteWarning",
                "--basetemp",
                folder,
                *files,
            ],
            [plugin(told)],
        )


def run(bench: Bench, modules: list[str], share: float) -> Iterator[dict[str, Any]]:
    """Try the mutants of modules, or a random share of them, in a random order: whatever there is of it is a sample."""
    reach = {module: bench.reach(module) for module in modules}
    texts = {module: (ROOT / module).read_text() for module in modules}
    every = [(module, one) for module in modules for one in mutants(texts[module])]
    for module, one in random.Random(30).sample(every, round(share * len(every))):
        where = function(texts[module], one.line)
        tests = {test: seconds for test, (seconds, called) in reach[module].items() if where in ("", *called)}
        yield described(module, texts[module], one, bench.bitten(module, one.text, tests))


def function(text: str, line: int) -> str:
    """In which function or method of a module a line stands; of no function's, the empty string."""
    bodies = [("", ast.parse(text))]
    bodies += [(f"{one.name}.", one) for one in bodies[0][1].body if isinstance(one, ast.ClassDef)]
    inside = [
        before + one.name
        for before, body in bodies
        for one in body.body
        if isinstance(one, ast.FunctionDef) and one.lineno <= line <= (one.end_lineno or 0)
    ]
    return inside[-1] if inside else ""


def described(module: str, text: str, one: Mutant, test: str | None) -> dict[str, Any]:
    """A mutant and what became of it."""
    line = text.splitlines()[one.line - 1].strip()
    why = None if test else EQUIVALENT.get((module, line, one.was, one.now))
    found = {"module": module, "line": one.line, "column": one.column, "text": line, "was": one.was, "now": one.now}
    return found | {"caught": test} | ({"equivalent": why} if why else {})


def score(found: list[dict[str, Any]]) -> str:
    """The share of mutants that a test has caught, of those that are not equivalent."""
    caught = sum(one["caught"] is not None for one in found)
    same = sum("equivalent" in one for one in found)
    low, high = wilson(caught, len(found) - same)
    share = (
        f"{caught} of {len(found) - same} mutants caught, {caught / (len(found) - same):.1%} [{low:.1%}, {high:.1%}]"
    )
    return f"{share}, {same} more equivalent"


def main(only: str, share: float) -> None:
    """Try the chosen modules."""
    found = []
    with tempfile.TemporaryDirectory() as home, local.postgres.Postgres(Path(home) / "postgres") as postgres:
        with psycopg.connect(postgres.url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute("ALTER DATABASE sparring SET synchronous_commit = off")
            connection.execute("ALTER DATABASE sparring SET statement_timeout = '20s'")  # a mutant may ask without end
        with local.valkey.Valkey(Path(home) / "valkey") as valkey:
            bench = Bench(Path(home), postgres, valkey)
            for one in run(bench, only.split(",") if only else list(TESTS), share):
                found.append(one)
                print(json.dumps(one, ensure_ascii=False), flush=True)
    print(score(found), file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
