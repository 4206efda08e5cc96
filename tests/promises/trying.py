"""What the tests of promises, wherever they stand, are handed: how often to try, where to put the figure, and a crew of workers."""

import os
import random
from collections.abc import Callable, Iterator

import pytest

from promises.crew import Crew
from promises.table import REPETITIONS

SHORT = {"LEASE_SECONDS": "3", "HEARTBEAT_SECONDS": "0.5", "GRACE_SECONDS": "10"}
"""Settings with which a lost worker is noticed in seconds."""


def full(config: pytest.Config) -> bool:
    """Whether it is tried as often as promised."""
    return any(getattr(plugin, "full", False) is True for plugin in config.pluginmanager.get_plugins())


@pytest.fixture(scope="module")
def times(request: pytest.FixtureRequest) -> Callable[[str], int]:
    """How often something is done."""
    column = 1 if full(request.config) else 0
    return lambda what: REPETITIONS[what][column]


@pytest.fixture(scope="module")
def slack(request: pytest.FixtureRequest) -> float:
    """By how much short times may be exceeded where others use the machine, too: not at all for the record."""
    return 1 if full(request.config) else 10


@pytest.fixture
def keep(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Keep a figure with the repetitions behind it, then fail if it is not what was promised."""

    def kept(met: bool, figure: str, **repetitions: int) -> None:
        often = {what.replace("_", " "): number for what, number in repetitions.items()}
        found = {"figure": figure, "met": bool(met), "repetitions": often}
        request.node.user_properties.append(("promise", found))
        assert met, figure

    return kept


@pytest.fixture(scope="module")
def luck() -> random.Random:
    """Random moments, the same in every run as far as the machine lets them be."""
    return random.Random(20_261_124)


@pytest.fixture(scope="module")
def unset() -> Iterator[None]:
    """No setting of this process reaches a service that a module starts."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("SPARRING_")}
    yield
    os.environ.update(kept)


@pytest.fixture(scope="module")
def hire(unset: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Crew]]:
    """Start a service with workers of its own; all of them end with the module."""
    crews: list[Crew] = []

    def start(size: int = 2, settings: dict[str, str] = SHORT, wrong_clocks: bool = False, **more: str) -> Crew:
        named = {f"SPARRING_{key}": value for key, value in (settings | more).items()}
        crew = Crew(tmp_path_factory.mktemp("crew"), size, wrong_clocks, **named)
        crew.start()
        crews.append(crew)
        return crew

    yield start
    for crew in crews:
        crew.stop()
