"""A run as a file: its specification and its machine in the first line, then its events, one JSON value a line.

What a published number rests on when no service has run the job. Left out are progress, step-by-step curves, and paths, which
mean nothing elsewhere. The file has its name only once the run has finished.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from core.errors import InvalidSpec
from core.events import Event
from core.presets import Planned, Preset
from core.scorecard import Outcome, outcome
from core.spec import parse

LEFT_OUT = {"series", "checkpoint", "path"}
UNTOLD = {"progress", "checkpoint_saved"}


def place(folder: Path, preset: str, planned: Planned) -> Path:
    """Where the log of a row's run is kept."""
    return folder / preset / f"{planned.row}.{planned.configuration}.seed{planned.seed}.jsonl"


def write(file: TextIO, planned: Planned, machine: dict[str, Any], events: Iterable[Event]) -> None:
    """Write a run as it goes, line by line."""
    spec = planned.spec
    head = {
        "spec": spec.model_dump(mode="json", exclude={"name", "project"}),
        "digest": spec.digest,
        "machine": machine,
    }
    _line(file, head)
    for event in events:
        if event.kind not in UNTOLD:
            _line(file, event.model_dump(mode="json", exclude=LEFT_OUT))


def _line(file: TextIO, value: dict[str, Any]) -> None:
    file.write(json.dumps(value) + "\n")
    file.flush()


def outcomes(folder: Path, name: str, preset: Preset) -> list[Outcome]:
    """What the kept runs of a preset gave. A log whose specification is no longer a row's does not count."""
    found = [_outcome(path, preset) for path in sorted((folder / name).glob("*.jsonl"))]
    return [one for one in found if one]


def _outcome(path: Path, preset: Preset) -> Outcome | None:
    head, *events = (json.loads(line) for line in path.read_text().splitlines())
    try:
        spec = parse(head["spec"])
    except InvalidSpec:  # written before a setting was renamed or bounded
        return None
    planned = preset.digests.get(spec.digest)
    if planned is None or events[-1]["kind"] != "finished":
        return None
    by_kind = {event["kind"]: event for event in events}
    scored = [event for event in events if event["kind"] == "scored"]
    key = (planned.row, planned.configuration, planned.seed)
    about = (scored, by_kind.get("compacted"), by_kind.get("selected"))
    return outcome(key, f"presets/results/{path.parent.name}/{path.name}", spec.dataset.num_classes, *about)
