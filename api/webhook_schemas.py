"""The wire shapes of webhooks and their deliveries."""

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field

from api.people_schemas import Asked
from api.receivers import checked
from api.schemas import Printable, Wire
from store.people import TELLS, Delivery, Webhook

Tells = Literal["job.succeeded", "job.failed", "job.cancelled", "job.paused"]
Events = Annotated[list[Tells], Field(min_length=1, max_length=len(TELLS))]
DeliveryState = Literal["waiting", "delivered", "failed"]
Url = Annotated[Printable, Field(max_length=2000), AfterValidator(checked)]


class NewWebhook(Asked):
    """A webhook to be."""

    url: Url
    """Where deliveries are sent: https, and outside of the network that the service is in."""
    project: Annotated[Printable, Field(max_length=100)] | None = None
    """Whose jobs it tells of; of all projects if left out, for administrators."""
    events: Events = Field(default_factory=lambda: list(get_args(Tells)))
    """What it tells of. `job.paused`: by the service, because something must be set right first."""


class WebhookChange(Asked):
    """What is to be different; what is left out stays. Who changes a webhook answers for it from then on."""

    url: Url | None = None
    events: Events | None = None
    active: bool | None = None
    """While it is not, nothing new is noted for it, and what waits is not sent."""


class WebhookOut(Wire):
    """A webhook; the secret is there once, where it has just been made."""

    id: uuid.UUID
    url: str
    project: str | None
    """None: it tells of all projects."""
    owner: str
    """It tells of what this user sees."""
    events: list[str]
    active: bool
    created_at: datetime
    secret: str | None = None

    @classmethod
    def of(cls, webhook: Webhook, project: str | None, owner: str, secret: str | None = None) -> "WebhookOut":
        """The shape of a row."""
        same = cls.model_fields.keys() - {"project", "owner", "secret"}
        named = {"project": project, "owner": owner, "secret": secret}
        return cls(**named, **{field: getattr(webhook, field) for field in same})


class WebhookPage(Wire):
    """Some webhooks, oldest first."""

    items: list[WebhookOut]
    next_cursor: str | None


class DeliveryOut(Wire):
    """What has become of an event for a webhook."""

    id: uuid.UUID
    """As in the header Sparring-Delivery, the same at each try."""
    event: str
    about: dict[str, Any]
    """The job, as it is told."""
    state: DeliveryState
    attempts: int
    """Tries begun."""
    status: int | None
    """The receiver's last answer."""
    error: str | None
    """Why the last try did not do."""
    next_try: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, delivery: Delivery) -> "DeliveryOut":
        """The shape of a row."""
        return cls(**{field: getattr(delivery, field) for field in cls.model_fields})


class DeliveryPage(Wire):
    """Some deliveries, newest first."""

    items: list[DeliveryOut]
    next_cursor: str | None
