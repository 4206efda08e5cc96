"""A job's events as lines of a log: when, in which phase, what. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from api.dashboard import figures, titles
from api.dashboard.figures import percent
from core.events import TRAINED
from store.tables import Event

Words = tuple[str, str]
"""What a line is about, and what it says."""


@dataclass(frozen=True)
class LogLine:
    """A line."""

    seq: int
    at: str
    about: str
    words: str
    tone: str
    """`bad` or `warn` where a person should look, else empty."""


def lines(events: Sequence[Event]) -> list[LogLine]:
    """The events that say something to a person."""
    return [line for event in events if (line := _line(event))]


def _line(event: Event) -> LogLine | None:
    spoken = words(event.kind, event.body)
    if not spoken:
        return None
    return LogLine(event.seq, figures.clock(event.created_at), *spoken, tone(event.body))


def tone(body: dict[str, Any]) -> str:
    """How a line is coloured."""
    if "failed" in (body.get("state"), body.get("verdict")):
        return "bad"
    return "warn" if body.get("verdict") == "warnings" else ""


def words(kind: str, body: dict[str, Any]) -> Words | None:
    """An event in words; None for those that only machines need."""
    match kind:
        case "state_changed":
            why = " · ".join(filter(None, (body.get("reason"), body.get("message"))))
            return "job", body["state"] + (f"  {why}" if why else "")
        case "phase_started":
            resumed = f", resumed after epoch {body['resumed_at']}" if body.get("resumed_at") else ""
            return body["phase"], "begins" + resumed
        case "phase_ended":
            return body["phase"], f"done in {figures.span(body['seconds'])}"
        case "epoch_ended":
            return "train", f"epoch {body['epoch']}/{body['epochs']}  {_figures(body['values'])}" + (
                "  best" if body["best"] else ""
            )
        case "selected":
            return "train", f"epoch {body['epoch']} chosen by {titles.metric(body['metric'])}"
        case "dissected":
            return "train", f"{body['zeros']:,} of {body['weights']:,} convolution weights are zero"
    return _result(kind, body)


def _result(kind: str, body: dict[str, Any]) -> Words | None:
    match kind:
        case "compacted":
            before, after = body["channels_before"], body["channels_after"]
            return "compact", (
                f"{before - after:,} of {before:,} input channels removed  "
                f"{body['parameters_before']:,} to {body['parameters_after']:,} parameters"
            )
        case "scored":
            network = body.get("network", TRAINED)
            interval = f"[{percent(body['low'])}, {percent(body['high'])}]  n={body['images']:,}"
            whose = "" if body.get("protocol", "paper") == "paper" else f"{body['protocol']} "
            found = f"{whose + body['label']:<12} {percent(body['accuracy']):>5} %  {interval}"
            return ("evaluate", found) if network == TRAINED else ("export", f"{network}  {found}")
        case "checked":
            return "audit", f"{body['check']}  {body['verdict']}  {body['words']}"
        case "audited":
            return "audit", f"{body['level']} audit: {body['verdict']}"
        case "exported":
            return "export", f"{body['exporter']}  {figures.size(body['bytes'])}"
        case "noticed":
            return "note", str(body["text"])
    return None


def _figures(values: dict[str, float]) -> str:
    judged = [name for name in sorted(values) if name.startswith("validation_")]
    wanted = ("train_clean", "train_robust", *judged, "channel_sparsity", "weight_sparsity")
    shown = [f"{name.replace('_', ' ')} {percent(values[name])}" for name in wanted if name in values]
    loss = [f"loss {values['train_loss']:.3f}"] if "train_loss" in values else []
    return "  ".join(loss + shown)
