"""Finds what nobody will tell: leases that ran out, deadlines that passed, queued jobs whose bell was lost, events that nobody
has placed. Runs in every api and worker.

An advisory lock lets one of them look at a time; the others skip their turn. The transaction that holds it does nothing else:
each job is ended in one of its own, so that no look holds one job, or the usage of its owner, while it waits for the next.
"""

import logging
import threading
import uuid
from collections.abc import Callable

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from store import feed, jobs, queue, team
from store.database import transaction
from store.settings import settings

LOCK = 0x5BA_221C6
log = logging.getLogger(__name__)


def reap() -> int:
    """One look: what is lost or late is ended, a bell rings for each free slot; returns how many attempts were lost."""
    with transaction() as turn:
        if not turn.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": LOCK}).scalar():
            return 0
        return _look()


def _look() -> int:
    with transaction() as session:
        silent, late = jobs.expired(session), jobs.overdue(session)
    lost = [job_id for job_id, fence in silent if _alone(jobs.lose, job_id, fence)]
    for job_id in lost:
        log.warning("job %s was lost with its worker", job_id)
    for job_id in late:
        _alone(jobs.miss, job_id)
    with transaction() as session:
        bells = jobs.waiting(session)
        team.place(session, wait=True)
    for _ in range(bells):
        queue.ring()
    return len(lost)


def _alone(end: Callable[..., bool], job_id: uuid.UUID, *fence: int) -> bool:
    """End one job, and tell everybody; an error is logged, and the next look tries again."""
    try:
        with transaction() as session:
            ended = end(session, job_id, *fence)
    except Exception:
        log.exception("job %s cannot be ended", job_id)
        return False
    if ended:
        feed.announce(job_id)
    return ended


class Reaper(threading.Thread):
    """Looks again and again until it is stopped."""

    def __init__(self) -> None:
        super().__init__(name="reaper", daemon=True)
        self.stopped = threading.Event()

    def run(self) -> None:
        """The loop. A database that is away is waited for."""
        while not self.stopped.wait(settings().reaper_seconds):
            try:
                reap()
            except SQLAlchemyError as error:
                log.warning("the reaper cannot look: %s", str(error).splitlines()[0])

    def stop(self) -> None:
        """End the loop."""
        self.stopped.set()
        self.join(timeout=5)
