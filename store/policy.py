"""Who runs next: the rules, as one pure function that claims, forecasts and simulations share.

A job belongs to a user and to a project; both are parties. When a worker has free slots:

1. A party at its maximum of slots does not go; one below its guarantee goes before all others.
2. Then the least share goes first: the slot-seconds that the user has had, halved every day and divided by the user's
   weight, plus the same of the project. What runs counts as it runs, a slot just taken as one second.
3. Within a user and project: priority, then age.
4. A job that does not fit the free slots is passed over. But the first that has waited for longer than `PATIENCE` and would
   fit the worker were it empty keeps the free slots that it could take from all behind it: small jobs cannot starve it.
5. A job takes slots on devices of its own, of those that fit the ones with the fewest free slots, then the least memory.

Times are seconds since 1970, given by the caller. That a paused queue starts nothing is the caller's part too.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from typing import Any, NamedTuple

HALF_LIFE = 86_400.0
"""Seconds after which half of a party's usage is forgotten."""
PATIENCE = 3600.0
"""Seconds that a job waits before it keeps free slots for itself."""


class Need(NamedTuple):
    """What a job needs: one slot of a CPU, or slots on so many GPUs; and in each so many bytes."""

    gpus: int
    memory: int

    @property
    def kind(self) -> str:
        """cpu or gpu."""
        return "gpu" if self.gpus else "cpu"

    @property
    def slots(self) -> int:
        """How many slots."""
        return max(1, self.gpus)


class Waiting(NamedTuple):
    """A job that could start; `since` and `number` are its age."""

    job: Any
    user: Hashable
    project: Hashable
    priority: int
    since: float
    number: int
    need: Need


@dataclass(slots=True)
class Place:
    """A slot of a worker; `memory` is in bytes, the slot's part of its device."""

    device: str
    number: int
    kind: str
    memory: int
    free: bool = True


@dataclass(slots=True)
class Party:
    """A user or a project: `usage` slot-seconds as remembered at `usage_at`, what runs, and what it may have."""

    usage: float = 0.0
    usage_at: float = 0.0
    runs: list[tuple[float, int]] = field(default_factory=list)
    """Since when its jobs run, on how many slots."""
    weight: float = 1.0
    guarantee: int = 0
    maximum: int | None = None

    @property
    def running(self) -> int:
        """Slots that it has now."""
        return sum(slots for _, slots in self.runs)

    def used(self, now: float) -> float:
        """Slot-seconds that it has had, as remembered now."""
        ended = self.usage * remembered(now - self.usage_at)
        return ended + sum(slots * (1 + decayed(now - started)) for started, slots in self.runs)

    def ended(self, started: float, slots: int, now: float) -> None:
        """One of its jobs has just ended."""
        self.usage = self.usage * remembered(now - self.usage_at) + slots * decayed(now - started)
        self.usage_at = now
        self.runs.remove((started, slots))

    def forbids(self, need: Need) -> bool:
        """Whether its maximum leaves no room for such a job."""
        return self.maximum is not None and self.running + need.slots > self.maximum


class Choice(NamedTuple):
    """A job, and the slots that it is to have."""

    waiting: Waiting
    places: list[Place]


def remembered(seconds: float) -> float:
    """The part of a usage that is left after so long."""
    return float(0.5 ** (max(0.0, seconds) / HALF_LIFE))


def decayed(seconds: float) -> float:
    """Slot-seconds that a slot held for so long until now counts: the integral of `remembered`."""
    return HALF_LIFE / log(2) * (1 - remembered(seconds))


def next_job(
    waiting: Iterable[Waiting], parties: Mapping[Hashable, Party], room: Sequence[Place], now: float
) -> Choice | None:
    """The job that is next for a worker with the slots `room`, and where; None if none may go or fits.

    Of the jobs of a user and project with equal needs only the first is looked at, so `waiting` need hold no more.
    """
    free = [place for place in room if place.free]
    kept: list[Place] = []
    seen = set()
    for one in in_order(_thinkable(waiting, free), parties, now):
        if (line := (one.user, one.project, one.need)) in seen:
            continue
        seen.add(line)
        if any(parties[party].forbids(one.need) for party in (one.user, one.project)):
            continue
        if places := packed(one.need, [place for place in free if place not in kept] if kept else free):
            return Choice(one, places)
        if not kept and now - one.since > PATIENCE and packed(one.need, room):
            kept = [places[0] for places in _fitting(one.need, free)]
    return None


def _thinkable(waiting: Iterable[Waiting], free: Sequence[Place]) -> list[Waiting]:
    """The jobs that could take, or keep, at least one of the free slots."""
    largest: dict[str, int] = {}
    for place in free:
        largest[place.kind] = max(place.memory, largest.get(place.kind, 0))
    return [one for one in waiting if one.need.memory <= largest.get(one.need.kind, -1)]


def in_order(waiting: Iterable[Waiting], parties: Mapping[Hashable, Party], now: float) -> Iterator[Waiting]:
    """Jobs in the order of rules 1 to 3. Between equal shares the one with the older first job goes first."""
    shared: dict[tuple[Hashable, Hashable], list[Waiting]] = {}
    for one in waiting:
        shared.setdefault((one.user, one.project), []).append(one)
    lines = [sorted(line, key=_urgency) for line in shared.values()]
    rank = {party: _rank(parties[party], now) for both in shared for party in both}
    for line in sorted(lines, key=lambda line: _claim(line[0], rank)):
        yield from line


def _rank(party: Party, now: float) -> tuple[bool, float]:
    """Whether it is below its guarantee, and its share."""
    return party.running < party.guarantee, party.used(now) / party.weight


def _claim(one: Waiting, rank: Mapping[Hashable, tuple[bool, float]]) -> tuple[bool, float, float, int]:
    (owed, used), (owed_too, used_too) = rank[one.user], rank[one.project]
    return not (owed or owed_too), used + used_too, one.since, one.number


def _urgency(one: Waiting) -> tuple[int, float, int]:
    return -one.priority, one.since, one.number


def packed(need: Need, places: Sequence[Place]) -> list[Place] | None:
    """The slots that a job takes of these; None if it does not fit."""
    devices = sorted(_fitting(need, places), key=lambda some: (len(some), some[0].memory, some[0].device))
    return [some[0] for some in devices[: need.slots]] if len(devices) >= need.slots else None


def _fitting(need: Need, places: Sequence[Place]) -> list[list[Place]]:
    """The slots that are large enough, device by device."""
    devices: dict[str, list[Place]] = {}
    for place in places:
        if place.kind == need.kind and place.memory >= need.memory:
            devices.setdefault(place.device, []).append(place)
    return list(devices.values())
