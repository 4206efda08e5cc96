"""What routes are handed: a transaction, the user, a job that this user may see or change."""

import hmac
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from api import limits, permissions
from api.errors import Refused, not_found
from api.permissions import Caller
from store import jobs, lookup, projects, sight, tokens
from store.database import transaction
from store.people import Token, User
from store.settings import settings
from store.tables import Job

SAFE = {"GET", "HEAD", "OPTIONS"}
Need = Literal["see", "change"]


def database() -> Iterator[Session]:
    """One transaction a request; it is committed when the route has returned."""
    with transaction() as session:
        yield session


Database = Annotated[Session, Depends(database, scope="function")]


def cookie_name() -> str:
    """__Host- where the browser will take it: https, and this machine."""
    return "__Host-sparring" if secure() else "sparring"


def address() -> str:
    """The address that people open, as a browser names it: without a slash at its end."""
    return settings().url.rstrip("/")


def secure() -> bool:
    """Whether browsers treat our address as secure."""
    return address().startswith(("https://", "http://localhost", "http://127.0.0.1", "http://[::1]"))


def is_ours(request: Request) -> bool:
    """Whether a browser sent this from a page of this site."""
    here = f"{request.url.scheme}://{request.headers.get('host', '')}"
    return request.headers.get("origin") in (here, address())


def identify(request: Request, session: Database) -> Caller | None:
    """The caller behind a bearer token or a cookie; None without either. A token that is not valid is refused, and so is one
    who asks too often. The access log has the caller's name."""
    found = _bearer(request, session) if request.headers.get("authorization") else _browser(request, session)
    if found:
        request.scope["caller"] = found.name
        limits.count_request(found.id)
    return found


def _bearer(request: Request, session: Session) -> Caller:
    scheme, _, token = request.headers["authorization"].partition(" ")
    known = tokens.bearer(session, token.strip()) if scheme.lower() == "bearer" else None
    if known is None:
        refusal = Refused(401, "unauthorized", "The token is not valid.", WWW_Authenticate="Bearer")
        raise limits.failed(request, refusal)
    return _caller(*known)


def _browser(request: Request, session: Session) -> Caller | None:
    cookie = request.cookies.get(cookie_name())
    known = tokens.browser(session, cookie) if cookie else None
    return _caller(*known) if known else None


def _caller(token: Token, user: User, csrf: str | None = None) -> Caller:
    return Caller(user.id, user.name, user.role, tuple(token.scopes), token.id, token.expires_at, csrf)


def caller(request: Request, found: Annotated[Caller | None, Depends(identify)]) -> Caller:
    """The caller; refused without a token or a session, and from a browser without the session's CSRF token."""
    if found is None:
        raise Refused(401, "unauthorized", "Send `Authorization: Bearer spr_...`.", WWW_Authenticate="Bearer")
    if found.csrf and request.method not in SAFE:
        check_csrf(request, request.headers.get("x-csrf-token", ""), found.csrf)
    return found


def check_csrf(request: Request, sent: str, wanted: str) -> None:
    """A browser's write must come from our own page."""
    elsewhere = "origin" in request.headers and not is_ours(request)
    if elsewhere or not hmac.compare_digest(sent.encode(), wanted.encode()):
        raise Refused(403, "csrf", "The request did not come from a page of this session.")


Known = Annotated[Caller, Depends(caller)]


def holder(found: Known) -> Caller:
    """A caller, of whatever role, whose token may be used for more than looking."""
    if "write" not in found.scopes:
        raise Refused(403, "forbidden", "This takes a token with the scope write.")
    return found


Holder = Annotated[Caller, Depends(holder)]


def acting(role: str) -> Callable[[Caller], Caller]:
    """A dependency: a caller who may act as that."""

    def acts(who: Known) -> Caller:
        permissions.demand(who, role)
        return who

    return acts


writer = acting("member")
Writer = Annotated[Caller, Depends(writer)]
Maintainer = Annotated[Caller, Depends(acting("maintainer"))]
Admin = Annotated[Caller, Depends(acting("admin"))]


def job_for(session: Session, who: Caller, name: str, need: Need) -> Job:
    """The job of that id or number, for this user and this need: the only way by which a route gets a job.

    One that the user does not see is not there (404); one that they see and may not change is refused (403).
    """
    job = _named(session, who, name)
    if need == "change":
        permissions.demand_change(who, job)
    return job


def _named(session: Session, who: Caller, name: str) -> Job:
    if name.isdecimal() and len(name) < 10:
        found = lookup.numbered(session, who.eyes, int(name))
        if len(found) > 1:
            raise Refused(409, "ambiguous", f"{len(found)} projects have a job {name}; give its id.")
        if found:
            return found[0]
    else:
        try:
            job = jobs.find(session, uuid.UUID(name))
        except ValueError:
            job = None
        if job and sight.sees(session, who.eyes, job.project_id):
            return job
    raise not_found("job", name[:80])


def still_sees(session: Session, who: Caller, job: Job) -> bool:
    """Whether who saw a job does so now: what is open for long asks again and again."""
    eyes = eyes_now(session, who)
    return eyes is not None and sight.sees(session, eyes, job.project_id)


def eyes_now(session: Session, who: Caller) -> sight.Eyes | None:
    """With whose eyes a caller reads by now; None where the token or the user is no longer valid."""
    user = tokens.still(session, who.token)
    return replace(who, role=user.role).eyes if user else None


def check_project(session: Session, who: Caller, name: str) -> None:
    """Jobs go into a new project, or into one that the caller sees; what has been queued in another is rolled back.

    Asked after they are queued: by then their project is locked, behind the jobs that they wait for, as everywhere.
    """
    if projects.hidden(session, who.eyes, name):
        raise not_found("project", name)


def seen(name: str, session: Database, who: Known) -> Job:
    """The job in the path, to look at."""
    return job_for(session, who, name, "see")


def changed(name: str, session: Database, who: Known) -> Job:
    """The job in the path, to change."""
    return job_for(session, who, name, "change")


SeenJob = Annotated[Job, Depends(seen)]
ChangedJob = Annotated[Job, Depends(changed)]
