"""`make promises [ONLY=P5,P6]`: tries the promises as often as they promise, and writes down what was found."""

import getpass
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
        items[:] = [item for item in items if {promised(item.name), pointed(item.nodeid)} & set(self.chosen)]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a test found as soon as it ends: a later one may be interrupted."""
        parts = [part for key, part in report.user_properties if key == "promise"]
        if report.when == "call" and parts:
            name = promised(report.location[2])
            self.found.setdefault(name, []).extend(parts)
            self.write(name)
        if report.when == "call" or report.outcome != "passed":
            self.ended.setdefault(pointed(report.nodeid), Counter())[report.outcome] += 1

    def pytest_sessionfinish(self) -> None:
        """Keep how the tests ended that others have written."""
        for name in self.ended.keys() & set(self.chosen):
            ended, where = self.ended[name], " and ".join(POINTED[name])
            figure = f"{ended['passed']} of {ended.total()} tests in {where} pass, as {getpass.getuser()}"
            met = ended["passed"] == ended.total()
            self.found[name] = [{"figure": figure, "met": met, "repetitions": {"tests": ended.total()}}]
            self.write(name)

    def write(self, name: str) -> None:
        """Put a promise's row into the record."""
        record.write(record.merge([record.row(name, self.found[name])], record.read()))


def pointed(test: str) -> str:
    """The promise that a test elsewhere shows, by its node's id."""
    return next((name for name, places in POINTED.items() if test.startswith(places)), "")


def promised(test: str) -> str:
    """The promise of a test: P1 of test_p01_..."""
    number = test.removeprefix("test_p")[:2]
    return f"P{int(number)}" if number.isdecimal() else ""


def main(only: str) -> int:
    """pytest's status."""
    chosen = only.split(",") if only else list(PROMISES)
    if unknown := sorted(set(chosen) - set(PROMISES)):
        print(f"There is no promise {', '.join(unknown)}; there are P1 to P{len(PROMISES)}.", file=sys.stderr)
        return 2
    places = [str(HERE.parents[1] / place) for name in chosen for place in POINTED.get(name, ())]
    return int(pytest.main([str(HERE), *places, "-m", "", "--timeout", "7200", "-v"], plugins=[Keeper(chosen)]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
