"""Job files: YAML as version 1.2 has it, without what makes YAML dangerous or surprising."""

import re
from collections import Counter
from collections.abc import Hashable
from typing import Any

import yaml

MAX_DEPTH = 50
MAX_VALUES = 10_000
"""Most keys and values of a document; a job has some hundreds."""


class Unreadable(ValueError):
    """A document that is not plain YAML."""


class _Loader(yaml.SafeLoader):
    """No aliases (a few bytes can stand for gigabytes), no tags (only JSON's kinds of values come out), no key twice."""

    depth = values = 0
    most = MAX_VALUES

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise Unreadable("aliases (*name) are not allowed")
        if self.peek_event().tag:  # type: ignore[no-untyped-call]
            raise Unreadable("tags (!name) are not allowed")
        self.depth += 1
        self.values += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable(f"it is nested more than {MAX_DEPTH} levels deep")
        if self.values > self.most:
            raise Unreadable(f"it has more than {self.most:,} keys and values")
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        times = Counter(str(key.value) for key, _ in node.value)
        if repeated := [key for key in times if times[key] > 1]:
            raise Unreadable(f"the key {repeated[0][:80]!r} stands twice")
        return {str(key): value for key, value in super().construct_mapping(node, deep).items()}


PLAIN = [
    ("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"),
        list("-+.0123456789"),
    ),
]
"""What words without quotes are if not text, with their first letters: 1e-5 is a number; a date, `off` and 1:30 are text."""
_Loader.yaml_implicit_resolvers = {}
for _rule in PLAIN:
    _Loader.add_implicit_resolver(*_rule)
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))  # 010 is ten


class _ListLoader(_Loader):
    """For a list of a thousand jobs."""

    most = 100 * MAX_VALUES


def read_yaml(text: str, many: bool = False) -> Any:
    """The value of a YAML document, or of one that holds `many` jobs; raises `Unreadable` with the reason."""
    try:
        return yaml.load(text, _ListLoader if many else _Loader)  # noqa: S506 (a SafeLoader with less)
    except yaml.MarkedYAMLError as error:
        where = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise Unreadable(f"{error.problem}{where}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise error if isinstance(error, Unreadable) else Unreadable(str(error)[:200]) from None
