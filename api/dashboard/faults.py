"""What a browser sees instead of a page: the log-in page, or the problem document in the look of the pages."""

import json
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response

from api.dashboard.login import LogInFirst, address
from api.dashboard.templating import render

Handler = Callable[[Request, Any], Response]
NOT_PAGES = ("/api/", "/static/")


def install(app: FastAPI) -> None:
    """After the handlers of the API: where a page was asked for, show their problem documents as pages."""
    for kind, handler in list(app.exception_handlers.items()):
        if not iscoroutinefunction(handler):
            app.add_exception_handler(kind, _as_page(cast(Handler, handler)))

    @app.exception_handler(LogInFirst)
    def log_in_first(request: Request, _: LogInFirst) -> Response:
        if request.headers.get("hx-request"):
            return Response(status_code=401, headers={"HX-Redirect": address(request)})
        return RedirectResponse(address(request), 303)


def _as_page(handler: Handler) -> Handler:
    def handle(request: Request, error: Exception) -> Response:
        answer = handler(request, error)
        return _page(request, answer) if wants_page(request) else answer

    return handle


def wants_page(request: Request) -> bool:
    """Whether the answer is for a person's eyes."""
    return not request.url.path.startswith(NOT_PAGES) and "text/html" in request.headers.get("accept", "")


def _page(request: Request, answer: Response) -> Response:
    problem = json.loads(bytes(answer.body))
    page = render(request, "error.html", None, answer.status_code, problem=problem)
    page.headers.update({name: value for name, value in answer.headers.items() if not name.startswith("content-")})
    return page
