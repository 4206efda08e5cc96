"""The tables of people and of what they share: users, tokens, sessions, projects, quotas, webhooks, the log of who did what."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from store.database import Base, one_of, uuid7

ROLES = ("viewer", "member", "maintainer", "admin")
SCOPES = ("read", "write", "admin")
VISIBILITIES = ("team", "private")
TELLS = ("job.succeeded", "job.failed", "job.cancelled", "job.paused")
"""What a webhook can be told of; `paused` is by the service, since something must be set right first."""
DELIVERY_STATES = ("waiting", "delivered", "failed")


class User(Base):
    """A person or a program that submits jobs."""

    __tablename__ = "users"
    __table_args__ = (one_of("role", ROLES),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    name: Mapped[str] = mapped_column(Text, unique=True)
    role: Mapped[str] = mapped_column(Text, default="member")
    usage: Mapped[float] = mapped_column(default=0.0, server_default="0")
    """Slot-seconds used, decayed to the time `usage_at` (store/schedule.py)."""
    usage_at: Mapped[datetime] = mapped_column(server_default=func.now())
    disabled_at: Mapped[datetime | None]
    """Since when none of their tokens is valid."""
    version: Mapped[int] = mapped_column(default=1, server_default="1")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Token(Base):
    """An API token: spr_<id>_<secret><crc>. The secret is not kept."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str] = mapped_column(Text)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{read,write,admin}")
    """What it may be used for, within the user's role."""
    secret_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class BrowserSession(Base):
    """A browser that has logged in with a token, and is out when the token is; of the cookie's value only a hash is kept."""

    __tablename__ = "sessions"

    cookie_sha256: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    token_id: Mapped[str] = mapped_column(ForeignKey("tokens.id"))
    csrf: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]


class Project(Base):
    """A name under which jobs are numbered; what is private is seen by its members and administrators alone."""

    __tablename__ = "projects"
    __table_args__ = (one_of("visibility", VISIBILITIES),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    name: Mapped[str] = mapped_column(Text, unique=True)
    jobs: Mapped[int] = mapped_column(default=0, server_default="0")
    """Jobs numbered so far."""
    visibility: Mapped[str] = mapped_column(Text, server_default="team")
    usage: Mapped[float] = mapped_column(default=0.0, server_default="0")
    """Slot-seconds used by its jobs, decayed to the time `usage_at`."""
    usage_at: Mapped[datetime] = mapped_column(server_default=func.now())
    version: Mapped[int] = mapped_column(default=1, server_default="1")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Member(Base):
    """A user who belongs to a project."""

    __tablename__ = "members"

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), primary_key=True, index=True)


class Quota(Base):
    """What a user or a project may have of the slots; who has none has a weight of 1 and no limits."""

    __tablename__ = "quotas"
    __table_args__ = (
        CheckConstraint("(user_id IS NULL) <> (project_id IS NULL)", name="subject"),
        CheckConstraint("weight > 0", name="weight"),
        CheckConstraint("guarantee >= 0 AND (maximum IS NULL OR maximum >= guarantee)", name="limits"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    user_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id"), unique=True)
    project_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), unique=True)
    guarantee: Mapped[int] = mapped_column(default=0, server_default="0")
    """Slots below which its jobs go before those of others."""
    weight: Mapped[float] = mapped_column(default=1.0, server_default="1")
    """Its share is in proportion to this."""
    maximum: Mapped[int | None]
    """Slots that it has at most at one time."""
    version: Mapped[int] = mapped_column(default=1, server_default="1")


class Webhook(Base):
    """An address that is told of what becomes of jobs: of a project's, or of all that its owner sees."""

    __tablename__ = "webhooks"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    owner_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    """With whose eyes it is told: who made or last changed it."""
    project_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    url: Mapped[str] = mapped_column(Text)
    secret: Mapped[str] = mapped_column(Text)
    """What deliveries are signed with; a hash of it could not sign."""
    events: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """Those of `TELLS` that are wanted."""
    active: Mapped[bool] = mapped_column(default=True, server_default="true")
    version: Mapped[int] = mapped_column(default=1, server_default="1")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Delivery(Base):
    """One event for one webhook, written with the event itself, and what has become of it."""

    __tablename__ = "deliveries"
    __table_args__ = (
        one_of("state", DELIVERY_STATES),
        CheckConstraint("(state = 'waiting') = (next_try IS NOT NULL)", name="next_try"),
        Index("ix_deliveries_due", "next_try", postgresql_where=text("state = 'waiting'")),
        Index("ix_deliveries_newest", "webhook_id", text("id DESC")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    webhook_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    project_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    """Whose job it tells of; none of a test."""
    event: Mapped[str] = mapped_column(Text)
    about: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """The job as it was then."""
    state: Mapped[str] = mapped_column(Text, default="waiting", server_default="waiting")
    attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    """Tries begun; what an earlier one learns is not written."""
    status: Mapped[int | None]
    """The receiver's last answer."""
    error: Mapped[str | None] = mapped_column(Text)
    """Why the last try did not do."""
    next_try: Mapped[datetime | None] = mapped_column(server_default=func.now())
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Action(Base):
    """Who did what to what: written with the change itself, never changed."""

    __tablename__ = "actions"
    __table_args__ = (Index("ix_actions_object", "kind", "object", text("id DESC")),)

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    actor: Mapped[str] = mapped_column(Text)
    """The user's name, as it was then."""
    verb: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    """job, project, user, token, quota, queue, worker, webhook"""
    object: Mapped[str] = mapped_column(Text)
    """Its id or name."""
    about: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What was changed, to what."""


class IdempotencyKey(Base):
    """A creating request that has been answered, so that it is answered the same again."""

    __tablename__ = "idempotency_keys"

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    request_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    answer: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
