"""P28: workers whose clocks are wrong by an hour, one each way: leases, heartbeats and order are the database's time."""

from collections.abc import Callable

import pytest

from promises.account import account
from promises.crew import Crew
from promises.processes import until

pytestmark = pytest.mark.slow
HOUR = 3600


def test_p28_clocks_do_not_matter(
    hire: Callable[..., Crew], times: Callable[[str], int], keep: Callable[..., None]
) -> None:
    crew, jobs, accepted = hire(2, wrong_clocks=True), times("jobs under wrong clocks"), {}
    with crew.http() as client:
        for number in range(jobs):
            accepted[f"work-40-100-{number}"] = crew.submit(client, f"work-40-100-{number}")
    victim = until(lambda: sorted(crew.working()), 60, "a worker at work")[0]
    crew.parts[victim].kill()
    crew.tend()
    until(lambda: crew.counts() == {"succeeded": jobs}, 600, "all to end")
    found = account(crew, accepted)
    wrong = crew.sql("SELECT count(*) FROM attempts WHERE abs(extract(epoch FROM now() - started_at)) > 1800")[0][0]
    figure = f"{found.succeeded} of {jobs} ran, {found.outcomes.get('lost', 0)} attempt lost for one worker killed, {wrong} times wrong"
    right = not found.lost and not found.doubled and found.outcomes == {"done": jobs, "lost": 1} and not wrong
    keep(right, figure, jobs_under_wrong_clocks=jobs)
