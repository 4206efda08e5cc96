"""How bells are heard: whatever lies in the queue rings once, and nothing of it is looked at.

A message says nothing but "look", so each is replaced by one of our own before Celery sees it: what somebody else has put into
Redis can neither choose a task, nor bring arguments, nor stop a worker. What cannot even be read is dropped.
"""

import base64
import logging
import uuid
from queue import Empty
from typing import Any

from kombu.transport import redis

from store.queue import QUEUE, TASK

UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What reading hostile JSON may raise; a broken connection raises something else."""
BODY = base64.b64encode(b'[[], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]').decode()
log = logging.getLogger(__name__)


def bell() -> dict[str, Any]:
    """A message of Celery's protocol 2 that calls our one task without arguments."""
    name = str(uuid.uuid4())
    headers = {"lang": "py", "task": TASK, "id": name, "root_id": name, "retries": 0, "ignore_result": True}
    delivery = {"delivery_tag": str(uuid.uuid4()), "delivery_info": {"exchange": "", "routing_key": QUEUE}}
    properties = {"correlation_id": name, "delivery_mode": 2, "priority": 0, "body_encoding": "base64", **delivery}
    coded = {"content-type": "application/json", "content-encoding": "utf-8"}
    return {"body": BODY, "headers": headers, "properties": properties, **coded}


class Channel(redis.Channel):
    """Goes on where an item cannot be read."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except UNREADABLE as error:
            log.warning("an item of the queue that cannot be read is dropped: %s", type(error).__name__)
            raise Empty from None


class Transport(redis.Transport):
    """Redis as kombu speaks it, but for what is heard: bells from their queue, nothing from elsewhere (workers' gossip)."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> None:
        if queue == QUEUE:
            super()._deliver(bell(), queue)  # type: ignore[no-untyped-call]
