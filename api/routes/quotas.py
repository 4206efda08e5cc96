"""Quotas: what users and projects may have of the slots. Everybody sees them, administrators change them."""

import uuid
from typing import Literal

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from api import etags
from api.dependencies import Admin, Database, Known
from api.errors import Refused, not_found
from api.etags import IfMatch
from api.queue_schemas import NewQuota, QuotaChange, QuotaOut, Quotas
from api.schemas import Printable
from store import actions, projects, quotas
from store.people import Quota

router = APIRouter(prefix="/quotas", tags=["queue"])
Kind = Literal["user", "project"]


@router.get("")
def find(who: Known, session: Database) -> Quotas:
    """All quotas, but for those of projects that the caller does not see; who has none has a weight of 1 and no limits."""
    seen = set(projects.names(session, who.eyes))
    rows = [row for row in quotas.page(session) if row[1] == "user" or row[2] in seen]
    return Quotas(items=[QuotaOut.of(*row) for row in rows])


@router.get("/{kind}/{name}")
def show(kind: Kind, name: Printable, who: Known, session: Database, response: Response) -> QuotaOut:
    """The quota of a user or a project."""
    if kind == "project" and projects.hidden(session, who.eyes, name):
        raise not_found(kind, name[:80])
    return _shown(session, kind, name, response)


@router.put("/{kind}/{name}")
def put(kind: Kind, name: Printable, asked: NewQuota, who: Admin, session: Database, response: Response) -> QuotaOut:
    """Give a user or a project this quota, whatever it had."""
    quotas.put(session, kind, _subject(session, kind, name), asked.guarantee, asked.weight, asked.maximum)
    actions.note(session, who.name, "set", "quota", f"{kind} {name}", **asked.model_dump())
    return _shown(session, kind, name, response)


@router.patch("/{kind}/{name}")
def change(
    kind: Kind,
    name: Printable,
    asked: QuotaChange,
    who: Admin,
    session: Database,
    response: Response,
    if_match: IfMatch = None,
) -> QuotaOut:
    """Change some of a quota as it was when it was looked at (If-Match)."""
    quota = _quota(session, kind, name)
    etags.check(if_match, quota.version)
    values = asked.model_dump(exclude_unset=True)
    whole = QuotaOut.of(quota, kind, name).model_dump(include=set(NewQuota.model_fields)) | values
    try:
        NewQuota.model_validate(whole)
    except ValueError as error:
        raise Refused(422, "invalid_request", str(error.errors()[0]["msg"]).removeprefix("Value error, ")) from None  # type: ignore[attr-defined]
    if not quotas.edit(session, quota, quota.version, **values):
        session.expire_all()
        raise etags.changed(_quota(session, kind, name).version)
    actions.note(session, who.name, "change", "quota", f"{kind} {name}", **values)
    return _shown(session, kind, name, response)


@router.delete("/{kind}/{name}", status_code=204)
def remove(kind: Kind, name: Printable, who: Admin, session: Database) -> None:
    """Take a quota away."""
    if not quotas.remove(session, kind, _subject(session, kind, name)):
        raise not_found("quota of", f"{kind} {name[:80]}")
    actions.note(session, who.name, "remove", "quota", f"{kind} {name}")


def _subject(session: Session, kind: Kind, name: str) -> uuid.UUID:
    found = quotas.subject(session, kind, name)
    if found is None:
        raise not_found(kind, name[:80])
    return found


def _quota(session: Session, kind: Kind, name: str) -> Quota:
    quota = quotas.find(session, kind, _subject(session, kind, name))
    if quota is None:
        raise not_found("quota of", f"{kind} {name[:80]}")
    return quota


def _shown(session: Session, kind: Kind, name: str, response: Response) -> QuotaOut:
    session.expire_all()
    quota = _quota(session, kind, name)
    etags.tag(response, quota.version)
    return QuotaOut.of(quota, kind, name)
