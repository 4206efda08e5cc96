"""The account of a service at the end: what became of every accepted job, told from the database and from the traces."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from promises.crew import Crew
from promises.tiny import Name, end_of
from store.artifacts import DIGEST


@dataclass
class Tried:
    """One attempt, from its trace."""

    slot: str
    resumed: int
    began: list[int]
    kept: list[int]
    refused: int
    first: float
    last: float


@dataclass
class Account:
    """What is wrong, and what was counted."""

    accepted: int = 0
    succeeded: int = 0
    lost: list[str] = field(default_factory=list)
    """Accepted jobs that the database does not know, or whose work is not done."""
    doubled: list[str] = field(default_factory=list)
    """Jobs with two results, or with an epoch committed twice."""
    missing: list[str] = field(default_factory=list)
    """Epochs that an attempt was told are kept, and that are not there."""
    repeated: Counter[int] = field(default_factory=Counter)
    """How many epochs each return after an interruption has computed again: how often 0, 1, ..."""
    refused: int = 0
    """Writes of attempts whose job had gone on without them."""
    overlaps: list[str] = field(default_factory=list)
    """Attempts that computed on one slot at one time."""
    outcomes: dict[str, int] = field(default_factory=dict)
    """How the attempts ended."""


def account(crew: Crew, accepted: dict[str, str]) -> Account:
    """The account of the accepted jobs (ids by name)."""
    found = Account(accepted=len(accepted))
    tried = traces(crew.traces)
    for name, job in accepted.items():
        _job(crew, found, name, job, tried.get(job, []))
    found.overlaps = overlaps([one for each in tried.values() for one in each])
    found.outcomes = {str(what): n for what, n in crew.sql("SELECT outcome, count(*) FROM attempts GROUP BY outcome")}
    return found


def _job(crew: Crew, found: Account, name: str, job: str, tried: list[Tried]) -> None:
    state = crew.sql("SELECT state, reason, message FROM jobs WHERE id = :job", job=job)
    ends = crew.sql("SELECT body->>'state' FROM events WHERE job_id = :job AND kind = 'state_changed'", job=job)
    epochs = crew.sql("SELECT (body->>'epoch')::int FROM events WHERE job_id = :job AND kind = 'epoch_ended'", job=job)
    committed = [epoch for (epoch,) in epochs]
    whole = sorted(set(committed)) == list(range(1, Name.of(name).epochs + 1))
    if not state or state[0][0] != "succeeded" or not whole or result(crew, job) != end_of(name):
        found.lost.append(f"{name}: {state}, epochs {committed}")
    else:
        found.succeeded += 1
    if len(committed) != len(set(committed)) or [end for (end,) in ends].count("succeeded") > 1:
        found.doubled.append(name)
    told = {epoch for one in tried for epoch in one.kept}
    found.missing += [f"{name}: epoch {epoch}" for epoch in sorted(told - set(committed))]
    found.refused += sum(one.refused for one in tried)
    for before, after in pairwise(tried):
        found.repeated[max(0, max(before.began, default=0) - after.resumed)] += 1


def result(crew: Crew, job: str) -> str:
    """What is in the file of a job, read where it is kept."""
    rows = crew.sql("SELECT sha256 FROM artifacts WHERE job_id = :job AND name = 'state.txt'", job=job)
    if not rows or not DIGEST.fullmatch(rows[0][0]):
        return ""
    path = Path(crew.environment["SPARRING_FILES"], rows[0][0][:2], rows[0][0])
    return path.read_text() if path.exists() else ""


def traces(folder: Path) -> dict[str, list[Tried]]:
    """The attempts that came as far as their science, by job, in order."""
    found: dict[str, dict[int, Tried]] = defaultdict(dict)
    for path in folder.iterdir():
        job, _, fence = path.name.partition(".")
        told = [json.loads(line) for line in path.read_text().splitlines()]
        if told and told[0][0] == "enter":
            found[job][int(fence)] = _tried(told)
    return {job: [one for _, one in sorted(tried.items())] for job, tried in found.items()}


def _tried(told: list[list[Any]]) -> Tried:
    slot, machine, resumed = told[0][1]
    by = defaultdict(list)
    for what, about, _ in told:
        by[what].append(about)
    return Tried(f"{machine} {slot}", resumed, by["begin"], by["kept"], len(by["refused"]), told[0][2], told[-1][2])


def overlaps(tried: list[Tried]) -> list[str]:
    """Attempts on one slot, each of which began before the one before it had done its last."""
    found, latest = [], {}
    for one in sorted(tried, key=lambda one: one.first):
        before = latest.get(one.slot)
        if before and one.first < before.last:
            found.append(f"{one.slot}: from {one.first} while another ran until {before.last}")
        if not before or one.last > before.last:
            latest[one.slot] = one
    return found
