"""P14: a job whose process dies by SIGSEGV stops after three attempts, and the others do not wait for it."""

from collections.abc import Callable

import pytest

from promises.account import account
from promises.crew import Crew
from promises.processes import until

pytestmark = pytest.mark.slow


def test_p14_a_poison_job_stops(
    hire: Callable[..., Crew], times: Callable[[str], int], keep: Callable[..., None]
) -> None:
    """The longest that another waits is as long as a start of an attempt takes, and no backoff of the poison's."""
    crew, others = hire(1), times("jobs beside the poison")
    accepted = {}
    with crew.http() as client:
        poison = crew.submit(client, "poison-1-5-0")
        for number in range(others):
            accepted[f"work-3-20-{number}"] = crew.submit(client, f"work-3-20-{number}")
    until(lambda: crew.counts() == {"failed": 1, "succeeded": others}, 300, "all to end")
    (told,) = crew.sql("SELECT deaths, reason, message FROM jobs WHERE id = :job", job=poison)
    gaps = crew.sql(
        "SELECT max(extract(epoch FROM started_at - before)) FROM (SELECT started_at, lag(ended_at) OVER (ORDER BY started_at) AS before FROM attempts) one"
    )
    found = account(crew, accepted)
    right = tuple(told)[:2] == (3, "machine") and "SIGSEGV" in told.message and not found.lost
    figure = f"failed after {told.deaths} attempts ({told.message}); {found.succeeded} of {others} others ran, the slot idle for {gaps[0][0]:.1f} s at most"
    keep(right and gaps[0][0] < 5, figure, jobs_beside_the_poison=others)
