"""Users, for administrators: listed, made, given a role, kept out."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session

from api import etags
from api.dependencies import Admin, Database
from api.errors import Refused, not_found
from api.etags import IfMatch
from api.people_schemas import NewUser, UserChange, UserOut, UserPage
from api.repeats import IdempotencyKey, once
from api.schemas import Cursor, Printable
from store import actions, users
from store.people import User

router = APIRouter(prefix="/users", tags=["identity"])


@router.get("")
def find(
    who: Admin, session: Database, limit: Annotated[int, Query(ge=1, le=200)] = 50, cursor: Cursor = None
) -> UserPage:
    """All users, by name."""
    rows = users.page(session, limit + 1, cursor)
    following = rows[limit - 1].name if len(rows) > limit else None
    return UserPage(items=[UserOut.of(one) for one in rows[:limit]], next_cursor=following)


@router.post("", status_code=201)
def add(asked: NewUser, who: Admin, session: Database, idempotency_key: IdempotencyKey = None) -> UserOut:
    """A new user."""

    def make() -> UserOut:
        user = users.add(session, asked.name, asked.role)
        if user is None:
            raise Refused(409, "exists", f"There is a user {asked.name} already.")
        actions.note(session, who.name, "add", "user", user.name, role=user.role)
        return UserOut.of(user)

    return once(session, who, idempotency_key, "users", asked, UserOut, make)


@router.get("/{name}")
def show(name: Printable, who: Admin, session: Database, response: Response) -> UserOut:
    """A user."""
    user = _named(session, name)
    etags.tag(response, user.version)
    return UserOut.of(user)


@router.patch("/{name}")
def change(
    name: Printable, asked: UserChange, who: Admin, session: Database, response: Response, if_match: IfMatch = None
) -> UserOut:
    """Another role; or keep a user out (`disabled`): their tokens and sessions end at once, their jobs go on."""
    user = _named(session, name, lock=True)
    etags.check(if_match, user.version)
    disabled = user.disabled_at is not None if asked.disabled is None else asked.disabled
    try:
        users.change(session, user, asked.role or user.role, disabled)
    except users.LastAdmin as error:
        raise Refused(409, "last_admin", str(error)) from None
    actions.note(session, who.name, "change", "user", user.name, **asked.model_dump(exclude_none=True))
    etags.tag(response, user.version)
    return UserOut.of(user)


def _named(session: Session, name: str, lock: bool = False) -> User:
    user = users.named(session, name, lock)
    if user is None:
        raise not_found("user", name[:80])
    return user
