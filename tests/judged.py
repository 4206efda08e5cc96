"""Jobs with hand-made outcomes, asking for their comparison, and what a refusal says: for the tests of comparisons."""

from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from core.events import Scored
from core.intervals import wilson
from core.spec import parse
from recorded import TRAINING
from store import records, submission, tokens
from store.tables import Job

STRICT: dict[str, Any] = TRAINING["evaluate"]["strict"]
WORST = "strict/worst_case"
ATTACK = {"name": "pgd", "eps": 0.1, "steps": 5}
RIGHT, WRONG = "1", "0"


def scored(survived: str, protocol: str = "strict", label: str = "worst_case", **more: Any) -> dict[str, Any]:
    """A score of hand-made outcomes."""
    correct = more.pop("correct", float(survived.count(RIGHT)))
    low, high = wilson(correct, len(survived))
    found = {"eps": 0.1, "steps": 0, "restarts": 0, "draws": 1, "seconds": 0.0, "attack": {}} | more
    accuracy = correct / len(survived)
    bounds = {"images": len(survived), "correct": correct, "accuracy": accuracy, "low": low, "high": high}
    return Scored(protocol=protocol, label=label, survived=survived, **bounds, **found).model_dump(mode="json")


def judged(session: Session, *scores: dict[str, Any], state: str = "succeeded", **changes: Any) -> Job:
    """A job that has these scores."""
    spec = parse(TRAINING | changes)
    owner = tokens.user_named(session, "ada", "admin")
    (job,) = submission.create(session, owner, [submission.Asked(spec.json_dict(), TRAINING | changes, spec.digest)])
    job.state = state
    for one in scores:
        records.result(session, job.id, one)
    session.commit()
    return job


def outcomes(accuracy: float, images: int, seed: int) -> str:
    return "".join(RIGHT if draw < accuracy else WRONG for draw in np.random.default_rng(seed).random(images))


def as_floats(survived: str) -> list[float]:
    return [float(one) for one in survived]


def ask(api: Any, *methods: Any, score: str = WORST) -> Any:
    """The answer to methods given as jobs, as lists of jobs, or as objects."""
    asked = [one if isinstance(one, dict) else {"jobs": one if isinstance(one, list) else [one]} for one in methods]
    named = [one | {"jobs": [str(job.id) if isinstance(job, Job) else job for job in one["jobs"]]} for one in asked]
    return api.post("/api/v1/results/compare", json={"methods": named, "score": score})


def refusal(answer: Any) -> dict[str, Any]:
    """The one problem of a comparison that is refused."""
    assert (answer.status_code, answer.json()["code"]) == (422, "not_comparable"), answer.text
    (problem,) = answer.json()["errors"]
    assert problem["message"] in answer.json()["detail"]
    return dict(problem)


def random_score(survived: str, shares: list[float] | None = None) -> dict[str, Any]:
    correct = {"correct": float(np.sum(np.float32(shares)))} if shares else {}
    return scored(survived, draws=64, eot=4, selection_draws=32, always=0.1, **correct)
