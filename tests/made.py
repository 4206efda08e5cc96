"""Jobs, users and workers made straight in the store, for the tests of store, api and worker."""

import uuid
from typing import Any

from sqlalchemy.orm import Session

from store import submission
from store.sight import Eyes
from store.tables import Job
from store.workers import Device

CPU = Device("cpu:0", "cpu", "a processor", 2**34, 1)
ALL = Eyes(uuid.UUID(int=0), everything=True)
"""Those of an administrator."""


def spec(**changes: Any) -> dict[str, Any]:
    """The least that the store reads of a specification."""
    resources = {"priority": "normal", "gpus": 0, "max_duration": "1h"} | changes.pop("resources", {})
    return {
        "name": "job",
        "project": "default",
        "kind": "train",
        "seed": 1,
        "export": [],
        "resources": resources,
    } | changes


def queue(session: Session, owner: uuid.UUID, **changes: Any) -> Job:
    """One queued job."""
    return submission.create(session, owner, [submission.Asked(spec(**changes), {}, "0" * 64)])[0]
