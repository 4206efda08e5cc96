"""The wire shapes of people and of what they share: users, projects, tokens, the log of who did what."""

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from api.schemas import Printable, Wire
from store.people import SCOPES, Action, Project, Token, User

Role = Literal["viewer", "member", "maintainer", "admin"]
Scope = Literal["read", "write", "admin"]
Visibility = Literal["team", "private"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Names = Annotated[list[Annotated[Printable, Field(max_length=100)]], Field(max_length=200)]


class Asked(Wire):
    """The base of what is sent: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class UserOut(Wire):
    """A user."""

    id: uuid.UUID
    name: str
    role: Role
    disabled_at: datetime | None
    """Since when none of their tokens and sessions is valid."""
    created_at: datetime

    @classmethod
    def of(cls, user: User) -> "UserOut":
        """The shape of a row."""
        return cls(**{field: getattr(user, field) for field in cls.model_fields})


class UserPage(Wire):
    """Some users, by name."""

    items: list[UserOut]
    next_cursor: str | None


class NewUser(Asked):
    """A user to be. Their first token is made with `POST /tokens {user}`."""

    name: Name
    role: Role = "member"


class UserChange(Asked):
    """What is to be different; what is left out stays."""

    role: Role | None = None
    disabled: bool | None = None


class ProjectOut(Wire):
    """A project."""

    id: uuid.UUID
    name: str
    visibility: Visibility
    """`team`: all see it; `private`: its members and administrators."""
    members: list[str]
    jobs: int
    """Jobs numbered so far."""
    created_at: datetime

    @classmethod
    def of(cls, project: Project, members: list[str]) -> "ProjectOut":
        """The shape of a row."""
        same = cls.model_fields.keys() - {"members"}
        return cls(members=members, **{field: getattr(project, field) for field in same})


class ProjectPage(Wire):
    """Some projects, by name."""

    items: list[ProjectOut]
    next_cursor: str | None


class NewProject(Asked):
    """A project to be. Who makes a private one is a member."""

    name: Name
    visibility: Visibility = "team"
    members: Names = Field(default_factory=list)


class ProjectChange(Asked):
    """What is to be different; what is left out stays.

    A project that becomes private without `members` gets those who have jobs in it, and who changes it.
    """

    visibility: Visibility | None = None
    members: Names | None = None
    """All of them, by name."""


class NewToken(Asked):
    """What a token is to be: never more, nor for longer, than the token that asks for it."""

    name: Annotated[Printable, Field(min_length=1, max_length=100)]
    days: Annotated[float, Field(ge=0.001, le=3650)] | None = None
    """How long it is valid; as long as the token that asks if left out."""
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(SCOPES))] | None = None
    """What it may be used for, within the user's role: each scope holds those before it (read, write, admin). Those of the
    token that asks if left out."""
    user: Annotated[Printable, Field(max_length=100)] | None = None
    """Whose it is to be: the caller's if left out, somebody else's for administrators."""


class Rotation(Asked):
    """How a token is to be replaced."""

    overlap_hours: Annotated[float, Field(ge=0, le=24 * 30)] = 24
    """How long the old one is still valid."""


class TokenOut(Wire):
    """A token; the secret is in `token`, once, where it has just been made."""

    id: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    token: str | None = None

    @classmethod
    def of(cls, token: Token, secret: str | None = None) -> "TokenOut":
        """The shape of a row."""
        same = cls.model_fields.keys() - {"token"}
        return cls(token=secret, **{field: getattr(token, field) for field in same})


class Tokens(Wire):
    """The tokens of a user that are valid, oldest first."""

    items: list[TokenOut]


class ActionOut(Wire):
    """Who did what."""

    id: int
    at: datetime
    actor: str
    """The user's name, as it was then."""
    verb: str
    kind: str
    object: str
    """Its id or name."""
    about: dict[str, Any]
    """What was changed, to what."""

    @classmethod
    def of(cls, action: Action) -> "ActionOut":
        """The shape of a row."""
        return cls(**{field: getattr(action, field) for field in cls.model_fields})


class ActionPage(Wire):
    """Some actions, newest first."""

    items: list[ActionOut]
    next_cursor: str | None
