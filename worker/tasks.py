"""The one task: claim and run jobs until nothing fits."""

import logging
import os
import uuid

from store import feed, jobs
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
        log.info("attempt %d of job %s on %s", claimed.fence, claimed.job_id, claimed.slots)
        feed.announce(claimed.job_id)
        Supervisor(claimed).run()
        feed.announce(claimed.job_id)


def claim(worker_id: uuid.UUID) -> Claim | None:
    """The next job; None if nothing fits."""
    with transaction() as session:
        return jobs.claim(session, worker_id)
