"""One operation of an ONNX graph, as the operators here see it, and the error where they know too little."""

from dataclasses import dataclass
from typing import Any


class Unsupported(Exception):
    """What a graph asks for and the operators here do not have: its message says what."""


@dataclass(frozen=True)
class Node:
    """An operation: its type, the names of its inputs ("" where one is left out) and outputs, its attributes, the opset."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    opset: int

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or its default."""
        return self.attributes.get(name, default)

    def only(self, name: str, *allowed: Any) -> None:
        """Refuse an attribute whose value is given and not one of those."""
        if name in self.attributes and self.attributes[name] not in allowed:
            raise Unsupported(f"{self.op} with {name} = {self.attributes[name]!r}")
