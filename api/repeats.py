"""A creating request that is sent again with its Idempotency-Key gets the answer that it got before."""

import hashlib
from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import Header
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.permissions import Caller
from store import queue, requests

Answer = TypeVar("Answer", bound=BaseModel)
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")]


def once(
    session: Session,
    who: Caller,
    key: str | None,
    route: str,
    asked: bytes | BaseModel,
    form: type[Answer],
    make: Callable[[], Answer],
) -> Answer:
    """What `make` gives, a `form`, or has given to the same request before: of the same user to that `route`, which asked the
    same. Nothing of the request is judged before."""
    if key is None:
        return make()
    body = asked if isinstance(asked, bytes) else asked.model_dump_json(exclude_unset=True).encode()
    digest = hashlib.sha256(f"{route}\n".encode() + body).digest()
    before = requests.answered(session, who.id, key, digest)
    if before is not None:
        return form.model_validate(before)
    answer = make()
    requests.remember(session, who.id, key, digest, answer.model_dump(mode="json"))
    return answer


def queued(session: Session, answer: Answer) -> Answer:
    """The answer of what has queued jobs, once they are committed and the bell has rung for those who run them."""
    session.commit()
    queue.ring()
    return answer
