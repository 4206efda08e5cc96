"""`make promises [ONLY=P5,P6]`: tries the promises as often as they promise, and writes down what was found."""

import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

from promises import record  # noqa: E402 (the path above)
from promises.table import PROMISES  # noqa: E402


class Keeper:
    """A pytest plug-in: runs the tests of the chosen promises, in full, and keeps what they found."""

    full = True

    def __init__(self, chosen: list[str]) -> None:
        self.chosen = chosen
        self.found: dict[str, list[dict[str, Any]]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the tests of the chosen promises."""
        items[:] = [item for item in items if promised(item.name) in self.chosen]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a test found as soon as it ends: a later one may be interrupted."""
        parts = [part for key, part in report.user_properties if key == "promise"]
        if report.when == "call" and parts:
            name = promised(report.location[2])
            self.found.setdefault(name, []).extend(parts)
            record.write(record.merge([record.row(name, self.found[name])], record.read()))


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
    return int(pytest.main([str(HERE), "-m", "", "--timeout", "7200", "-v"], plugins=[Keeper(chosen)]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
