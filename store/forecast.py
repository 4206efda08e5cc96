"""When jobs will start: the rules of `policy.py` run forward in time, on what is known now or on made-up queues.

Nothing but the ends of jobs and the arrivals of new ones changes who is next, so time hops from one of these to another. A
forecast knows what waits and runs, and how long each will take; a simulation gives arrivals and true durations as well.
"""

import heapq
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from itertools import count
from typing import NamedTuple

from store.policy import Choice, Need, Party, Place, Waiting, next_job

Seconds = Callable[[Waiting], float]
Line = list[tuple[tuple[int, float, int], Waiting]]


class Start(NamedTuple):
    """A job starts: at which time, on which worker, in which slots."""

    at: float
    worker: Hashable
    waiting: Waiting
    places: list[Place]


class Run(NamedTuple):
    """What a worker does: since when, until when, for whom, in which slots."""

    started: float
    ends: float
    user: Hashable
    project: Hashable
    places: list[Place]


class Future:
    """A queue and its workers, from `now` on; `parties` and the workers' places are changed as time passes.

    `workers` holds the places of each, of which those in `runs` are not free. `seconds` says how long a job takes.
    """

    def __init__(
        self,
        now: float,
        workers: Mapping[Hashable, list[Place]],
        parties: Mapping[Hashable, Party],
        seconds: Seconds,
        runs: Iterable[Run] = (),
    ) -> None:
        self.now, self.workers, self.parties, self.seconds = now, workers, parties, seconds
        self.lines: dict[tuple[Hashable, Hashable, Need], Line] = {}
        self.order = count()
        self.ends: list[tuple[float, int, Run]] = []
        for run in runs:
            self._keep(run)

    def _keep(self, run: Run) -> None:
        heapq.heappush(self.ends, (run.ends, next(self.order), run))

    def add(self, waiting: Waiting) -> None:
        """A job waits from now on."""
        line = self.lines.setdefault((waiting.user, waiting.project, waiting.need), [])
        heapq.heappush(line, ((-waiting.priority, waiting.since, waiting.number), waiting))

    def first(self) -> list[Waiting]:
        """Of each user, project and need the first job that waits."""
        return [line[0][1] for line in self.lines.values() if line]

    def starts(self, arrivals: Iterable[Waiting] = ()) -> Iterator[Start]:
        """Every start, in order, until nothing runs or arrives; a job arrives at its `since`."""
        coming = iter(arrivals)
        new = next(coming, None)
        while True:
            yield from self._starts()
            times = ([self.ends[0][0]] if self.ends else []) + ([new.since] if new else [])
            if not times:
                return
            self.now = max(self.now, min(times))
            while self.ends and self.ends[0][0] <= self.now:
                self._end(heapq.heappop(self.ends)[2])
            while new and new.since <= self.now:
                self.add(new)
                new = next(coming, None)

    def _starts(self) -> Iterator[Start]:
        """What starts now: each worker takes what it can, one after the other, until nobody finds anything."""
        found = True
        while found:
            found = False
            for worker, room in self.workers.items():
                while any(place.free for place in room) and (
                    choice := next_job(self.first(), self.parties, room, self.now)
                ):
                    found = True
                    self._begin(choice)
                    yield Start(self.now, worker, *choice)

    def _begin(self, choice: Choice) -> None:
        one = choice.waiting
        heapq.heappop(self.lines[one.user, one.project, one.need])
        for place in choice.places:
            place.free = False
        for party in (one.user, one.project):
            self.parties[party].runs.append((self.now, one.need.slots))
        self._keep(Run(self.now, self.now + self.seconds(one), one.user, one.project, choice.places))

    def _end(self, run: Run) -> None:
        for place in run.places:
            place.free = True
        for party in (run.user, run.project):
            self.parties[party].ended(run.started, len(run.places), self.now)
