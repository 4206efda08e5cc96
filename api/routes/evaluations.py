"""Evaluations: judge a stored network; and what any job found out about one, trainings included."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response
from sqlalchemy.orm import Session

from api import archives, evaluations
from api.admission import Admission
from api.dependencies import Database, SeenJob, Writer
from api.errors import Refused, not_found
from api.evaluation_schemas import (
    AuditOut,
    CurveOut,
    Curves,
    Evaluation,
    Outcomes,
    OutcomesOut,
    SampleOut,
    Samples,
    WorstOut,
)
from api.evaluations import Sample
from api.repeats import IdempotencyKey
from api.routes.figures import PICTURE_POLICY
from api.routes.jobs import Body, create_once, planned, shown
from api.schemas import ArtifactOut, Plan, Printable, Submitted
from core.events import TRAINED, WORST_CASE
from core.witness import Archive
from store import records
from store.tables import Job

router = APIRouter(prefix="/evaluations", tags=["evaluations"])
FORM = {"schema": {"$ref": "#/components/schemas/EvaluateSpec"}}
BODY = {"requestBody": {"required": True, "content": {"application/json": FORM, "application/yaml": FORM}}}
Network = Annotated[Printable, Query(max_length=100)]
PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}}


@router.post("", status_code=201, openapi_extra=BODY)
def submit(
    who: Writer,
    asked: Body,
    session: Database,
    response: Response,
    idempotency_key: IdempotencyKey = None,
    dry_run: bool = False,
) -> Submitted | Plan:
    """Queue a job of kind `evaluate` for a stored network, or with `dry_run=true` say what it would be.

    Dataset and threat are those of the job that left the network, unless the body says otherwise.
    """
    if isinstance(asked.document, dict):
        asked = asked._replace(document={"kind": "evaluate"} | asked.document)
        if asked.document["kind"] != "evaluate":
            raise Refused(
                422, "invalid_request", "kind must be evaluate here, or be left out; POST /jobs takes others."
            )
    if dry_run:
        response.status_code = 200
        return planned(Admission(session, who).job(asked.document, asked.at))
    return create_once(session, who, idempotency_key, "evaluations", asked)


@router.get("/{name}")
def show(job: SeenJob, session: Database) -> Evaluation:
    """What a job found about its network, protocol by protocol."""
    exported: dict[str, list[dict[str, Any]]] = {}
    for one in records.exported(session, job.id):
        exported.setdefault(one["network"], []).append(one)
    return Evaluation(
        job=shown(session, job),
        network=job.spec.get("network"),
        dataset=job.spec["dataset"],
        threat=job.spec["threat"],
        protocols=_by_protocol(records.results(session, job.id)),
        exported={name: _by_protocol(scores) for name, scores in exported.items()},
        archives=[ArtifactOut.of(one) for one in records.files(session, job.id) if one.about.get("kind") == "witness"],
        trust=job.trust,
    )


def _by_protocol(scores: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for one in scores:
        found.setdefault(one["protocol"], []).append(one)
    return found


@router.get("/{name}/samples")
def samples(
    job: SeenJob,
    session: Database,
    network: Network = TRAINED,
    broken: bool = False,
    broken_by: Annotated[Printable | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[int, Query(ge=0)] = 0,
) -> Samples:
    """The images one by one, in the order of the test set; with `broken=true` those that strict attacks broke.

    With `broken_by=strict/square5000` those that one attack broke: right clean under its protocol, wrong under the attack.
    """
    told = records.outcomes(session, job.id, network)
    keys = [evaluations.key_of(one) for one in told]
    if broken_by is not None and broken_by not in keys:
        raise Refused(
            422, "invalid_request", f"broken_by must be one of {', '.join(keys) or 'no attacks'}, not {broken_by}."
        )
    found = (
        one
        for one in _samples(session, job, network, told, cursor)
        if (one.broken or not broken) and (broken_by is None or one.broken_by(broken_by))
    )
    some = list(islice(found, limit + 1))
    following = str(some[limit].n) if len(some) > limit else None
    return Samples(items=[_sample(one) for one in some[:limit]], next_cursor=following)


def of_job(session: Session, job: Job) -> Iterator[Sample]:
    """The images that a job has attacked its trained network on."""
    return _samples(session, job, TRAINED, records.outcomes(session, job.id), 0)


def _samples(session: Session, job: Job, network: str, told: Sequence[dict[str, Any]], first: int) -> Iterator[Sample]:
    archive = worst_case(session, job, network)
    return evaluations.samples(told, archives.worst(archive) if archive else [], first)


def worst_case(session: Session, job: Job, network: str = TRAINED) -> Archive | None:
    """The archive of the strict worst case, if there is one."""
    file = records.file(session, job.id, f"{network}-{WORST_CASE}.npz")
    return archives.read(file[0]) if file and file[0].is_file() else None


def _sample(one: Sample) -> SampleOut:
    worst = WorstOut(**asdict(one.worst)) if one.worst else None
    told = {name: getattr(one, name) for name in ("n", "right", "predicted", "distance", "queries", "broken")}
    return SampleOut(**told, worst=worst)


@router.get("/{name}/outcomes")
def outcomes(job: SeenJob, session: Database, network: Network = TRAINED) -> Outcomes:
    """What became of all images, attack by attack: the samples as columns."""
    return Outcomes(items=[OutcomesOut(**one) for one in records.outcomes(session, job.id, network)])


@router.get("/{name}/samples/{number}.png", response_class=Response, responses=PNG)
def picture(
    job: SeenJob, number: Annotated[int, Path(ge=0, le=10**6)], session: Database, network: Network = TRAINED
) -> Response:
    """The worst candidate of an image: clean, adversarial, and their difference amplified (grey is none, white and black eps)."""
    archive = worst_case(session, job, network)
    if archive is None:
        raise Refused(404, "not_found", f"Job {job.number} has no archive of the strict worst case.")
    if number >= len(archive.y):
        raise not_found("archived image", number)
    headers = {"content-security-policy": PICTURE_POLICY, "cache-control": "private, max-age=86400"}
    return Response(archives.picture(archive, number), 200, headers, "image/png")


@router.get("/{name}/audit")
def audit(job: SeenJob, session: Database) -> AuditOut:
    """The checks of the evaluation, and their verdict."""
    asked = job.spec["evaluate"]["audit"]
    return AuditOut(asked=asked, verdict=job.trust, checks=records.checks(session, job.id))


@router.get("/{name}/curve")
def curve(job: SeenJob, session: Database, network: Network = TRAINED) -> Curves:
    """Accuracy against eps, of each attack that was scored at several."""
    scores = records.results(session, job.id) + records.exported(session, job.id)
    scores = [one for one in scores if one["network"] == network]
    return Curves(items=[CurveOut.model_validate(asdict(one)) for one in evaluations.curves(scores)])
