"""What stands around every page: how many slots are busy."""

from typing import Any

from sqlalchemy.orm import Session

from store import workers
from store.settings import settings


def shell(session: Session) -> dict[str, Any]:
    """The values that the shell's templates read."""
    slots = [slot for _, some in workers.living(session, settings().lease_seconds) for slot in some]
    return {"slots": [slot.job_id is not None for slot in slots]}
