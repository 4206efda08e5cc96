"""API tokens: spr_<id>_<secret><crc>. Only the SHA-256 of the secret is kept; the token is shown once."""

import hashlib
import hmac
import secrets
import uuid
import zlib
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from store.database import uuid7
from store.people import SCOPES, BrowserSession, Token, User

SESSION_DAYS = 14
_VALID = (Token.revoked_at.is_(None), or_(Token.expires_at.is_(None), Token.expires_at > func.now()))
_ABLE = User.disabled_at.is_(None)


def user_named(session: Session, name: str, role: str = "member") -> uuid.UUID:
    """The user of that name, made with `role` if there is none."""
    made = insert(User).values(id=uuid7(), name=name, role=role).on_conflict_do_nothing(index_elements=["name"])
    session.execute(made)
    return session.execute(select(User.id).where(User.name == name)).scalar_one()


def issue(
    session: Session,
    user_id: uuid.UUID,
    name: str,
    days: float | None = None,
    scopes: Sequence[str] = SCOPES,
    until: datetime | None = None,
) -> str:
    """A new token of a user for some scopes, valid for `days`, or else to a time, or else until it is revoked."""
    public, secret = secrets.token_hex(6), secrets.token_hex(24)
    expires = func.now() + timedelta(days=days) if days is not None else until
    about = {"id": public, "user_id": user_id, "name": name, "scopes": list(scopes), "expires_at": expires}
    session.add(Token(secret_sha256=_hash(secret), **about))
    return f"spr_{public}_{secret}{_crc(public + secret)}"


def rotate(session: Session, old: Token, overlap: timedelta) -> str:
    """A new secret under the same name, for the same scopes, to the same end; the old one is valid for `overlap` more."""
    made = issue(session, old.user_id, old.name, scopes=old.scopes, until=old.expires_at)
    ends = func.now() + overlap
    old.expires_at = ends if old.expires_at is None else func.least(old.expires_at, ends)
    session.flush()
    return made


def valid(session: Session, user_id: uuid.UUID) -> list[Token]:
    """A user's tokens that are neither expired nor revoked, oldest first."""
    return list(session.scalars(select(Token).where(Token.user_id == user_id, *_VALID).order_by(Token.created_at)))


def find(session: Session, user_id: uuid.UUID | None, token_id: str) -> Token | None:
    """A valid token of a user; of anybody without one."""
    whose = [Token.user_id == user_id] if user_id else []
    return session.scalars(select(Token).where(Token.id == token_id, *_VALID, *whose)).one_or_none()


def revoke(session: Session, user_id: uuid.UUID | None, token_id: str) -> bool:
    """End a token of a user, or of anybody; False if there is no such token."""
    found = find(session, user_id, token_id)
    if found:
        found.revoked_at = func.now()
    return found is not None


def still(session: Session, token_id: str) -> User | None:
    """The user of a token that was valid before, if it still is."""
    rows = select(User).join(Token, Token.user_id == User.id)
    return session.scalars(rows.where(Token.id == token_id, *_VALID, _ABLE)).one_or_none()


def bearer(session: Session, token: str) -> tuple[Token, User] | None:
    """A token's row and its user; None if it is malformed, unknown, expired or revoked, or its user disabled."""
    parts = token.split("_")
    if len(parts) != 3 or parts[0] != "spr" or len(parts[2]) != 56 or not token.isascii():
        return None
    public, secret, crc = parts[1], parts[2][:48], parts[2][48:]
    if crc != _crc(public + secret):
        return None
    rows = select(Token, User).join(User, User.id == Token.user_id).where(Token.id == public, *_VALID, _ABLE)
    row = session.execute(rows).tuples().one_or_none()
    return row if row and hmac.compare_digest(row[0].secret_sha256, _hash(secret)) else None


def log_in(session: Session, token: str) -> tuple[str, str] | None:
    """Exchange a token for a browser session, which ends with it: the cookie's value and the CSRF token of its forms.

    None for a token that stands for nobody.
    """
    found = bearer(session, token)
    if found is None:
        return None
    cookie, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    expires = func.now() + timedelta(days=SESSION_DAYS)
    session.add(BrowserSession(cookie_sha256=_hash(cookie), token_id=found[0].id, csrf=csrf, expires_at=expires))
    return cookie, csrf


def browser(session: Session, cookie: str) -> tuple[Token, User, str] | None:
    """The token behind a cookie, its user and the CSRF token; None if the cookie is unknown or expired, or the token no longer
    valid."""
    rows = select(Token, User, BrowserSession.csrf).join(User, Token.user_id == User.id)
    rows = rows.join(BrowserSession, BrowserSession.token_id == Token.id)
    valid = [BrowserSession.cookie_sha256 == _hash(cookie), BrowserSession.expires_at > func.now(), *_VALID, _ABLE]
    return session.execute(rows.where(*valid)).tuples().one_or_none()


def log_out(session: Session, cookie: str) -> None:
    """Forget a browser session."""
    found = session.get(BrowserSession, _hash(cookie))
    if found:
        session.delete(found)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _crc(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
