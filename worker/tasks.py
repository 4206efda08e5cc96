"""The one task: claim and run jobs until nothing fits."""

import logging
import os
import uuid

from store import feed, jobs, logs
from store.database import transaction
from store.queue import TASK, celery
from store.schedule import Claim
from worker.app import WORKER_ID
from worker.supervisor import Supervisor

log = logging.getLogger(__name__)


@celery().task(name=TASK)
def run_next() -> None:
    """Claim the next job for this machine and run it to the end of its attempt; again, until there is none."""
    worker_id = uuid.UUID(os.environ[WORKER_ID])
    while claimed := claim(worker_id):
        with logs.about(worker=worker_id, job=claimed.job_id, fence=claimed.fence):
            log.info("an attempt begins on %s", claimed.slots)
            feed.announce(claimed.job_id)
            Supervisor(claimed).run()
            feed.announce(claimed.job_id)
            log.info("the attempt has ended")


def claim(worker_id: uuid.UUID) -> Claim | None:
    """The next job; None if nothing fits."""
    with transaction() as session:
        return jobs.claim(session, worker_id)
