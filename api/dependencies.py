"""What routes are handed: a transaction, the user, a job that this user may see or change."""

import hmac
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from api.errors import Refused, not_found
from store import jobs, tokens
from store.database import transaction
from store.settings import settings
from store.tables import Job

SAFE = {"GET", "HEAD", "OPTIONS"}
RANK = {"viewer": 0, "member": 1, "maintainer": 2, "admin": 3}
Need = Literal["see", "change"]


def database() -> Iterator[Session]:
    """One transaction a request; it is committed when the route has returned."""
    with transaction() as session:
        yield session


Database = Annotated[Session, Depends(database, scope="function")]


@dataclass(frozen=True)
class Caller:
    """Who is asking, and for a browser the CSRF token of its session."""

    id: uuid.UUID
    name: str
    role: str
    csrf: str | None = None

    def at_least(self, role: str) -> bool:
        """Whether the caller's role reaches so far."""
        return RANK[self.role] >= RANK[role]


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
    """The caller behind a bearer token or a cookie; None without either. A token that is not valid is refused."""
    header = request.headers.get("authorization", "")
    if header:
        scheme, _, token = header.partition(" ")
        user = tokens.bearer(session, token.strip()) if scheme.lower() == "bearer" else None
        if user is None:
            raise Refused(401, "unauthorized", "The token is not valid.", WWW_Authenticate="Bearer")
        return _noted(request, Caller(user.id, user.name, user.role))
    cookie = request.cookies.get(cookie_name())
    known = tokens.browser(session, cookie) if cookie else None
    if known is None:
        return None
    user, csrf = known
    return _noted(request, Caller(user.id, user.name, user.role, csrf))


def _noted(request: Request, found: Caller) -> Caller:
    """The caller, whose name the access log then has."""
    request.scope["caller"] = found.name
    return found


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


def writer(found: Known) -> Caller:
    """A caller who may submit jobs."""
    if not found.at_least("member"):
        raise Refused(403, "forbidden", f"A {found.role} may look, not submit or change.")
    return found


Writer = Annotated[Caller, Depends(writer)]


def job_for(session: Session, who: Caller, name: str, need: Need) -> Job:
    """The job of that id or number, for this user and this need: the only way by which a route gets a job."""
    job = _named(session, name)
    if need == "change" and job.owner_id != who.id and not who.at_least("maintainer"):
        raise Refused(403, "forbidden", "This job is somebody else's.")
    return job


def _named(session: Session, name: str) -> Job:
    if name.isdecimal() and len(name) < 10:
        found = jobs.numbered(session, None, int(name))
        if len(found) > 1:
            raise Refused(409, "ambiguous", f"{len(found)} projects have a job {name}; give its id.")
        if found:
            return found[0]
    else:
        try:
            job = jobs.find(session, uuid.UUID(name))
        except ValueError:
            job = None
        if job:
            return job
    raise not_found("job", name[:80])


def seen(name: str, session: Database, who: Known) -> Job:
    """The job in the path, to look at."""
    return job_for(session, who, name, "see")


def changed(name: str, session: Database, who: Writer) -> Job:
    """The job in the path, to change."""
    return job_for(session, who, name, "change")


SeenJob = Annotated[Job, Depends(seen)]
ChangedJob = Annotated[Job, Depends(changed)]
