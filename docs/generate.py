"""Writes docs/reference from the code: what can be chosen, which settings there are, what an event or an error means.

python docs/generate.py [FOLDER]       # the checkout's docs/reference by default; a test compares the two
"""

import inspect
import json
import sys
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from core import errors, events
from core.family import Plugin, members
from core.schedules import Schedule
from core.spec import EvaluateSpec, JobSpec, Network
from store.settings import StoreSettings

FAMILIES = {
    "datasets": "the images",
    "models": "the networks",
    "objectives": "what a training step minimises",
    "sparsifiers": "how a network becomes sparse",
    "attacks": "the adversaries",
    "exporters": "the files that are made",
}
MADE = "<!-- Made by docs/generate.py (`make docs`); do not edit. -->"


def pages() -> dict[str, str]:
    """The generated pages by file name."""
    return {
        **{f"{family}.md": _members(family) for family in FAMILIES},
        "specification.md": _specification(),
        "settings.md": _settings(),
        "events.md": _events(),
        "errors.md": _errors(),
    }


def _members(family: str) -> str:
    lines = [f"# {family.capitalize()}: {FAMILIES[family]}", "", MADE, ""]
    for name, member in members(f"core.{family}").items():
        lines += [f"## {name}", "", _doc(member), "", _module(member), "", *_fields(member), ""]
        lines += ["Example: `" + json.dumps(member.example()) + "`", ""]
    return "\n".join(lines)


def _module(member: type[Plugin]) -> str:
    return inspect.getdoc(sys.modules[member.__module__]) or ""


def _specification() -> str:
    lines = ["# The job specification, version 1", "", MADE, "", _doc(JobSpec), "", *_fields(JobSpec), ""]
    for name in ("threat", "train", "compact", "evaluate", "resources"):
        lines += [f"## {name}", "", *_fields(_model_of(JobSpec.model_fields[name].annotation)), ""]
    lines += [
        "## train.select",
        "",
        *_fields(_model_of(JobSpec.model_fields["train"].annotation.model_fields["select"].annotation)),
    ]  # type: ignore[union-attr]
    for protocol in ("paper", "strict"):
        form = _model_of(JobSpec.model_fields["evaluate"].annotation.model_fields[protocol].annotation)  # type: ignore[union-attr]
        lines += ["", f"## evaluate.{protocol}", "", _doc(form), "", *_fields(form)]
    lines += ["", "## train.schedule", ""]
    for kind in get_args(get_args(Schedule)[0]):
        lines += [f"### {kind.model_fields['name'].default}", "", _doc(kind), "", *_fields(kind), ""]
    lines += ["# kind: evaluate", "", _doc(EvaluateSpec), "", *_fields(EvaluateSpec), ""]
    lines += ["## network", "", _doc(Network), "", *_fields(Network), ""]
    return "\n".join([*lines, ""])


def _model_of(annotation: Any) -> type[BaseModel]:
    """The model in an annotation such as `Select | None`."""
    for found in (annotation, *get_args(annotation)):
        if isinstance(found, type) and issubclass(found, BaseModel):
            return found
    raise LookupError(annotation)


def _settings() -> str:
    lines = ["# Settings", "", MADE, "", _doc(StoreSettings), "", "| variable | default | meaning |", "|---|---|---|"]
    for name, field in StoreSettings.model_fields.items():
        default = "required" if field.is_required() else f"`{field.default}`"
        lines.append(f"| `SPARRING_{name.upper()}` | {default} | {_line(field.description)} |")
    return "\n".join([*lines, ""])


def _events() -> str:
    lines = ["# Events", "", MADE, "", "What a run yields, the store keeps and the streams send.", ""]
    for kind in get_args(get_args(events.Event)[0]):
        lines += [f"## {kind.model_fields['kind'].default}", "", _doc(kind), ""]
        lines += [
            "Fields: " + (", ".join(f"`{name}`" for name in kind.model_fields if name != "kind") or "none") + ".",
            "",
        ]
    lines += [
        "## state_changed",
        "",
        "The job's state changed; from the store, not from the run.",
        "",
        "Fields: `state`, `reason`, `message`.",
        "",
    ]
    return "\n".join(lines)


def _errors() -> str:
    lines = ["# Errors and reasons", "", MADE, "", "| error | reason | tried again | message |", "|---|---|---|---|"]
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.SparringError):
            again = "yes" if kind.retry else "no"
            lines.append(f"| {name} | `{kind.reason}` | {again} | {_line(inspect.getdoc(kind))} |")
    lines += [
        "",
        "All reasons that a job's state can have: " + ", ".join(f"`{reason}`" for reason in errors.Reason) + ".",
        "",
    ]
    return "\n".join(lines)


def _fields(model: type[BaseModel]) -> list[str]:
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        if name == "name" and model is not JobSpec:
            continue
        default = "required" if field.is_required() else f"`{_default(field.get_default(call_default_factory=True))}`"
        lines.append(f"| `{field.alias or name}` | {default} | {_line(field.description)} |")
    return lines


def _default(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return json.dumps({"name": value.name}) if isinstance(value, Plugin) else "see below"
    if isinstance(value, tuple):
        return [_default(item) for item in value]
    return value


def _doc(thing: Any) -> str:
    return inspect.getdoc(thing) or ""


def _line(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def main(folder: Path) -> None:
    """Write them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "reference")
