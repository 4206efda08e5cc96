"""Turns the events of a run into rows, under the attempt's fence: each event one transaction, then the doorbell.

While Postgres is away the run waits. When the answer to a COMMIT is lost, the recorder does not guess: it reads the number
of the job's newest event, which only this attempt moves, and so knows whether its write took place.
"""

import logging
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core.events import (
    Audited,
    Checked,
    CheckpointSaved,
    Compacted,
    EpochEnded,
    Event,
    Exported,
    PhaseEnded,
    PhaseStarted,
    Progress,
    Scored,
    Selected,
)
from store import artifacts, feed, jobs, records
from store.database import transaction
from store.settings import settings

NOT_IN_EVENTS = {"series", "layers", "survived", "checkpoint", "path"}
"""Arrays have tables of their own, and a path means nothing to a reader."""
log = logging.getLogger(__name__)


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
        for digest in forget:
            artifacts.remove(digest)

    def _keep_file(self, event: Event) -> None:
        """Files go to the store before the row that names them."""
        saved = event.checkpoint if isinstance(event, EpochEnded) else event
        if isinstance(saved, CheckpointSaved | Exported):
            artifacts.put(Path(saved.path), saved.sha256)

    def _progress(self, session: Session, event: Progress) -> bool:
        return jobs.summarise(session, self.job_id, self.fence, progress=event.model_dump(mode="json"))

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
            case Compacted():
                self._summarise(
                    session,
                    last={
                        "compacted": body,
                        "channel_sparsity": event.channel_sparsity,
                        "weight_sparsity": event.weight_sparsity,
                    },
                )
            case Scored():
                records.result(session, self.job_id, body)
            case Checked():
                records.check(session, self.job_id, body)
            case Audited():
                jobs.summarise(session, self.job_id, self.fence, trust=event.verdict)
            case Exported():
                name, about = Path(event.path).name, {"kind": "export", "exporter": event.exporter}
                records.artifact(session, self.job_id, name, event.sha256, event.bytes, about)
        return True

    def _summarise(self, session: Session, **what: dict[str, Any]) -> None:
        jobs.summarise(session, self.job_id, self.fence, **what)  # type: ignore[arg-type]

    def _commit(self, write: Callable[[Session], bool], events: int) -> None:
        began = time.monotonic()
        while True:
            try:
                if not self._took_place(events):
                    with transaction() as session:
                        if not write(session):
                            raise Fenced
                self.seq += events
                break
            except DBAPIError as error:
                log.warning("Postgres is away: %s", str(error).splitlines()[0])
                if time.monotonic() - began > settings().silence_seconds:
                    raise
                self.unsure = True
                time.sleep(1)
        feed.announce(self.job_id)

    unsure = False

    def _took_place(self, events: int) -> bool:
        """After a lost answer: whether the write is there already."""
        if not self.unsure:
            return False
        with transaction() as session:
            job = jobs.find(session, self.job_id)
        self.unsure = False
        return job is not None and job.fence == self.fence and events > 0 and job.last_seq == self.seq + events


def _line(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in NOT_IN_EVENTS}
