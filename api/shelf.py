"""The presets that come with Sparring, read once: published tables, and examples that are one job."""

from functools import cache
from pathlib import Path
from typing import Any

from core import eventlog
from core.presets import Preset
from core.scorecard import Outcome
from sparring.documents import read_yaml

FOLDER = Path(__file__).parent.parent / "presets"


@cache
def documents() -> dict[str, dict[str, Any]]:
    """All of them by name, as they are written."""
    return {path.stem: read_yaml(path.read_text()) for path in sorted(FOLDER.glob("*.yaml"))}


@cache
def tables() -> dict[str, Preset]:
    """Those that have rows."""
    found = {name: document for name, document in documents().items() if "rows" in document}
    return {name: Preset.model_validate(document) for name, document in found.items()}


def examples() -> dict[str, dict[str, Any]]:
    """Those that are one job: specifications to submit as they are."""
    return {name: document for name, document in documents().items() if "rows" not in document}


@cache
def logs() -> dict[str, Path]:
    """The event logs that come with Sparring, by what they computed: read once for all tables."""
    return eventlog.kept(FOLDER / "results")


@cache
def shipped(name: str) -> tuple[Outcome, ...]:
    """What the runs gave whose event logs come with Sparring."""
    return tuple(eventlog.outcomes(logs(), tables()[name]))
