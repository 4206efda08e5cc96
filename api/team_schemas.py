"""The wire of the team's events."""

import uuid

from api.schemas import EventOut, Wire
from store.tables import Event


class TeamEventOut(EventOut):
    """A fact about one of all jobs."""

    position: int
    """Its place among the events of all jobs; whatever comes to be seen later has a higher one."""
    job: uuid.UUID

    @classmethod
    def of(cls, event: Event) -> "TeamEventOut":
        """The shape of a row that has a position."""
        assert event.position is not None, "only placed events are read"
        return cls(**EventOut.of(event).model_dump(), position=event.position, job=event.job_id)


class TeamEventPage(Wire):
    """Some events, oldest first."""

    items: list[TeamEventOut]
    next: int
    """Give it as `after` to go on."""
