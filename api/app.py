"""The application: `uvicorn api.app:app`. The API under /api/v1, the dashboard beside it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api import errors
from api.dashboard import faults, views
from api.deliveries import Sender
from api.hub import Hub
from api.middleware import Guard
from api.routes import (
    actions,
    artifacts,
    batch,
    catalogues,
    datasets,
    evaluations,
    events,
    figures,
    jobs,
    lifecycle,
    presets,
    projects,
    queues,
    quotas,
    results,
    system,
    team,
    tokens,
    users,
    webhooks,
)
from api.traffic import Traffic
from core.spec import KINDS
from store import logs
from store.reaper import Reaper
from store.settings import settings

BASE = "/api/v1"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The threads that live as long as the process."""
    logs.configure()
    app.state.hub = Hub()
    app.state.hub.start()
    threads: list[Reaper | Sender] = [Reaper(), *([Sender()] if settings().webhooks else [])]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.stop()
    app.state.hub.stop()


site = FastAPI(
    title="Sparring",
    summary="Train networks that are robust and sparse, and judge them honestly.",
    version="1",
    openapi_url=f"{BASE}/openapi.json",
    docs_url=None,
    redoc_url=None,
    lifespan=lifespan,
)
for resource in (
    jobs,
    lifecycle,
    batch,
    evaluations,
    results,
    events,
    team,
    artifacts,
    figures,
    catalogues,
    datasets,
    presets,
    projects,
    users,
    tokens,
    webhooks,
    quotas,
    queues,
    actions,
    system,
):
    site.include_router(resource.router, prefix=BASE)
site.include_router(views.router, include_in_schema=False)
site.mount("/static", views.Static(directory=views.STATIC), name="static")
errors.install(site)
faults.install(site)


def openapi() -> dict[str, object]:
    """The OpenAPI document, with the job specifications among its schemas."""
    if not site.openapi_schema:
        document = FastAPI.openapi(site)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for form in KINDS.values():
            schema = form.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(schema.pop("$defs", {}) | {form.__name__: schema})
        site.openapi_schema = document
    return site.openapi_schema


site.openapi = openapi  # type: ignore[method-assign]
app = Guard(Traffic(site))
