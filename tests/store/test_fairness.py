"""Shares, limits and waiting over thousands of jobs in virtual time; and that claims in SQL give the same order."""

import heapq
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from crowd import gpus, jobs, team
from made import queue
from store import jobs as store_jobs
from store import quotas, schedule, tokens, workers
from store.forecast import Future, Start
from store.policy import PATIENCE, Need, Party, Waiting
from store.workers import Device

USERS, PROJECTS = [f"u{number}" for number in range(20)], [f"p{number}" for number in range(4)]
EQUAL = USERS[3:]
LIMITS = {"u0": {"weight": 2.0}, "u1": {"maximum": 2}, "u2": {"guarantee": 2}}
GPUS = 11


def machines() -> dict[Any, Any]:
    """Eleven GPUs on four workers, one of them shared by two jobs."""
    return {"a": gpus(4), "b": gpus(4), "c": gpus(2), "d": gpus(1, slots=2)}


@pytest.fixture(scope="module")
def crowd() -> dict[str, Any]:
    """10,000 jobs of 20 users in 4 projects that come within an hour, run to the end; and what was seen on the way."""
    made = jobs(1, 10_000, USERS, PROJECTS, span=3600)
    takes = {one.waiting.job: one.seconds for one in made}
    future = Future(
        0.0,
        machines(),
        team(20, 4, **{name: Party(**limits) for name, limits in LIMITS.items()}),
        lambda one: takes[one.job],
    )
    left = Counter(one.waiting.user for one in made)
    seen: dict[str, Any] = {"starts": [], "made": made, "most": 0, "broken": 0, "served": None}
    for start in future.starts(one.waiting for one in made):
        seen["starts"].append(start)
        seen["most"] = max(seen["most"], future.parties["u1"].running)
        owed = future.parties["u2"].running < 2 and start.waiting.user != "u2" and start.waiting.need.gpus
        small = any(one.user == "u2" and one.need == Need(1, 0) for one in future.first()) if owed else False
        seen["broken"] += small
        left[start.waiting.user] -= 1
        if seen["served"] is None and not all(left[user] for user in [*EQUAL, "u0"]):
            seen["served"] = served(seen["starts"], takes, start.at)
    return seen


def served(starts: list[Start], takes: dict[Any, float], now: float) -> Counter[Any]:
    """Slot-seconds that each user and project has had by now."""
    found: Counter[Any] = Counter()
    for start in starts:
        had = len(start.places) * min(takes[start.waiting.job], now - start.at)
        found.update({start.waiting.user: had, start.waiting.project: had})
    return found


def test_p17_users_who_all_wait_are_served_alike(crowd) -> None:
    shares = [crowd["served"][user] for user in EQUAL]
    assert max(shares) / min(shares) <= 1.1
    projects = [crowd["served"][project] for project in PROJECTS]
    assert max(projects) / min(projects) <= 1.1


def test_a_user_of_weight_two_is_served_twice_as_much(crowd) -> None:
    mean = sum(crowd["served"][user] for user in EQUAL) / len(EQUAL)
    assert crowd["served"]["u0"] / mean == pytest.approx(2, rel=0.1)


def test_a_maximum_is_never_passed_and_a_guarantee_is_kept_while_there_is_work_for_it(crowd) -> None:
    assert crowd["most"] == 2
    assert crowd["broken"] == 0


def test_every_job_starts_and_the_workers_are_busy_until_then(crowd) -> None:
    """The bound of waiting: the work that was there, on all slots, and a twentieth; u1 alone may still be at its maximum."""
    starts, made = crowd["starts"], crowd["made"]
    assert len(starts) == len(made) == len({start.waiting.job for start in starts})
    work = sum(one.seconds * one.waiting.need.gpus for one in made)
    last = max(start.at for start in starts if start.waiting.user != "u1")
    assert last <= 1.05 * work / (GPUS + 1)


def test_small_jobs_do_not_starve_a_job_of_two_gpus() -> None:
    """It waits no longer than until it is patient no more and the longest of the running jobs ends."""
    small = jobs(2, 1500, USERS[:5], PROJECTS[:1], 0.0, needs={Need(1, 0): 1})
    large = [Waiting(f"large {n}", "u9", "p0", 0, 4.0 * 3600 * n, n, Need(2, 0)) for n in range(1, 8)]
    takes = {one.waiting.job: min(one.seconds, 7200) for one in small} | {one.job: 600.0 for one in large}
    future = Future(0.0, {"a": gpus(2)}, team(10, 1), lambda one: takes[one.job])
    for one in small:
        future.add(one.waiting)
    starts = {start.waiting.job: start for start in future.starts(large)}
    waits = [starts[one.job].at - one.since for one in large]
    assert max(waits) <= PATIENCE + 7200
    assert starts[large[-1].job].at < max(start.at for start in starts.values()), "small ones were still waiting"


def test_claims_in_sql_go_in_the_order_of_the_pure_policy(database: Session, monkeypatch) -> None:
    chance = random.Random(3)
    rooms = {
        workers.register(database, f"host {n}", n, devices(count, slots)): None
        for n, (count, slots) in enumerate(((3, 1), (1, 2)))
    }
    began = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=1)
    now = [began]
    monkeypatch.setattr(schedule, "clock", lambda _: now[0])
    takes = queued(database, chance, began)
    waiting, parties = all_of(database)
    pure = Future(
        began.timestamp(), {worker: room(database, worker) for worker in rooms}, parties, lambda one: takes[one.job]
    )
    for one in waiting:
        pure.add(one)
    expected = [
        (start.at, start.waiting.job, start.worker, [place.device for place in start.places]) for start in pure.starts()
    ]
    assert len(expected) == 150
    assert replayed(database, list(rooms), takes, now) == expected


def devices(count: int, slots: int) -> list[Device]:
    return [Device(f"gpu:{n}", "gpu", "H", 80 * 2**30, slots) for n in range(count)] + [
        Device("cpu:0", "cpu", "x", 2**36, 1)
    ]


def queued(session: Session, chance: random.Random, began: datetime) -> dict[Any, float]:
    """150 jobs of 5 users in 3 projects, of different ages, and how long each takes."""
    users = [tokens.user_named(session, f"user-{n}") for n in range(5)]
    takes = {}
    for _ in range(150):
        job = queue(
            session,
            chance.choice(users),
            project=f"p{chance.randrange(3)}",
            resources={"priority": chance.choice(["low", "normal", "high"])},
        )
        values = {
            "job": job.id,
            "gpus": chance.choice([0, 1, 1, 1, 2]),
            "memory": chance.choice([0, 50 * 2**30]),
            "at": began - timedelta(seconds=chance.randrange(20_000)),
        }
        session.execute(
            text("UPDATE jobs SET gpus = :gpus, memory = :memory, created_at = :at WHERE id = :job"), values
        )
        takes[job.id] = float(chance.randrange(60, 9000))
    quotas.put(session, "user", users[0], 0, 2.0, None)
    quotas.put(session, "user", users[1], 0, 1.0, 1 + 1)
    quotas.put(session, "project", quotas.subject(session, "project", "p1"), 2, 1.0, None)
    return takes


def all_of(session: Session) -> tuple[list[Waiting], dict[Any, Party]]:
    rows = session.execute(text(f"SELECT {schedule.COLUMNS} FROM jobs")).all()
    waiting = [schedule.waiting_job(*row) for row in rows]
    return waiting, schedule.parties(session, {party for one in waiting for party in (one.user, one.project)})


def room(session: Session, worker: Any) -> list[Any]:
    return [schedule.Place(*row) for row in session.execute(schedule.ROOM, {"worker": worker})]


def replayed(session: Session, rooms: list[Any], takes: dict[Any, float], now: list[datetime]) -> list[Any]:
    """The same through claims and ends of attempts, with the database's clock set."""
    order: list[Any] = []
    ends: list[Any] = []
    while True:
        found = True
        while found:
            found = False
            for worker in rooms:
                while claimed := store_jobs.claim(session, worker):
                    found = True
                    order.append((now[0].timestamp(), claimed.job_id, worker, claimed.devices))
                    heapq.heappush(ends, (now[0] + timedelta(seconds=takes[claimed.job_id]), len(order), claimed))
        if not ends:
            return order
        now[0] = ends[0][0]
        while ends and ends[0][0] <= now[0]:
            claimed = heapq.heappop(ends)[2]
            assert store_jobs.succeed(session, claimed.job_id, claimed.fence)
