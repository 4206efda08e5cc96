"""P7: the api is killed while a client submits, who sends the same idempotency key until there is an answer."""

import time
from collections.abc import Callable
from random import Random

import httpx
import pytest

from promises.clerk import Clerk
from promises.crew import Crew
from promises.processes import until

pytestmark = pytest.mark.slow


def answers(crew: Crew) -> bool:
    """Whether the api answers."""
    try:
        return httpx.get(f"{crew.url}/api/v1/healthz", timeout=1).status_code == 200
    except httpx.TransportError:
        return False


def test_p07_the_api_may_be_killed(
    hire: Callable[..., Crew], times: Callable[[str], int], luck: Random, keep: Callable[..., None]
) -> None:
    crew = hire(0)
    clerks = [Clerk(crew, lambda n, who=who: f"work-1-5-{who}-{n}", pause=0.01) for who in "ab"]
    for clerk in clerks:
        clerk.start()
    kills = times("kills of the api")
    for _ in range(kills):
        until(lambda: answers(crew), 60, "the api to answer")
        time.sleep(luck.uniform(0, 1))
        process = crew.parts["api"].process
        assert process
        process.kill()
        process.wait()
        crew.tend()
    until(lambda: answers(crew), 60, "the api to answer")
    for clerk in clerks:
        clerk.stop()
    accepted = clerks[0].accepted | clerks[1].accepted
    there = {str(job): name for job, name in crew.sql("SELECT id, name FROM jobs")}
    exactly = sum(there.get(job) == name for name, job in accepted.items())
    doubled = len(there) - len(set(there.values()))
    figure = f"{exactly} of {len(accepted)} accepted jobs there once, {doubled} twice; {sum(c.repeated for c in clerks)} repeated"
    right = exactly == len(accepted) and not doubled and not any(clerk.unexpected for clerk in clerks)
    keep(right and clerks[0].repeated > 0, figure, kills_of_the_api=kills, submissions=len(accepted))
