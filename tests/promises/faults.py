"""What may go wrong: each fault is one function of the crew and of luck. What has ended, the caller starts again (`tend`)."""

import os
import signal
import time
from random import Random

import redis

from e2e.test_crash import children
from promises.crew import FROZEN, THAWED, Crew, Hand
from promises.processes import until
from witness import crash


def chosen(crew: Crew, luck: Random) -> Hand:
    """A worker with something to lose: most times one whose attempt has kept an epoch, else any that has claimed a job."""
    computes = luck.random() < 0.8

    def candidates() -> list[str]:
        return sorted(n for n, attempt in crew.working().items() if not computes or '"kept"' in crew.trace(attempt))

    hand = crew.parts[luck.choice(until(candidates, 120, "a worker at work"))]
    assert isinstance(hand, Hand)
    time.sleep(luck.uniform(0, 0.5))
    return hand


def kill(crew: Crew, luck: Random) -> Hand:
    """`kill -9` of a worker at a random moment of its work, its first process alone."""
    hand = chosen(crew, luck)
    hand.kill()
    return hand


def kill_pool_process(crew: Crew, luck: Random) -> None:
    """`kill -9` of the process that watches over an attempt; the worker makes another."""
    hand = chosen(crew, luck)
    for pid in children(hand.pid)[:1]:
        os.kill(pid, signal.SIGKILL)


def freeze(crew: Crew, luck: Random) -> None:
    """Stop all processes of a worker at a random moment, for longer than a lease; then let them go on, too late."""
    hand, lease = chosen(crew, luck), float(crew.environment["SPARRING_LEASE_SECONDS"])
    hand.signal(FROZEN)
    time.sleep(lease + 2)
    hand.signal(THAWED)


def kill_api(crew: Crew, luck: Random) -> None:
    """`kill -9` of the api."""
    process = crew.parts["api"].process
    assert process
    process.kill()
    process.wait()


def kill_postgres(crew: Crew, luck: Random) -> None:
    """`kill -9` of Postgres; it stays away for a moment, now and then for longer than a lease."""
    crash(crew.postgres)
    time.sleep(luck.choice((0, 0, 0, 6)))
    crew.postgres.start()


def kill_broker(crew: Crew, luck: Random) -> None:
    """`kill -9` of the broker, which then stays away for some seconds."""
    crash(crew.broker)
    time.sleep(luck.uniform(0, 5))
    crew.broker.start()


def flush(crew: Crew, luck: Random) -> None:
    """Throw away everything that the broker holds."""
    with redis.Redis.from_url(crew.broker.url) as broker:
        broker.flushall()


def ring(crew: Crew, luck: Random) -> None:
    """Ring a bell twice that nobody asked for."""
    crew.ring(2)
