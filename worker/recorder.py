"""Turns the events of a run into rows, under the attempt's fence: each event one transaction, then the doorbell.

While Postgres is away the run waits. When the answer to a COMMIT is lost, the recorder does not guess: it reads the number
of the job's newest event, which only this attempt moves, and so knows whether its write took place.
"""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from core.events import (
    Audited,
    Checked,
    CheckpointSaved,
    Compacted,
    Dissected,
    EpochEnded,
    Event,
    Exported,
    PhaseEnded,
    PhaseStarted,
    Progress,
    Scored,
    Selected,
    Witnessed,
)
from store import artifacts, attempts, backup, feed, records
from store.database import patiently

NOT_IN_EVENTS = {"series", "layers", "checkpoint", "path", *records.OUTCOMES}
"""Arrays have tables of their own, and a path means nothing to a reader."""


class Fenced(Exception):
    """The job has gone on without this attempt; it must write nothing more."""


class Recorder:
    """Records one attempt."""

    def __init__(self, job_id: uuid.UUID, fence: int, seq: int) -> None:
        self.job_id, self.fence, self.seq = job_id, fence, seq

    def record(self, event: Event) -> None:
        """Write an event; raises `Fenced` if the job is no longer ours."""
        if isinstance(event, Progress):
            self._commit(lambda session: self._progress(session, event), 0)
            return
        forget: list[str] = []
        self._keep_file(event)
        self._commit(lambda session: self._write(session, event, forget), 1)
        if forget:
            patiently(lambda session: backup.remove(session, self.job_id, forget))

    def _keep_file(self, event: Event) -> None:
        """Files go to the store before the row that names them."""
        saved = event.checkpoint if isinstance(event, EpochEnded | Scored | Checked) else event
        if isinstance(saved, CheckpointSaved | Dissected | Exported | Witnessed):
            owner = self.job_id if isinstance(saved, CheckpointSaved) else None
            artifacts.put(Path(saved.path), saved.sha256, owner)

    def _progress(self, session: Session, event: Progress) -> bool:
        return attempts.summarise(session, self.job_id, self.fence, progress=event.model_dump(mode="json"))

    def _write(self, session: Session, event: Event, forget: list[str]) -> bool:
        """The event's own rows, then its line in the feed."""
        body = event.model_dump(mode="json")
        if not feed.append(session, self.job_id, [(event.kind, _line(body))], self.fence):
            return False
        match event:
            case EpochEnded():
                records.epoch(session, self.job_id, self.fence, body)
                forget += records.checkpoint(session, self.job_id, self.fence, body["checkpoint"])
                self._summarise(session, last={"epoch": event.epoch, "epochs": event.epochs, **event.values})
            case CheckpointSaved():
                forget += records.checkpoint(session, self.job_id, self.fence, body)
            case PhaseStarted():
                self._summarise(session, phases={event.phase: {"state": "running"}})
            case PhaseEnded():
                self._summarise(session, phases={event.phase: {"state": "succeeded", "seconds": event.seconds}})
            case Selected():
                self._summarise(session, last={"selected": body})
            case Dissected():
                self._summarise(session, last={"dissected": _line(body)})
                about = {"kind": "weights"}
                records.artifact(session, self.job_id, Path(event.path).name, event.sha256, event.bytes, about)
            case Compacted():
                self._summarise(
                    session,
                    last={
                        "compacted": body,
                        "channel_sparsity": event.channel_sparsity,
                        "weight_sparsity": event.weight_sparsity,
                    },
                )
            case Witnessed():
                about = {"kind": "witness", **event.model_dump(include={"network", "label"})}
                records.artifact(session, self.job_id, Path(event.path).name, event.sha256, event.bytes, about)
            case Scored() | Checked():
                saved = body.pop("checkpoint")
                write = records.result if isinstance(event, Scored) else records.check
                write(session, self.job_id, body)
                forget += records.checkpoint(session, self.job_id, self.fence, saved) if saved else []
            case Audited():
                attempts.summarise(session, self.job_id, self.fence, trust=event.verdict)
            case Exported():
                about = {"kind": "export", **event.model_dump(include={"exporter", "bytes_fp32", "logits_difference"})}
                records.artifact(session, self.job_id, Path(event.path).name, event.sha256, event.bytes, about)
        return True

    def _summarise(self, session: Session, **what: dict[str, Any]) -> None:
        attempts.summarise(session, self.job_id, self.fence, **what)  # type: ignore[arg-type]

    def _commit(self, write: Callable[[Session], bool], events: int) -> None:
        self.unsure = False
        try:
            patiently(lambda session: self._once(session, write, events))
        except Fenced:
            patiently(lambda session: attempts.refused(session, self.job_id, self.fence))
            raise
        self.seq += events
        feed.announce(self.job_id)

    def _once(self, session: Session, write: Callable[[Session], bool], events: int) -> None:
        """Write, unless an earlier try has done so and only its answer was lost."""
        if self.unsure and events and attempts.newest(session, self.job_id, self.fence) == self.seq + events:
            return
        self.unsure = True
        if not write(session):
            raise Fenced


def _line(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in NOT_IN_EVENTS}
