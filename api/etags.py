"""ETags of what people change: a change is made to the version that was looked at, or refused."""

from typing import Annotated

from fastapi import Header

from api.errors import Refused

IfMatch = Annotated[str | None, Header(max_length=200)]


def etag(version: int) -> str:
    """The ETag of a version."""
    return f'"{version}"'


def expected(if_match: str | None, version: int) -> int:
    """The version that is to be changed: the present one, as `If-Match` must say; `*` stands for any."""
    if not if_match:
        raise Refused(428, "precondition_required", "Send If-Match with the ETag that GET gave, or with * for any.")
    if if_match.strip() not in (etag(version), "*"):
        raise changed(version)
    return version


def changed(version: int) -> Refused:
    """Somebody was faster."""
    return Refused(412, "precondition_failed", f"It has been changed since; its ETag is now {etag(version)}.")
