"""Templates to answers: one Jinja environment that escapes everything, and the classes of answers made from it."""

import json
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response
from starlette.types import Scope

from api.dashboard import figures, listing, titles
from api.permissions import Caller

HERE = Path(__file__).parent
STATIC = HERE / "static"
HTMX = {
    "allowEval": False,
    "attributesToSettle": ["class", "width", "height"],
    "historyCacheSize": 0,
    "includeIndicatorStyles": False,
    "refreshOnHistoryMiss": True,
    "selfRequestsOnly": True,
}
"""No inline styles (nor copying them) and no eval, as the content policy wants it; nothing of a page is kept in the browser's
storage."""

environment = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
environment.globals |= {"htmx": json.dumps(HTMX, sort_keys=True), "marked": titles.MARKED, "whole": figures.WHOLE}
environment.filters |= {
    "percent": figures.percent,
    "count": figures.count,
    "span": figures.span,
    "size": figures.size,
    "moment": figures.moment,
    "clock": figures.clock,
    "age": figures.age,
    "why": titles.reason,
    "metric": titles.metric,
    "doing": listing.doing,
}


def render(
    request: Request, template: str, who: Caller | None = None, status: int = 200, **context: Any
) -> HTMLResponse:
    """A page, or a part of one."""
    text = environment.get_template(template).render(request=request, who=who, **context)
    return HTMLResponse(text, status)


class Static(StaticFiles):
    """Our files: asked about again at each visit, so that a new version is seen at once; vendored ones are kept."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file; the names of vendored files hold their version."""
        answer = await super().get_response(path, scope)
        kept = path.startswith("vendor") and answer.status_code in (200, 304)
        answer.headers["cache-control"] = "public, max-age=31536000, immutable" if kept else "no-cache"
        return answer
