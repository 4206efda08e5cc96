"""Everything at once, for a short time; `make chaos` does it for an hour."""

from collections.abc import Callable
from dataclasses import fields
from random import Random

import pytest

from core import run
from promises import tiny
from promises.chaos import FAULTS, SETTINGS, chaos
from promises.crew import Crew


@pytest.mark.timeout(1200)
def test_a_short_time_of_everything_that_may_go_wrong_loses_nothing(hire: Callable[..., Crew], luck: Random) -> None:
    done, wrong = chaos(hire(3, SETTINGS), 0.3, luck)
    assert wrong == []
    assert done["jobs"] > 2
    assert sum(done[name] for name in FAULTS) > 2


@pytest.mark.parametrize("name", ["Place", "Resume"])
def test_the_tiny_science_is_handed_what_the_real_one_is(name: str) -> None:
    assert list(getattr(tiny, name)._fields) == [one.name for one in fields(getattr(run, name))]
