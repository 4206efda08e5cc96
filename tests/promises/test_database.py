"""P6: Postgres is killed under load, and once is away for three leases. What it has acknowledged is there afterwards."""

import time
from collections.abc import Callable
from random import Random

import httpx
import pytest

from promises.account import account
from promises.clerk import Clerk
from promises.crew import Crew
from promises.processes import until
from witness import crash

pytestmark = pytest.mark.slow
LEASE = 3.0


def written(crew: Crew) -> int:
    """How many events are kept."""
    return int(crew.sql("SELECT count(*) FROM events WHERE kind = 'epoch_ended'")[0][0])


def answered(crew: Crew) -> bool:
    """Whether the api reads the database."""
    with crew.http(2) as client:
        try:
            return client.get("/jobs", params={"limit": 1}).status_code == 200
        except httpx.TransportError:
            return False


def back(crew: Crew) -> float:
    """Start Postgres again; seconds until the api answers again and an attempt writes again."""
    began = time.monotonic()
    crew.postgres.start()
    before = written(crew)
    until(lambda: answered(crew) and written(crew) > before, 60, "work to go on")
    return time.monotonic() - began


def test_p06_postgres_may_be_killed(
    hire: Callable[..., Crew], times: Callable[[str], int], luck: Random, slack: float, keep: Callable[..., None]
) -> None:
    crew = hire(2, CPU_SLOTS="2")
    clerk = Clerk(crew, lambda number: f"work-{luck.randint(20, 60)}-100-{number}", depth=10)
    clerk.start()
    until(lambda: written(crew) > 5, 60, "the first epochs")
    kills, slowest = times("kills of Postgres"), 0.0
    for _ in range(kills):
        time.sleep(luck.uniform(0, 2))
        crash(crew.postgres)
        slowest = max(slowest, back(crew))
    crash(crew.postgres)
    time.sleep(3 * LEASE)
    slowest = max(slowest, back(crew))
    clerk.stop()
    until(lambda: not crew.counts().keys() & {"queued", "running"}, 1200, "all jobs to end", pause=0.5)
    found = account(crew, clerk.accepted)
    reclaimed = found.outcomes.get("lost", 0)
    figure = (
        f"{len(found.missing) + len(found.lost)} acknowledged commits missing, {reclaimed} attempts reclaimed, "
        f"work went on {slowest:.1f} s after the start at most"
    )
    right = not found.missing and not found.lost and not found.doubled and not reclaimed and not clerk.unexpected
    keep(right and slowest <= 5 * slack, figure, kills_of_Postgres=kills, outages_of_3_leases=1, jobs=found.accepted)
