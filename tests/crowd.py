"""A made-up team: users, projects, workers and jobs with durations of their own, from a seed."""

import random
from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple

from store.policy import Need, Party, Place, Waiting

GIB = 2**30


class Made(NamedTuple):
    """A job and how long it truly takes."""

    waiting: Waiting
    seconds: float


def gpus(number: int, slots: int = 1, memory: int = 80 * GIB) -> list[Place]:
    """The slots of a worker with so many GPUs, and of its processor."""
    places = [Place(f"gpu:{gpu}", slot, "gpu", memory // slots) for gpu in range(number) for slot in range(slots)]
    return [*places, Place("cpu:0", 0, "cpu", 64 * GIB)]


def team(users: int, projects: int, **changes: Party) -> dict[Hashable, Party]:
    """Users u0, u1, ... and projects p0, p1, ..., some of them changed."""
    names = [f"u{number}" for number in range(users)] + [f"p{number}" for number in range(projects)]
    return {name: changes.get(name, Party()) for name in names}


def jobs(seed: int, number: int, users: Iterable[str], projects: Iterable[str], span: float, **odds: Any) -> list[Made]:
    """Jobs of random users and projects, coming over `span` seconds; most need one GPU, some several or none."""
    chance = random.Random(seed)
    users, projects = list(users), list(projects)
    needs = odds.get("needs", {Need(0, 0): 1, Need(1, 0): 7, Need(1, 40 * GIB): 1, Need(2, 0): 1})
    times = sorted(chance.uniform(0, span) for _ in range(number))
    made = []
    for place, since in enumerate(times):
        need = chance.choices(list(needs), needs.values())[0]
        priority = chance.choices((-1, 0, 1), (1, 8, 1))[0]
        one = Waiting(place, chance.choice(users), chance.choice(projects), priority, since, place, need)
        made.append(Made(one, chance.lognormvariate(7, 0.8)))  # a median of 18 minutes
    return made
