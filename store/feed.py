"""Events: appended in order, read after a number, announced by a doorbell.

The table is the truth. The doorbell (a Redis message that names a job) only says that it is worth looking; a lost one costs
the reader a second, since readers look by themselves too.
"""

import json
import logging
import uuid
from collections.abc import Sequence
from functools import cache
from typing import Any

import redis
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from store.settings import settings
from store.tables import Event

CHANNEL = "sparring:jobs"
APPEND = text("""
WITH counted AS (
    UPDATE jobs SET last_seq = last_seq + :many
    WHERE id = :job AND (CAST(:fence AS bigint) IS NULL OR fence = :fence AND state = 'running')
    RETURNING last_seq - :many AS before
),
told AS (
    INSERT INTO events (job_id, seq, kind, body) SELECT :job, before + place, kind, CAST(body AS jsonb)
    FROM counted, unnest(CAST(:kinds AS text[]), CAST(:bodies AS text[])) WITH ORDINALITY AS new (kind, body, place)
)
SELECT count(*) FROM counted
""")
log = logging.getLogger(__name__)


def append(
    session: Session, job_id: uuid.UUID, bodies: Sequence[tuple[str, dict[str, Any]]], fence: int | None = None
) -> bool:
    """Append facts to a job's events; False, and nothing written, if `fence` is given and is not the running attempt's."""
    kinds, texts = [kind for kind, _ in bodies], [json.dumps(body) for _, body in bodies]
    session.flush()  # the job may be new
    values = {"job": job_id, "fence": fence, "many": len(bodies), "kinds": kinds, "bodies": texts}
    return bool(session.execute(APPEND, values).scalar())


def read(session: Session, job_id: uuid.UUID, after: int = 0, limit: int = 1000) -> list[Event]:
    """The events of a job with numbers above `after`, in order."""
    found = select(Event).where(Event.job_id == job_id, Event.seq > after).order_by(Event.seq).limit(limit)
    return list(session.scalars(found))


@cache
def connection() -> "redis.Redis":
    """The Redis of this process. A broker that is away must not hold anyone up."""
    url = settings().broker_url.replace("redis+socket://", "unix://")
    return redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)


def announce(job_id: uuid.UUID) -> None:
    """Ring the doorbell of a job, after the commit. Best effort."""
    try:
        connection().publish(CHANNEL, str(job_id))
    except redis.RedisError as error:
        log.warning("doorbell not rung: %s", error)


def database_answers(session: Session) -> bool:
    """Whether Postgres answers."""
    return bool(session.execute(text("SELECT 1")).scalar() == 1)
