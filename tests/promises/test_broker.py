"""P5: the broker holds nothing but bells. What is thrown away there, or never arrives, costs waiting time."""

from collections.abc import Callable

import httpx
import pytest
import redis

from promises.account import account
from promises.clerk import Clerk
from promises.crew import Crew
from promises.figures import p99
from promises.processes import until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def crew(hire: Callable[..., Crew]) -> Crew:
    return hire(2, CPU_SLOTS="2")


def finished(crew: Crew, seconds: float) -> None:
    """Wait for the end of all jobs."""
    until(lambda: not crew.counts().keys() & {"queued", "running"}, seconds, "all jobs to end", pause=0.5)


def test_p05_all_jobs_run_though_the_broker_is_flushed(
    crew: Crew, times: Callable[[str], int], keep: Callable[..., None]
) -> None:
    jobs, flushes, accepted = times("jobs queued"), times("flushes"), {}
    with crew.http() as client, redis.Redis.from_url(crew.broker.url) as broker:
        for number in range(jobs):
            accepted[f"work-1-5-{number}"] = crew.submit(client, f"work-1-5-{number}")
        for flushed in range(flushes):
            broker.flushall()
            ran = jobs * (flushed + 1) // (flushes + 1)  # the flushes are spread over the whole queue
            until(lambda: crew.counts().get("succeeded", 0) >= ran, 600, f"{ran} jobs to end", pause=0.2)
    finished(crew, 600)
    found = account(crew, accepted)
    figure = f"{found.succeeded} of {jobs} ran after {flushes} FLUSHALL"
    keep(not found.lost and not found.doubled, figure, flushes=flushes, jobs_queued=jobs)


def test_p05_jobs_are_accepted_at_once_while_the_broker_is_away_and_run_when_it_is_back(
    crew: Crew, times: Callable[[str], int], slack: float, keep: Callable[..., None]
) -> None:
    away = times("seconds without broker")
    clerk = Clerk(crew, lambda number: f"work-1-5-away-{number}", pause=1.0)
    crew.broker.stop()
    clerk.start()
    clerk.stopped.wait(away)
    ready = httpx.get(f"{crew.url}/api/v1/healthz").status_code
    clerk.stop()
    crew.broker.start()
    finished(crew, 600)
    found, slowest = account(crew, clerk.accepted), p99(clerk.seconds)
    figure = f"{away} s without it: {found.succeeded} of {found.accepted} accepted with 201 (p99 {slowest * 1000:.0f} ms) ran after"
    right = ready == 200 and not clerk.unexpected and not clerk.repeated and not found.lost and not found.doubled
    keep(
        right and found.accepted > 0 and slowest < 0.5 * slack,
        figure,
        seconds_without_broker=away,
        submissions=found.accepted,
    )
