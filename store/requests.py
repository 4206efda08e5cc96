"""Requests that create something are answered once: a key that is sent again gets the stored answer."""

import uuid
from typing import Any

from sqlalchemy import delete, func, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from store.people import IdempotencyKey

HOURS = 24


class KeyReused(Exception):
    """The key was sent before, with another request."""


class KeyInFlight(Exception):
    """The same request is just being answered."""


def answered(session: Session, user_id: uuid.UUID, key: str, request_sha256: bytes) -> dict[str, Any] | None:
    """The stored answer to a request, or None; then the key is this transaction's until it ends."""
    lock = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))")
    if not session.execute(lock, {"name": f"{user_id}/{key}"}).scalar():
        raise KeyInFlight("The request with this Idempotency-Key is just being answered.")
    session.execute(
        delete(IdempotencyKey).where(IdempotencyKey.created_at < func.now() - text(f"interval '{HOURS} hours'"))
    )
    found = session.get(IdempotencyKey, (user_id, key))
    if found and found.request_sha256 != request_sha256:
        raise KeyReused("This Idempotency-Key was sent before, with another body.")
    return found.answer if found else None


def remember(session: Session, user_id: uuid.UUID, key: str, request_sha256: bytes, answer: dict[str, Any]) -> None:
    """Keep the answer; a second request that came in between loses and rolls back (primary key)."""
    session.execute(
        insert(IdempotencyKey).values(user_id=user_id, key=key, request_sha256=request_sha256, answer=answer)
    )
