"""P29: an hour of short jobs leaves the service as large as it was."""

from collections.abc import Callable

import pytest

from benchmarks.soak import grown, soak

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * 3600)]
FLAT = 0.05
"""Growth from the second to the last quarter that is noise, as a share; or by two, of what is few."""
GROWS = ("jobs", "database MiB")
"""What is kept of every job."""


def growth(early: float, late: float) -> float:
    """By what share a figure has grown; nothing if by no more than two."""
    return (late - early) / early if late - early > 2 else 0.0


def test_growth_is_a_share_but_two_more_of_few_are_none() -> None:
    assert growth(100, 110) == pytest.approx(0.1)
    assert growth(3, 5) == growth(5, 3) == 0.0


def test_p29_it_runs_for_long(
    unset: None, times: Callable[[str], int], slack: float, keep: Callable[..., None]
) -> None:
    minutes = times("minutes of short jobs")
    samples, states = soak(minutes)
    found = {name: growth(*pair) for name, pair in grown(samples).items() if name not in GROWS}
    what, most = max(found.items(), key=lambda item: item[1])
    figure = f"of {len(found)} figures (descriptors, threads, memory of each part, connections) the most grown: {what} by {most:.1%}"
    right = set(states) == {"succeeded"} and most <= FLAT * slack
    keep(right, f"{figure}; jobs: {dict(states)}", minutes_of_short_jobs=minutes, jobs=sum(states.values()))
