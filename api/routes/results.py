"""Results of several jobs at once: methods, or networks, compared on the same images."""

import uuid
from collections.abc import Sequence

from fastapi import APIRouter
from sqlalchemy.orm import Session

from api import comparable, comparisons
from api.comparable import Entry, refused
from api.comparison_schemas import MOST_SEEDS, Comparison, ComparisonAsked, MethodAsked
from api.dependencies import Database, Known, job_for
from api.permissions import Caller
from store import lookup, sight
from store.tables import Job

router = APIRouter(prefix="/results", tags=["results"])


@router.post("/compare")
def compare(asked: ComparisonAsked, who: Known, session: Database) -> Comparison:
    """Methods by three jobs or more each, or networks by one job each, image by image: what may be called better, and why.

    Refused where jobs were judged on other images, under another threat, by other attacks or other rules.
    """
    methods = [_entries(session, who, at, one, asked.score) for at, one in enumerate(asked.methods)]
    comparable.check(methods, asked.score)
    names = _names(asked.methods, methods)
    outcome, found = comparable.outcomes(session, methods)
    first = methods[0][0]
    return Comparison(
        score=asked.score,
        dataset=first.job.spec["dataset"]["name"],
        threat=first.job.spec["threat"],
        attack=first.score["attack"],
        images=first.score["images"],
        outcome=outcome,
        words=comparisons.WORDS[outcome],
        methods=[comparisons.scored(name, method) for name, method in zip(names, methods, strict=True)],
        pairs=comparisons.pairs(names, found),
    )


def _entries(session: Session, who: Caller, number: int, asked: MethodAsked, score: str) -> list[Entry]:
    """The jobs of a method, those of groups one by one."""
    at = f"/methods/{number}/jobs"
    found = [(f"{at}/{place}", job) for place, name in enumerate(asked.jobs) for job in _jobs(session, who, name)]
    if len(found) > MOST_SEEDS:
        raise refused(at, "are too many jobs, those of groups counted", len(found), f"at most {MOST_SEEDS}")
    return [comparable.entry(session, who.eyes, job, score, here) for here, job in found]


def _jobs(session: Session, who: Caller, name: str) -> list[Job]:
    """The jobs of a group that the caller sees, or the one job of that id or number."""
    try:
        group = lookup.group(session, uuid.UUID(name))
    except ValueError:
        group = []
    seen = [one for one in group if sight.sees(session, who.eyes, one.project_id)]
    return seen or [job_for(session, who, name, "see")]


def _names(asked: Sequence[MethodAsked], methods: Sequence[Sequence[Entry]]) -> list[str]:
    """What the methods are called; refused where two have one name."""
    names: list[str] = []
    for number, (one, entries) in enumerate(zip(asked, methods, strict=True)):
        name = one.name or _named([entry.job for entry in entries])
        if name in names:
            raise refused(f"/methods/{number}/name", "is taken", name, "a name of its own for each method")
        names.append(name)
    return names


def _named(found: Sequence[Job]) -> str:
    numbers = " … ".join(f"#{number}" for number in dict.fromkeys((found[0].number, found[-1].number)))
    return f"{numbers} {found[0].name}"
