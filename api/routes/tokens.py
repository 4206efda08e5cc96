"""Tokens: made (and shown once), listed, replaced, revoked. None can make one that may do more than itself, or for longer."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter
from sqlalchemy.orm import Session

from api.dependencies import Database, Holder, Known
from api.errors import Refused, not_found
from api.people_schemas import NewToken, Rotation, TokenOut, Tokens
from api.permissions import Caller, demand
from api.schemas import Printable
from core.errors import Problem
from store import actions, tokens, users
from store.people import SCOPES, Token

router = APIRouter(prefix="/tokens", tags=["identity"])
MOST = 100
"""Valid tokens of a user: more than anyone keeps an eye on."""
SOON = timedelta(seconds=60)
"""By how much a token may outlive the one that asks for it: the time between two readings of a clock."""


@router.post("", status_code=201)
def issue(asked: NewToken, who: Holder, session: Database) -> TokenOut:
    """A new token; `token` is never shown again, so that a request that is sent again makes another one."""
    owner = who.id if asked.user in (None, who.name) else _somebody(session, who, str(asked.user))
    if len(tokens.valid(session, owner)) >= MOST:
        raise Refused(409, "too_many", f"There are {MOST} valid tokens already; revoke one first.")
    scopes = _up_to(asked.scopes or who.scopes)
    ends = datetime.now(UTC) + timedelta(days=asked.days) if asked.days else who.expires_at
    _check_within(who, scopes, ends)
    secret = tokens.issue(session, owner, asked.name, asked.days, scopes, who.expires_at)
    return _new(session, who, "issue", secret, for_user=asked.user or who.name)


@router.get("")
def find(who: Known, session: Database, user: Printable | None = None) -> Tokens:
    """The caller's tokens that are valid; for administrators those of a user."""
    owner = who.id if user in (None, who.name) else _somebody(session, who, str(user))
    return Tokens(items=[TokenOut.of(token) for token in tokens.valid(session, owner)])


@router.post("/{token_id}/rotate", status_code=201)
def rotate(token_id: Printable, asked: Rotation, who: Holder, session: Database) -> TokenOut:
    """A new secret under the same name, for the same scopes, to the same end; the old one is valid a little longer."""
    old = tokens.find(session, who.id, token_id)
    if old is None:
        raise not_found("token", token_id[:80])
    _check_within(who, old.scopes, old.expires_at)
    secret = tokens.rotate(session, old, timedelta(hours=asked.overlap_hours))
    return _new(session, who, "rotate", secret, replaces=token_id, overlap_hours=asked.overlap_hours)


@router.delete("/{token_id}", status_code=204)
def revoke(token_id: Printable, who: Holder, session: Database) -> None:
    """End a token of the caller; for administrators anybody's."""
    if not tokens.revoke(session, None if who.at_least("admin") else who.id, token_id):
        raise not_found("token", token_id[:80])
    actions.note(session, who.name, "revoke", "token", token_id)


def _somebody(session: Session, who: Caller, name: str) -> uuid.UUID:
    """Another user's id, for administrators."""
    demand(who, "admin")
    user = users.named(session, name)
    if user is None:
        raise not_found("user", name[:80])
    return user.id


def _up_to(scopes: Sequence[str]) -> tuple[str, ...]:
    """The scopes with those that they hold."""
    return SCOPES[: max(map(SCOPES.index, scopes)) + 1]


def _check_within(who: Caller, scopes: Sequence[str], ends: datetime | None) -> None:
    """Refuse what goes beyond the token that asks."""
    wrong = []
    if not set(scopes) <= set(_up_to(who.scopes)):
        wrong.append(Problem("/scopes", "go beyond those of the token that asks", list(scopes), ", ".join(who.scopes)))
    if who.expires_at and (ends is None or ends > who.expires_at + SOON):
        wrong.append(Problem("/days", "go beyond the end of the token that asks", str(ends), str(who.expires_at)))
    if wrong:
        raise Refused(403, "beyond_own", "; ".join(map(str, wrong)), tuple(wrong))


def _new(session: Session, who: Caller, verb: str, secret: str, **about: object) -> TokenOut:
    """The token that has just been made, with its secret."""
    session.flush()
    found = session.get(Token, secret.split("_")[1])
    assert found, "it has just been made"
    session.refresh(found)
    actions.note(session, who.name, verb, "token", found.id, called=found.name, scopes=found.scopes, **about)
    return TokenOut.of(found, secret)
