"""The Celery worker of a machine: `celery -A worker.app worker`. Registers its devices, drains when told to stop."""

import logging
import os
import shutil
import socket
import threading
import uuid
from typing import Any

from celery.signals import setup_logging, worker_init, worker_process_init, worker_shutdown, worker_shutting_down
from kombu.transport import TRANSPORT_ALIASES
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from store import logs, workers
from store.database import engine, patiently, transaction
from store.queue import celery
from store.reaper import Reaper
from store.settings import settings
from worker.devices import devices
from worker.processes import kill_group
from worker.supervisor import folder

WORKER_ID = "SPARRING_WORKER_ID"
"""How the pool's processes learn which worker they belong to."""
log = logging.getLogger(__name__)
app = celery()
app.conf.update(worker_concurrency=sum(device.slots for device in devices()), imports=("worker.tasks",))
TRANSPORT_ALIASES.update(
    redis="worker.transport:Transport", rediss="worker.transport:Transport"
)  # for any address of Redis
reaper = Reaper()
stopped = threading.Event()


@setup_logging.connect
def speak(**_: Any) -> None:
    """Log as the api does, in the pool's processes too, and not as Celery would; of bells nothing: they are no facts."""
    logs.configure()
    logging.getLogger("celery").setLevel(logging.WARNING)


@worker_init.connect
def start(**_: Any) -> None:
    """Clear away what an earlier worker of this host left, then offer the devices and show signs of life.

    A database that is away is waited for. Celery would swallow any other error and go on with a worker that nobody knows.
    """
    speak()
    try:
        worker_id = patiently(_register)
    except Exception as error:
        raise SystemExit(f"the worker cannot register: {error}") from error
    os.environ[WORKER_ID] = str(worker_id)
    reaper.start()
    threading.Thread(target=_live, args=(worker_id,), name="seen", daemon=True).start()
    log.info("worker %s offers %s", worker_id, ", ".join(f"{d.name} x {d.slots}" for d in devices()))


def _register(session: Session) -> uuid.UUID:
    host = socket.gethostname()
    for attempt in workers.unended(session, host):
        if attempt.pid and kill_group(attempt.pid, attempt.pid_started):
            log.warning("killed process %d, left from attempt %d of job %s", attempt.pid, attempt.fence, attempt.job_id)
    _sweep(session)
    return workers.register(session, host, os.getpid(), devices())


def _sweep(session: Session) -> None:
    """Remove the folders of attempts that no worker watches over any more; they are listed before the leases are read."""
    found = list(settings().work.glob("*-*-*-*-*-*"))
    held = {folder(*key) for key in workers.held(session)}
    for left in set(found) - held:
        shutil.rmtree(left, ignore_errors=True)


@worker_process_init.connect
def start_process(**_: Any) -> None:
    """A pool process opens connections of its own."""
    engine.cache_clear()


@worker_shutting_down.connect
def drain(**_: Any) -> None:
    """Take nothing new; the supervisors see it with their next heartbeat and ask their attempts to save and leave."""
    with transaction() as session:
        workers.drain(session, uuid.UUID(os.environ[WORKER_ID]))


@worker_shutdown.connect
def stop(**_: Any) -> None:
    """The last thread goes."""
    stopped.set()
    reaper.stop()


def _live(worker_id: uuid.UUID) -> None:
    while not stopped.wait(settings().heartbeat_seconds):
        try:
            with transaction() as session:
                workers.seen(session, worker_id)
        except SQLAlchemyError as error:
            log.warning("no sign of life given: %s", str(error).splitlines()[0])
