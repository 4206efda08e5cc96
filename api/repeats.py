"""A creating request that is sent again with its Idempotency-Key gets the answer that it got before."""

import hashlib
from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import Header
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.permissions import Caller
from store import requests

Answer = TypeVar("Answer", bound=BaseModel)
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")]


def once(
    session: Session, who: Caller, key: str | None, asked: BaseModel, form: type[Answer], make: Callable[[], Answer]
) -> Answer:
    """What `make` gives, a `form`, or has given to the same request before."""
    if key is None:
        return make()
    request = hashlib.sha256(f"{type(asked).__name__} {asked.model_dump_json()}".encode()).digest()
    before = requests.answered(session, who.id, key, request)
    if before is not None:
        return form.model_validate(before)
    answer = make()
    requests.remember(session, who.id, key, request, answer.model_dump(mode="json"))
    return answer
