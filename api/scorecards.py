"""Published tables beside the jobs of this service, and the runs that were shipped with it."""

import uuid
from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from api import shelf
from core.errors import Reason
from core.presets import Planned
from core.scorecard import Cell, Outcome, outcome, scorecard
from store import lookup, records
from store.sight import Eyes
from store.tables import Job

LOCK = 0x5BA_221C7


def cells(session: Session, eyes: Eyes, name: str) -> list[Cell]:
    """A table's cells, of jobs that are seen. Where this service has run what a shipped log holds too, its own job counts."""
    here = {(one.row, one.configuration, one.seed): one for one in shelf.shipped(name)}
    here |= {(one.row, one.configuration, one.seed): one for one in _of_jobs(session, eyes, name)}
    return scorecard(name, shelf.tables()[name], list(here.values()))


def _of_jobs(session: Session, eyes: Eyes, name: str) -> list[Outcome]:
    digests = shelf.tables()[name].digests
    done = lookup.computing(session, eyes, list(digests), ("succeeded",))
    left = list(digests.keys() - {job.digest for job in done})
    done += lookup.computing(session, eyes, left, ("failed",), Reason.DIVERGED)
    scores = records.scores(session, [job.id for job in done])
    return [_outcome(digests[job.digest], job, scores.get(job.id, [])) for job in done]


def _outcome(planned: Planned, job: Job, scored: list[dict[str, Any]]) -> Outcome:
    key, classes = (planned.row, planned.configuration, planned.seed), planned.spec.dataset.num_classes
    return outcome(key, str(job.id), classes, scored, job.last.get("compacted"), job.last.get("selected"))


class Missing(NamedTuple):
    """The jobs of some rows: those that have yet to be submitted, and those that run, wait or are done."""

    wanted: list[Planned]
    present: list[uuid.UUID]


def missing(session: Session, eyes: Eyes, planned: Iterable[Planned]) -> Missing:
    """What is not there yet of some planned jobs. Nobody else finds out at the same time: of two that ask, one waits."""
    session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    wanted = {one.spec.digest: one for one in planned}
    there = {
        job.digest: job.id
        for job in lookup.computing(session, eyes, list(wanted), ("queued", "running", "paused", "succeeded"))
    }
    return Missing([one for digest, one in wanted.items() if digest not in there], list(there.values()))
