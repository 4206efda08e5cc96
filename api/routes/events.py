"""Events of a job: as a list, or as a stream (SSE) that resumes with Last-Event-ID and loses nothing."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from api.dependencies import Database, Known, SeenJob, still_sees
from api.hub import Hub
from api.permissions import Caller
from api.schemas import EventOut, EventPage
from store import feed, jobs
from store.database import transaction
from store.tables import ENDED

router = APIRouter(prefix="/jobs", tags=["events"])
KEEP_AWAKE = 15.0
"""Seconds after which a comment keeps proxies from closing an idle stream."""
STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}


@router.get("/{name}/events", response_model=EventPage, responses=STREAM)
def events(
    request: Request,
    who: Known,
    job: SeenJob,
    session: Database,
    after: Annotated[int, Query(ge=0, le=2**62)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    accept: Annotated[str, Header()] = "",
    last_event_id: Annotated[int, Header(ge=0, le=2**62)] = 0,
) -> Any:
    """The events after a number. With `Accept: text/event-stream`, those and all to come, until the job has ended.

    Each event of the stream has its number as `id`, its kind as `event`, and as data what the list shows. Between them,
    `event: progress` without an id tells where the run is.
    """
    if "text/event-stream" not in accept:
        return EventPage(items=[EventOut.of(one) for one in feed.read(session, job.id, after, limit)])
    hub: Hub = request.app.state.hub
    return StreamingResponse(stream(hub, who, job.id, max(after, last_event_id)), media_type="text/event-stream")


async def stream(hub: Hub, who: Caller, job_id: uuid.UUID, after: int) -> AsyncIterator[str]:
    """The lines of an event stream, which ends when the caller may no longer see the job."""
    shown: dict[str, Any] = {}
    with hub.watching(job_id) as news:
        while True:
            news.clear()
            found, progress, ended = await run_in_threadpool(look, who, job_id, after)
            for one in found:
                after = one.seq
                yield f"id: {one.seq}\nevent: {one.kind}\ndata: {one.model_dump_json()}\n\n"
            if progress and progress != shown:
                shown = progress
                yield f"event: progress\ndata: {json.dumps(progress)}\n\n"
            if ended and not found:
                return
            if found:
                continue
            try:
                await asyncio.wait_for(news.wait(), KEEP_AWAKE)
            except TimeoutError:
                yield ": still here\n\n"


def look(who: Caller, job_id: uuid.UUID, after: int) -> tuple[list[EventOut], dict[str, Any], bool]:
    """A job's events after a number, where it is, and whether it has ended. The state is read first: none is missed."""
    with transaction() as session:
        job = jobs.find(session, job_id)
        if job is None or not still_sees(session, who, job):
            return [], {}, True
        ended, progress = job.state in ENDED, job.progress
        return [EventOut.of(one) for one in feed.read(session, job_id, after)], progress, ended
