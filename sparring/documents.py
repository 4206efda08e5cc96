"""Job files: YAML as version 1.2 has it, without what makes YAML dangerous or surprising."""

import re
from collections.abc import Hashable
from typing import Any

import yaml

MAX_DEPTH = 50


class Unreadable(ValueError):
    """A document that is not plain YAML."""


class _Loader(yaml.SafeLoader):
    """No aliases (a few bytes can stand for gigabytes), no dates (they stay text), no key twice; 1e-5 is a number."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise Unreadable("aliases (*name) are not allowed")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable(f"it is nested more than {MAX_DEPTH} levels deep")
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        if repeated := {key for key in keys if keys.count(key) > 1}:
            raise Unreadable(f"the key {sorted(map(str, repeated))[0][:80]!r} stands twice")
        return {str(key): value for key, value in super().construct_mapping(node, deep).items()}


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def read_yaml(text: str) -> Any:
    """The value of a YAML document; raises `Unreadable` with the reason."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader with less)
    except yaml.MarkedYAMLError as error:
        where = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise Unreadable(f"{error.problem}{where}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise error if isinstance(error, Unreadable) else Unreadable(str(error)[:200]) from None
