"""The log of who did what, for administrators."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.dependencies import Admin, Database
from api.people_schemas import ActionOut, ActionPage
from api.schemas import Printable
from store import actions

router = APIRouter(prefix="/actions", tags=["identity"])
Text = Annotated[Printable, Query(max_length=200)]


@router.get("")
def find(
    who: Admin,
    session: Database,
    kind: Text | None = None,
    object: Text | None = None,  # noqa: A002 (what people ask for by this name)
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[int | None, Query(ge=0, le=2**62)] = None,
) -> ActionPage:
    """Actions, newest first: on things of one kind, on one of them by its id or name."""
    rows = actions.page(session, limit + 1, cursor, kind, object)
    following = str(rows[limit - 1].id) if len(rows) > limit else None
    return ActionPage(items=[ActionOut.of(one) for one in rows[:limit]], next_cursor=following)
