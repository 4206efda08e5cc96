"""Every refusal as a problem document (RFC 9457), and the one table of statuses."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import DataError, IntegrityError, InterfaceError, InternalError, OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from core.errors import DatasetUnavailable, InvalidSpec, NotPaired, Problem, SparringError, UnreadableArchive
from store.jobs import Impossible
from store.requests import KeyInFlight, KeyReused

log = logging.getLogger(__name__)

STATUS: dict[type[SparringError], tuple[int, str]] = {
    InvalidSpec: (422, "invalid_spec"),
    DatasetUnavailable: (409, "dataset_unavailable"),
    UnreadableArchive: (409, "unreadable_archive"),
    NotPaired: (422, "not_comparable"),
}
"""What the science's errors mean in HTTP."""
MOST = 100
"""Most problems of a specification that are listed: more than anyone reads at once."""


class Refused(HTTPException):
    """A request that is refused, with what the client needs to know."""

    def __init__(self, status: int, code: str, detail: str, problems: tuple[Problem, ...] = (), **headers: str) -> None:
        super().__init__(status, detail, {name.replace("_", "-"): value for name, value in headers.items()})
        self.code, self.problems = code, problems


def not_found(what: str, name: object) -> Refused:
    """What is asked for does not exist, or is not for this user to know of."""
    return Refused(404, "not_found", f"There is no {what} {name}.")


def install(app: FastAPI) -> None:
    """Have every error answered as a problem document."""

    @app.exception_handler(Refused)
    def refused(request: Request, error: Refused) -> Response:
        return document(request, error.status_code, error.code, error.detail, error.problems, dict(error.headers or {}))

    @app.exception_handler(SparringError)
    def science(request: Request, error: SparringError) -> Response:
        status, code = STATUS.get(type(error), (500, "internal"))
        problems = error.problems[:MOST] if isinstance(error, InvalidSpec) else ()
        return document(request, status, code, str(InvalidSpec(problems) if problems else error), problems)

    @app.exception_handler(Impossible)
    def impossible(request: Request, error: Impossible) -> Response:
        return document(request, 409, error.code, str(error))

    @app.exception_handler(KeyReused)
    def reused(request: Request, error: KeyReused) -> Response:
        return document(request, 422, "idempotency_key_reused", str(error))

    @app.exception_handler(KeyInFlight)
    def in_flight(request: Request, error: KeyInFlight) -> Response:
        return document(request, 409, "idempotency_key_in_flight", str(error))

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        problems = tuple(_of_parameter(found) for found in error.errors())
        return document(request, 422, "invalid_request", "; ".join(map(str, problems)), problems)

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> Response:
        code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        return document(request, error.status_code, code, str(error.detail), (), dict(error.headers or {}))

    @app.exception_handler(OperationalError)
    @app.exception_handler(InterfaceError)
    @app.exception_handler(InternalError)  # it has ended this session alone
    def database(request: Request, error: Exception) -> Response:
        log.warning("the database does not answer: %s", str(error).splitlines()[0])
        return document(request, 503, "database_away", "The database does not answer.", (), {"Retry-After": "5"})

    @app.exception_handler(ClientDisconnect)
    def gone(request: Request, _: ClientDisconnect) -> Response:
        return document(request, 400, "cut_off", "The connection ended before the request did.")

    @app.exception_handler(DataError)
    def unkept(request: Request, error: DataError) -> Response:
        log.warning("a value that the database does not take: %s", str(error).splitlines()[0])
        return document(request, 422, "invalid_request", "The request holds a value that the database does not take.")

    @app.exception_handler(IntegrityError)
    def raced(request: Request, error: IntegrityError) -> Response:
        log.warning("a change that another one has made impossible: %s", str(error).splitlines()[0])
        detail = "Somebody has just changed what this rests on. Look again, then repeat it."
        return document(request, 409, "conflict", detail)

    @app.exception_handler(Exception)
    def internal(request: Request, error: Exception) -> Response:
        log.exception("request failed", exc_info=error)
        return document(request, 500, "internal", "Something went wrong inside Sparring; the log has the request id.")


def document(
    request: Request,
    status: int,
    code: str,
    detail: str,
    problems: tuple[Problem, ...] = (),
    headers: dict[str, str] | None = None,
) -> Response:
    """A problem document."""
    body: dict[str, Any] = {
        "type": f"urn:sparring:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": request.url.path,
        "code": code,
        "request_id": request.scope.get("request_id"),
    }
    if problems:
        body["errors"] = [vars(problem) for problem in problems]
    return JSONResponse(body, status, headers, "application/problem+json")


def _of_parameter(found: Any) -> Problem:
    """A query, path or header parameter that is wrong, or a value in a body; the pointer names it."""
    where = found["loc"] if found["loc"][0] != "body" else () if found["type"] == "json_invalid" else found["loc"][1:]
    pointer = "".join(f"/{part}" for part in where)
    return Problem(pointer, found["msg"].removeprefix("Value error, "), None, None)
