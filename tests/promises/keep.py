"""`make promises [ONLY=P5,P6]`: tries the promises as often as they promise, and writes down what was found."""

import getpass
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

from promises import record  # noqa: E402 (the path above)
from promises.table import POINTED, PROMISES  # noqa: E402


class Keeper:
    """A pytest plug-in: runs the tests of the chosen promises, in full, and keeps what they found."""

    full = True

    def __init__(self, chosen: list[str]) -> None:
        self.chosen = chosen
        self.found: dict[str, list[dict[str, Any]]] = {}
        self.ended: dict[str, Counter[str]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the tests of the chosen promises."""
        items[:] = [item for item in items if promised(item.nodeid) in self.chosen]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a test found as soon as it ends: a later one may be interrupted."""
        name = promised(report.nodeid)
        parts = [part for key, part in report.user_properties if key == "promise"] if report.when == "call" else []
        self.found.setdefault(name, []).extend(parts)
        if not parts and (report.when == "call" or report.outcome != "passed"):
            self.ended.setdefault(name, Counter())[report.outcome] += 1
        if parts:
            self.write(name)

    def pytest_sessionfinish(self) -> None:
        """Keep how the tests ended that measure nothing, or failed before they had."""
        for name, ended in self.ended.items():
            figure = f"{ended['passed']} of {ended.total()} tests pass, as {getpass.getuser()}"
            met = ended["passed"] == ended.total()
            self.found[name].append({"figure": figure, "met": met, "repetitions": {"tests": ended.total()}})
            self.write(name)

    def write(self, name: str) -> None:
        """Put a promise's row into the record."""
        record.write(record.merge([record.row(name, self.found[name])], record.read()))


def promised(test: str) -> str:
    """The promise of a test by its node's id: P1 of ...::test_p01_..., or the one whose tests stand there; or nothing."""
    if numbered := re.search(r"::test_p(\d\d)_", test):
        return f"P{int(numbered[1])}"
    return next((name for name, places in POINTED.items() if test.startswith(places)), "")


def files(chosen: list[str]) -> list[str]:
    """Where the tests of the chosen promises stand."""
    words = tuple(f"def test_p{int(name[1:]):02}_" for name in chosen)
    named = [str(path) for path in sorted(HERE.parent.rglob("test_*.py")) if any(w in path.read_text() for w in words)]
    return named + [str(HERE.parents[1] / place) for name in chosen for place in POINTED.get(name, ())]


def main(only: str) -> int:
    """pytest's status."""
    chosen = only.split(",") if only else list(PROMISES)
    if unknown := sorted(set(chosen) - set(PROMISES)):
        print(f"There is no promise {', '.join(unknown)}; there are P1 to P{len(PROMISES)}.", file=sys.stderr)
        return 2
    return int(pytest.main([*files(chosen), "-m", "", "--timeout", "7200", "-v"], plugins=[Keeper(chosen)]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
