"""Who looks at the pages: logging in with an API token, the cookie of the session, logging out."""

from typing import Annotated
from urllib.parse import parse_qsl, quote, urlsplit

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from api import limits
from api.dashboard.templating import render
from api.dependencies import Database, check_csrf, cookie_name, identify, is_ours, secure
from api.dependencies import address as our_address
from api.errors import Refused
from api.permissions import Caller
from store import tokens

router = APIRouter()
LOCAL = ("localhost", "127.0.0.1", "::1")
HOME = "/jobs"


class LogInFirst(Exception):
    """A page was asked for without a session."""


def visitor(found: Annotated[Caller | None, Depends(identify)]) -> Caller:
    """Who looks; those without a session are sent to the log-in page (`faults.py`)."""
    if found is None:
        raise LogInFirst
    return found


Visitor = Annotated[Caller, Depends(visitor)]


async def posted(request: Request) -> dict[str, str]:
    """The fields of a form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Refused(415, "unsupported_media_type", "Send a form (application/x-www-form-urlencoded).")
    try:
        text = (await request.body()).decode("ascii")
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=20, errors="strict"))
    except ValueError:
        raise Refused(400, "malformed_body", "The form is not readable.") from None


Form = Annotated[dict[str, str], Depends(posted)]


def check_form(request: Request, form: dict[str, str], who: Caller) -> None:
    """A form must come from a page of this session; a token in a header needs no such proof."""
    if who.csrf:
        check_csrf(request, form.get("csrf", ""), who.csrf)


@router.get("/login")
def login_page(request: Request, found: Annotated[Caller | None, Depends(identify)], next: str = HOME) -> Response:  # noqa: A002
    """The log-in page, or where one wanted to go if one is logged in."""
    if found:
        return RedirectResponse(inside(next), 303)
    return _page(request, next)


@router.post("/login")
def log_in(request: Request, form: Form, session: Database) -> Response:
    """Exchange a token for a session."""
    if not cookies_hold(request):
        return _page(request, form.get("next", ""), status=403)
    if not is_ours(request):
        raise Refused(403, "csrf", "The form did not come from our log-in page.")
    limits.check_failures(request)
    token = form.get("token", "").strip()
    opened = tokens.log_in(session, token) if token.isprintable() else None
    if opened is None:
        limits.failures.take(limits.address(request))
        wrong = "This token is not valid: unknown, expired, revoked or incomplete." if token else "Give a token."
        return _page(request, form.get("next", ""), wrong, status=401)
    answer = RedirectResponse(inside(form.get("next", "")), 303)
    answer.set_cookie(
        cookie_name(), opened[0], tokens.SESSION_DAYS * 86_400, path="/", secure=secure(), httponly=True, samesite="lax"
    )
    return answer


@router.post("/logout")
def log_out(request: Request, form: Form, who: Visitor, session: Database) -> Response:
    """End the session."""
    check_form(request, form, who)
    tokens.log_out(session, request.cookies.get(cookie_name(), ""))
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(cookie_name(), path="/", secure=secure(), httponly=True, samesite="lax")
    return answer


def _page(request: Request, following: str, wrong: str = "", status: int = 200) -> Response:
    allowed = cookies_hold(request)
    return render(request, "login.html", None, status, next=inside(following), wrong=wrong, allowed=allowed)


def address(request: Request) -> str:
    """The log-in page with the way back to what was asked for."""
    asked = HOME
    if request.headers.get("hx-request"):
        asked = _path_of(request.headers.get("hx-current-url", ""))
    elif request.method == "GET":
        asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return f"/login?next={quote(inside(asked), safe='/')}"


def _path_of(url: str) -> str:
    try:
        here = urlsplit(url)
    except ValueError:  # whatever sent it, it was not a browser
        return HOME
    return here.path + (f"?{here.query}" if here.query else "")


def inside(path: str) -> str:
    """A path of this site; anything else becomes the jobs page."""
    plain = path.isprintable() and "\\" not in path and path.startswith("/") and not path.startswith("//")
    if not plain or urlsplit(path).netloc or path.startswith(("/login", "/logout")):
        return HOME
    return path


def cookies_hold(request: Request) -> bool:
    """Whether the browser will keep our cookie: on https, and on this machine."""
    return secure() and (our_address().startswith("https://") or request.url.hostname in LOCAL)
