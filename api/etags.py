"""Changes of what somebody has looked at: If-Match (RFC 9110, section 13.1.1) with the ETag that a GET has sent."""

from typing import Annotated

from fastapi import Header, Response

from api.errors import Refused

IfMatch = Annotated[str | None, Header(max_length=200)]


def tag(response: Response, version: int) -> None:
    """Send a row's version as its ETag."""
    response.headers["etag"] = f'"{version}"'


def check(if_match: str | None, version: int) -> None:
    """Refuse a change of a version that the caller has not seen (412), or of none in particular (428)."""
    if if_match is None:
        raise Refused(
            428, "if_match_missing", "Send If-Match with the ETag that GET answered, or * to change any version."
        )
    if if_match.strip() != "*" and f'"{version}"' not in [one.strip() for one in if_match.split(",")]:
        raise Refused(412, "changed_meanwhile", f'This has changed meanwhile: its ETag is "{version}". Look again.')
