"""Why a job waits, how many go before it, and when it will start: a forecast by the rules that claims go by.

The forecast knows what waits and runs now, not what will be submitted; what runs ends when its progress says, and what waits
takes as long as its like has taken (`estimate.py`).
"""

import uuid
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core.errors import Reason
from store import gate, schedule, workers
from store.estimate import KIN, LATELY, History, seconds
from store.forecast import Future, Run
from store.policy import Need, Party, Place, Waiting, packed
from store.settings import settings
from store.tables import Dependency, Job

MOST = 1000
"""Starts that a forecast looks ahead; also the jobs that it reads of each user, project and need."""
WAITING = text(f"""
{schedule.FIRST}
SELECT j.* FROM first f CROSS JOIN LATERAL (
    SELECT {schedule.COLUMNS}, spec->'resources'->>'max_duration', {KIN} FROM jobs
    WHERE {schedule.WAITS} AND (owner_id, project_id, gpus, memory) = (f.owner_id, f.project_id, f.gpus, f.memory)
    ORDER BY {schedule.URGENCY} LIMIT :most
) j
""")  # noqa: S608 (all of it is ours)
RUNNING = text("""
SELECT j.id, j.owner_id, j.project_id, greatest(j.gpus, 1), extract(epoch FROM a.started_at)::float8,
    (j.progress->>'eta')::float8, j.spec->'resources'->>'max_duration'
FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.fence = j.fence WHERE j.state = 'running'
""")
ENDED = text(f"""
SELECT {KIN}, (SELECT sum(extract(epoch FROM ended_at - started_at)) FROM attempts WHERE job_id = j.id)::float8
FROM (SELECT * FROM jobs WHERE state = 'succeeded' ORDER BY created_at DESC, id DESC LIMIT :lately) j
""")  # noqa: S608


class Team(NamedTuple):
    """The slots of each worker, and of each running job."""

    rooms: dict[Hashable, list[Place]]
    held: dict[uuid.UUID, list[Place]]


@dataclass(frozen=True)
class Explanation:
    """Why a job is where it is; of a job that waits also what is known of its start."""

    state: str
    reason: str | None
    words: str
    blocked_by: tuple[uuid.UUID, ...] = ()
    """Jobs that must succeed first."""
    before: int | None = None
    """Jobs that will start before it."""
    starts_at: datetime | None = None
    """When it is likely to start."""


def explain(session: Session, job: Job) -> Explanation:
    """Why it waits, or what else there is to say."""
    if job.state != "queued":
        return Explanation(job.state, job.reason, job.message or f"It is {job.state}.")
    unmet = select(Dependency.on_id).where(Dependency.job_id == job.id, ~Dependency.met)
    if blocked := tuple(session.scalars(unmet.order_by(Dependency.on_id))):
        return Explanation(
            "queued", Reason.WAITING, f"{len(blocked)} of the jobs that it needs have not succeeded.", blocked
        )
    if (queue := gate.find(session)).state != "open":
        words = {"paused": "The queue is paused.", "draining": "The queue is draining."}[queue.state]
        return Explanation("queued", Reason.WAITING, words)
    need, there = Need(job.gpus, job.memory), team(session)
    if not any(packed(need, places) for places in there.rooms.values()):
        return Explanation("queued", Reason.WAITING, _missing(need, list(there.rooms.values())))
    return _queued(session, job, there)


def _queued(session: Session, job: Job, there: Team) -> Explanation:
    """Of a job that some worker could run."""
    known = schedule.parties(session, (job.owner_id, job.project_id))
    reason, words = Reason.WAITING, ""
    for kind, party in (("user", known[job.owner_id]), ("project", known[job.project_id])):
        if party.forbids(Need(job.gpus, job.memory)):
            reason = Reason.QUOTA
            words += f"Its {kind} has {party.running} of at most {party.maximum} slots. "
    before, starts_at = _foreseen(session, job, there)
    if before is None:
        return Explanation("queued", reason, words or "When it will start cannot be foreseen.")
    verb = "goes" if before == 1 else "go"
    words += f"{before} job{'' if before == 1 else 's'} {verb} before it."
    return Explanation("queued", reason, words, (), before, starts_at)


def _foreseen(session: Session, job: Job, there: Team) -> tuple[int | None, datetime | None]:
    """How many jobs will start before this one, and when it will; None if it is not among the next `MOST` starts."""
    for before, start in enumerate(islice(future(session, there).starts(), MOST)):
        if start.waiting.job == job.id:
            return before, datetime.fromtimestamp(start.at, UTC)
    return None, None


def future(session: Session, there: Team) -> Future:
    """The queue and the workers as they are now, to be run forward."""
    now = schedule.clock(session).timestamp()
    takes, waiting = _waiting(session)
    running = session.execute(RUNNING).all()
    ids = {party for one in waiting for party in (one.user, one.project)}
    known: dict[Hashable, Party] = schedule.parties(session, ids | {party for row in running for party in row[1:3]})
    _have(known, running)
    ahead = Future(now, there.rooms, known, lambda one: takes[one.job], _runs(running, there.held, now))
    for one in waiting:
        ahead.add(one)
    return ahead


def _have(known: dict[Hashable, Party], running: Sequence[Any]) -> None:
    """Give the parties the runs that the forecast ends, and no others: a job may have ended between two reads."""
    for party in known.values():
        party.runs.clear()
    for _, user, project, slots, started, *_ in running:
        known[user].runs.append((started, slots))
        known[project].runs.append((started, slots))


def _waiting(session: Session) -> tuple[dict[uuid.UUID, float], list[Waiting]]:
    """What waits, and how long each is likely to take."""
    history = History((tuple(kin), ran) for *kin, ran in session.execute(ENDED, {"lately": LATELY}) if ran is not None)
    takes: dict[uuid.UUID, float] = {}
    found = []
    for row in session.execute(WAITING, {"most": MOST}):
        one, limit, kin = schedule.waiting_job(*row[:8]), seconds(row[8]), tuple(row[9:])
        takes[one.job] = history.expected(kin, limit)
        found.append(one)
    return takes, found


def team(session: Session) -> Team:
    """The slots of the workers that live and do not drain, and what runs there."""
    found = Team({}, {})
    for worker, slots in workers.living(session, settings().lease_seconds):
        if not worker.draining:
            found.rooms[worker.id] = [Place(s.device, s.number, s.kind, s.memory, s.job_id is None) for s in slots]
            for slot, place in zip(slots, found.rooms[worker.id], strict=True):
                if slot.job_id:
                    found.held.setdefault(slot.job_id, []).append(place)
    return found


def _runs(running: Sequence[Any], held: dict[uuid.UUID, list[Place]], now: float) -> list[Run]:
    """What runs; an attempt whose progress says nothing yet runs as long as it may."""
    return [
        Run(started, now + eta if eta is not None else max(now, started + seconds(limit)), user, project, held[job])
        for job, user, project, _, started, eta, limit in running
        if job in held
    ]


def _missing(need: Need, rooms: list[list[Place]]) -> str:
    """What no worker has."""
    wanted = f"{need.gpus} GPU{'s' if need.gpus > 1 else ''}" if need.gpus else "a processor"
    memory = f" with {need.memory / 2**30:.1f} GiB in each slot" if need.memory else ""
    if not rooms:
        return f"No worker is there. It needs {wanted}{memory}."
    kinds = [[place for place in places if place.kind == need.kind] for places in rooms]
    devices = max(len({place.device for place in places}) for places in kinds)
    largest = max((place.memory for places in kinds for place in places), default=0)
    has = (
        f"the most that one has is {devices}, the largest slot {largest / 2**30:.1f} GiB" if devices else "none has any"
    )
    return f"No worker has such slots. It needs {wanted}{memory}; {has}."
