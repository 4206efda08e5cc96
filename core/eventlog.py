"""A run as a file: its specification and its machine in the first line, then its events, one JSON value a line.

What a published number rests on when no service has run the job. Left out are progress, step-by-step curves, what a score tells
of each image beyond whether it survived, and paths, which mean nothing elsewhere. The file has its name only once the run has
finished.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from core.errors import Diverged, InvalidSpec
from core.events import Event
from core.presets import Planned, Preset
from core.scorecard import Outcome, outcome
from core.spec import parse

LEFT_OUT = {"series", "checkpoint", "path", "predicted", "distance", "queries"}
UNTOLD = {"progress", "checkpoint_saved"}


def place(folder: Path, preset: str, planned: Planned) -> Path:
    """Where the log of a row's run is kept."""
    return folder / preset / f"{planned.row}.{planned.configuration}.seed{planned.seed}.jsonl"


def write(file: TextIO, planned: Planned, machine: dict[str, Any], events: Iterable[Event]) -> None:
    """Write a run as it goes, line by line. One that diverges ends with a line that says so."""
    spec = planned.spec
    head = {
        "spec": spec.model_dump(mode="json", exclude={"name", "project"}),
        "digest": spec.digest,
        "machine": machine,
    }
    _line(file, head)
    try:
        for event in events:
            if event.kind not in UNTOLD:
                _line(file, event.model_dump(mode="json", exclude=LEFT_OUT))
    except Diverged as error:
        _line(file, {"kind": "diverged", "message": str(error)})


def _line(file: TextIO, value: dict[str, Any]) -> None:
    file.write(json.dumps(value) + "\n")
    file.flush()


def kept(folder: Path) -> dict[str, Path]:
    """All logs below a folder by the digest of their specification; one that is no longer valid is left out."""
    found = {}
    for path in sorted(folder.glob("*/*.jsonl")):
        with path.open() as file, suppress(InvalidSpec):  # written before a setting was renamed or bounded
            found[parse(json.loads(file.readline())["spec"]).digest] = path
    return found


def outcomes(logs: dict[str, Path], preset: Preset) -> list[Outcome]:
    """What those of the kept runs gave whose specification is a row's, in whatever folder they lie."""
    found = [_outcome(path, preset.digests[digest]) for digest, path in logs.items() if digest in preset.digests]
    return [one for one in found if one]


def _outcome(path: Path, planned: Planned) -> Outcome | None:
    """None of a run that was cut short."""
    events = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    if not events or events[-1]["kind"] not in ("finished", "diverged"):
        return None
    by_kind = {event["kind"]: event for event in events}
    scored = [event for event in events if event["kind"] == "scored"]
    key, classes = (planned.row, planned.configuration, planned.seed), planned.spec.dataset.num_classes
    about = (scored, by_kind.get("compacted"), by_kind.get("selected"))
    return outcome(key, f"presets/results/{path.parent.name}/{path.name}", classes, *about)
