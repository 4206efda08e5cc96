"""The bell: tells some worker that there is something to claim. The only place that knows how Celery sends.

A message says nothing but "look": it may be lost, doubled or late, and costs only waiting time.
"""

import logging
from functools import cache

from celery import Celery
from kombu.exceptions import OperationalError

from store.settings import settings

TASK = "sparring.run_next"
QUEUE = "sparring"
PATIENCE = {"socket_timeout": 5, "socket_connect_timeout": 2, "max_retries": 1, "interval_start": 0, "interval_step": 0}
"""A broker that refuses is asked once more, at once: between two tries kombu would sleep for two seconds."""
log = logging.getLogger(__name__)


@cache
def celery() -> Celery:
    """Celery without results, retries or anything else that would make the message more than a bell."""
    app = Celery("sparring", broker=settings().broker_url)
    app.conf.update(
        task_ignore_result=True,
        result_backend=None,
        task_serializer="json",
        accept_content=["json"],
        task_default_queue=QUEUE,
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_pool="prefork",
        worker_pool_start_method="spawn",
        task_publish_retry=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options=PATIENCE,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
    )
    return app


def ring() -> bool:
    """Publish one bell, after the commit; False if the broker is away, in which case the reaper will ring."""
    try:
        celery().send_task(TASK, ignore_result=True, retry=False)
    except (OperationalError, OSError) as error:
        log.warning("bell not rung: %s", error)
        return False
    return True
