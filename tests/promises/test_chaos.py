"""Everything at once, for a minute; `make chaos` does it for an hour."""

from collections.abc import Callable
from random import Random

import pytest

from promises.chaos import FAULTS, SETTINGS, chaos
from promises.crew import Crew

pytestmark = pytest.mark.slow


@pytest.mark.timeout(1200)
def test_a_minute_of_everything_that_may_go_wrong_loses_nothing(hire: Callable[..., Crew], luck: Random) -> None:
    done, wrong = chaos(hire(3, SETTINGS), 1, luck)
    assert wrong == []
    assert done["jobs"] > 5
    assert sum(done[name] for name in FAULTS) > 5
