"""A resolved specification as the file that would be submitted again."""

from typing import Any

import yaml

from sparring.documents import PLAIN

FIRST = (
    "version",
    "kind",
    "name",
    "project",
    "seed",
    "network",
    "dataset",
    "threat",
    "model",
    "objective",
    "sparsifier",
)
LATER = ("train", "evaluate", "compact", "export", "resources")


class _Dumper(yaml.SafeDumper):
    """Puts into quotes what would not be read as text, by us or by anyone else."""


for _rule in PLAIN:
    _Dumper.add_implicit_resolver(*_rule)


def as_yaml(spec: dict[str, Any]) -> str:
    """The specification in the order in which people write it."""
    return str(
        yaml.dump(
            {key: _name_first(part) for key, part in ordered(spec).items()},
            Dumper=_Dumper,
            sort_keys=False,
            allow_unicode=True,
            width=100,
        )
    )


def ordered(settings: dict[str, Any]) -> dict[str, Any]:
    """The parts of a specification in the order in which people write them."""
    order = [key for key in (*FIRST, *LATER) if key in settings]
    return {key: settings[key] for key in order + [key for key in settings if key not in order]}


def _name_first(value: Any) -> Any:
    """The database keeps no order of keys; a plug-in's name belongs before its settings."""
    if isinstance(value, list):
        return [_name_first(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {key: _name_first(value[key]) for key in sorted(value, key=lambda key: key != "name")}
