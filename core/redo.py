"""What a checkpoint from behind training still knows when a phase is to be done again: all that was found before it."""

from typing import Any

from core.events import TRAINED, Phase


def forgetting(saved: dict[str, Any], phase: Phase) -> dict[str, Any]:
    """The checkpoint's tree without what `phase` and those behind it found.

    The trained network stays. Scores and the state of its evaluation go with `evaluate`, or with `compact`, before it; what
    is known of exported networks goes always, since exports come last; the checks go with all but `export`.
    """
    judged = phase in ("audit", "export")
    scored = [one for one in saved["scored"] if judged and one["network"] == TRAINED]
    of_trained = judged and saved["under_way"] and saved["under_way"]["network"] == TRAINED
    kept = saved | {"scored": scored, "under_way": saved["under_way"] if of_trained else None}
    if phase != "export":
        kept.pop("audit", None)
    return kept
