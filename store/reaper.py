"""Finds what nobody will tell: leases that ran out, deadlines that passed, queued jobs whose bell was lost, events that nobody
has placed. Runs in every api and worker.

An advisory lock lets one of them look at a time; the others skip their turn.
"""

import logging
import threading

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from store import feed, jobs, queue, team
from store.database import transaction
from store.settings import settings

LOCK = 0x5BA_221C6
log = logging.getLogger(__name__)


def reap() -> int:
    """One look: what is lost or late is ended, a bell rings for each free slot; returns how many attempts were lost."""
    lost = []
    with transaction() as session:
        if not session.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": LOCK}).scalar():
            return 0
        for job_id, fence in jobs.expired(session):
            if jobs.lose(session, job_id, fence):
                lost.append(job_id)
        late = jobs.overdue(session)
        bells = jobs.waiting(session)
    for job_id in late:
        feed.announce(job_id)
    with transaction() as session:
        team.place(session, wait=True)
    for job_id in lost:
        log.warning("job %s was lost with its worker", job_id)
        feed.announce(job_id)
    for _ in range(bells):
        queue.ring()
    return len(lost)


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
