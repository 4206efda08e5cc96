"""The caller's tokens: made (and shown once), listed, revoked."""

from fastapi import APIRouter

from api.dependencies import Database, Known
from api.errors import not_found
from api.schemas import NewToken, Printable, TokenOut, Tokens
from store import tokens
from store.people import Token

router = APIRouter(prefix="/tokens", tags=["identity"])


@router.post("", status_code=201)
def issue(asked: NewToken, who: Known, session: Database) -> TokenOut:
    """A new token of the caller; `token` is never shown again."""
    secret = tokens.issue(session, who.id, asked.name, asked.days)
    session.flush()
    return _shown(tokens.find(session, who.id, secret.split("_")[1]), secret)


@router.get("")
def mine(who: Known, session: Database) -> Tokens:
    """The caller's tokens that are valid."""
    return Tokens(items=[_shown(token) for token in tokens.valid(session, who.id)])


@router.delete("/{token_id}", status_code=204)
def revoke(token_id: Printable, who: Known, session: Database) -> None:
    """End a token."""
    if not tokens.revoke(session, who.id, token_id):
        raise not_found("token", token_id[:80])


def _shown(token: Token | None, secret: str | None = None) -> TokenOut:
    assert token, "it has just been made"
    return TokenOut(
        id=token.id, name=token.name, created_at=token.created_at, expires_at=token.expires_at, token=secret
    )
