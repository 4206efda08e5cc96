"""Who may do what, in one place: roles, the scopes of tokens, and how a caller is related to a job or a project.

| role | may |
|---|---|
| viewer | look at what belongs to the team, and to the private projects of which they are a member |
| member | submit into those projects, and change what is theirs |
| maintainer | change what they see: anybody's jobs, who sees a project |
| admin | see and change everything: users, the log of who did what |

A token's scopes hold a role back, and a browser's session has those of the token that opened it: with `read` alone one acts as
a viewer, with `write` at most as a maintainer, with `admin` as what one is. What one sees follows from the role alone.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime

from api.errors import Refused
from store.people import ROLES, SCOPES
from store.sight import Eyes
from store.tables import Job

ALLOWED = {"read": "viewer", "write": "maintainer", "admin": "admin"}
"""The role as which a token may act at most, by its widest scope."""


@dataclass(frozen=True)
class Caller:
    """Who is asking, by which token, and for a browser the CSRF token of its session."""

    id: uuid.UUID
    name: str
    role: str
    scopes: tuple[str, ...] = SCOPES
    token: str = ""
    expires_at: datetime | None = None
    """When the token ends."""
    csrf: str | None = None

    @property
    def eyes(self) -> Eyes:
        """With which rows are read."""
        return Eyes(self.id, everything=self.role == "admin")

    @property
    def acts_as(self) -> str:
        """The role as which the token may act."""
        widest = max(self.scopes, key=SCOPES.index, default="read")
        return min(self.role, ALLOWED[widest], key=ROLES.index)

    def at_least(self, role: str) -> bool:
        """Whether the caller may act as that."""
        return ROLES.index(self.acts_as) >= ROLES.index(role)


def demand(who: Caller, role: str) -> None:
    """Refuse a caller who may not act as that."""
    if not who.at_least(role):
        scoped = "" if who.acts_as == who.role else f", and this token has the scope {', '.join(who.scopes)}"
        raise Refused(403, "forbidden", f"This takes the role {role}; you are {who.role}{scoped}.")


def may_change(who: Caller, job: Job) -> bool:
    """Whether the caller may change a job that they see: their own as a member, anybody's as a maintainer."""
    return who.at_least("member" if job.owner_id == who.id else "maintainer")


def demand_change(who: Caller, job: Job) -> None:
    """Refuse a caller who may look at a job, not change it."""
    demand(who, "member")
    if not may_change(who, job):
        raise Refused(403, "forbidden", "This job is somebody else's: its owner and maintainers may change it.")
