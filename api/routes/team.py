"""Events of the whole team: as a list, or as a stream (SSE) that goes on from any position and loses nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from api.dependencies import Database, Known, eyes_now
from api.hub import TEAM, Hub
from api.routes.events import KEEP_AWAKE, STREAM
from api.team_schemas import TeamEventOut, TeamEventPage
from store import team
from store.database import transaction
from store.sight import Eyes

router = APIRouter(tags=["events"])
MOST = 1000
Watched = Callable[[Session], Eyes | None]
"""With whose eyes a stream reads, asked at each look; None ends it."""


@router.get("/events", response_model=TeamEventPage, responses=STREAM)
def events(
    request: Request,
    who: Known,
    session: Database,
    after: Annotated[int | None, Query(ge=0, le=2**62)] = None,
    limit: Annotated[int, Query(ge=1, le=MOST)] = MOST,
    accept: Annotated[str, Header()] = "",
    last_event_id: Annotated[int | None, Header(ge=0, le=2**62)] = None,
) -> Any:
    """The events of all jobs behind a position, oldest first; from the first on without one.

    With `Accept: text/event-stream`, those and all to come. Each has its position as `id`, its kind as `event`, and as data
    what the list shows. A stream that is opened with neither `after` nor `Last-Event-ID` begins with what comes next; its
    first line is the position at which it begins.
    """
    if "text/event-stream" not in accept:
        team.place(session, wait=True)
        found, upto = look(session, after or 0, limit, who.eyes)
        return TeamEventPage(items=found, next=upto)
    hub: Hub = request.app.state.hub
    begin = max(after or 0, last_event_id or 0) if (after, last_event_id) != (None, None) else None
    watched = partial(eyes_now, who=who)
    return StreamingResponse(stream(hub, watched, begin), media_type="text/event-stream")


async def stream(hub: Hub, watched: Watched, after: int | None) -> AsyncIterator[str]:
    """The lines of an event stream; it ends when whoever watches may no longer look."""
    with hub.watching(TEAM) as news:
        upto = await run_in_threadpool(now) if after is None else after
        if after is None:
            yield f"id: {upto}\n\n"
        while True:
            news.clear()
            looked = await run_in_threadpool(look_again, watched, upto)
            if looked is None:
                return
            found, upto = looked
            for one in found:
                yield f"id: {one.position}\nevent: {one.kind}\ndata: {one.model_dump_json()}\n\n"
            if len(found) == MOST:
                continue
            try:
                await asyncio.wait_for(news.wait(), KEEP_AWAKE)
            except TimeoutError:
                yield ": still here\n\n"


def now() -> int:
    """The newest position, behind all that is committed by now."""
    with transaction() as session:
        team.place(session, wait=True)
        return team.newest(session)


def look_again(watched: Watched, after: int) -> tuple[list[TeamEventOut], int] | None:
    """`look` in a transaction of its own; None where whoever watches may no longer do so."""
    with transaction() as session:
        eyes = watched(session)
        return look(session, after, MOST, eyes) if eyes else None


def look(session: Session, after: int, limit: int, eyes: Eyes) -> tuple[list[TeamEventOut], int]:
    """Visible events behind a position, and the position from which to go on, behind what these eyes may not see."""
    team.place(session)
    newest = team.newest(session)
    found = [TeamEventOut.of(one) for one in team.read(session, after, limit, eyes)]
    last = found[-1].position if found else after
    return found, last if len(found) == limit else max(last, newest)
