"""Is the service there, does it work, what runs, who is asking, and on which machines."""

import platform
from importlib.metadata import version

import redis
import torch
from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from sqlalchemy.exc import SQLAlchemyError

from api.dependencies import Database, Known
from api.schemas import Health, Me, Version, WorkerOut, Workers
from api.traffic import registry
from store import feed, lookup, metrics, workers
from store.database import transaction
from store.settings import settings

router = APIRouter(tags=["system"])
CONTENT = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/healthz")
def healthz() -> Health:
    """The process answers."""
    return Health(status="ok", checks={})


@router.get("/readyz", responses={503: {"model": Health}})
def readyz(response: Response) -> Health:
    """Database and broker answer. A broker that is away makes jobs wait a little longer, no more: only the database is
    needed."""
    checks = {"database": _database(), "broker": _broker()}
    response.status_code = 200 if checks["database"] else 503
    return Health(status="ok" if all(checks.values()) else "degraded", checks=checks)


def _database() -> bool:
    try:
        with transaction() as session:
            return feed.database_answers(session)
    except SQLAlchemyError:
        return False


def _broker() -> bool:
    try:
        return bool(feed.connection().ping())
    except redis.RedisError:
        return False


@router.get("/version")
def versions() -> Version:
    """The versions that matter."""
    return Version(sparring=version("sparring"), torch=torch.__version__, python=platform.python_version())


class State:
    """The numbers of the store, for a registry of one answer."""

    def __init__(self, found: list[Metric]) -> None:
        self.found = found

    def collect(self) -> list[Metric]:
        """As prometheus-client asks for them."""
        return self.found


@router.get("/metrics", response_class=PlainTextResponse)
def prometheus(who: Known, session: Database) -> PlainTextResponse:
    """The state of the service and this process's traffic, for Prometheus. Any token may read it."""
    state = CollectorRegistry()
    state.register(State(list(metrics.read(session))))
    return PlainTextResponse(generate_latest(state) + generate_latest(registry), media_type=CONTENT)


@router.get("/me")
def me(who: Known) -> Me:
    """Who the token or the session stands for."""
    return Me(id=who.id, name=who.name, role=who.role, scopes=list(who.scopes))


@router.get("/workers")
def living(who: Known, session: Database) -> Workers:
    """The workers seen within a lease."""
    found = workers.living(session, settings().lease_seconds)
    running = [slot.job_id for _, slots in found for slot in slots if slot.job_id]
    seen = {row[0].id for row in lookup.some(session, who.eyes, running)}
    return Workers(items=[WorkerOut.of(*one, seen) for one in found])
