"""Webhooks: made (the secret is shown once), listed, changed, tried, removed; their deliveries, looked at and sent again.

For maintainers who see the project; those that tell of all projects are for administrators.
"""

import uuid
from typing import Annotated

import httpx
from fastapi import APIRouter, Depends, Query, Response
from sqlalchemy.orm import Session

from api import etags
from api.dependencies import Database, Maintainer
from api.errors import Refused, not_found
from api.etags import IfMatch
from api.permissions import Caller, demand
from api.schemas import Printable
from api.webhook_schemas import (
    DeliveryOut,
    DeliveryPage,
    DeliveryState,
    NewWebhook,
    WebhookChange,
    WebhookOut,
    WebhookPage,
)
from store import actions, projects, webhooks
from store.people import Delivery, Webhook
from store.settings import settings

router = APIRouter(prefix="/webhooks", tags=["identity"])
Limit = Annotated[int, Query(ge=1, le=200)]
MOST = 20
"""Webhooks of a project, and of the team: each is a row more in the transaction that ends a job."""


def keeper(who: Maintainer) -> Caller:
    """A maintainer, where webhooks are switched on."""
    if not settings().webhooks:
        detail = "Webhooks are off. Who runs the service turns them on: start the api with SPARRING_WEBHOOKS=on."
        raise Refused(409, "webhooks_off", detail)
    return who


Keeper = Annotated[Caller, Depends(keeper)]


@router.post("", status_code=201)
def add(asked: NewWebhook, who: Keeper, session: Database) -> WebhookOut:
    """A new webhook; `secret` is never shown again, so that a request that is sent again makes another one."""
    if asked.project is None:
        demand(who, "admin")
    project = projects.named(session, who.eyes, asked.project) if asked.project is not None else None
    if asked.project is not None and project is None:
        raise not_found("project", asked.project[:80])
    if webhooks.count(session, project) >= MOST:
        raise Refused(409, "too_many", f"There are {MOST} webhooks already; remove one first.")
    made = webhooks.add(session, who.id, project, asked.url, sorted(set(asked.events)))
    _note(session, who, "add", made, project=asked.project, host=_host(made), events=made.events)
    return WebhookOut.of(made, asked.project, who.name, made.secret)


@router.get("")
def find(
    who: Keeper,
    session: Database,
    project: Annotated[Printable, Query(max_length=100)] | None = None,
    limit: Limit = 50,
    cursor: uuid.UUID | None = None,
) -> WebhookPage:
    """The webhooks of projects that the caller sees, or of one, oldest first."""
    rows = webhooks.page(session, who.eyes, limit + 1, cursor, project, team=who.at_least("admin"))
    following = str(rows[limit - 1][0].id) if len(rows) > limit else None
    return WebhookPage(items=[WebhookOut.of(*row) for row in rows[:limit]], next_cursor=following)


@router.get("/{webhook_id}")
def show(webhook_id: uuid.UUID, who: Keeper, session: Database, response: Response) -> WebhookOut:
    """A webhook."""
    webhook, project, owner = _found(session, who, webhook_id)
    etags.tag(response, webhook.version)
    return WebhookOut.of(webhook, project, owner)


@router.patch("/{webhook_id}")
def change(
    webhook_id: uuid.UUID,
    asked: WebhookChange,
    who: Keeper,
    session: Database,
    response: Response,
    if_match: IfMatch = None,
) -> WebhookOut:
    """Change where a webhook goes, what it tells of, whether it does; it tells of what the caller sees from then on."""
    webhook, project, _ = _found(session, who, webhook_id, lock=True)
    etags.check(if_match, webhook.version)
    values = asked.model_dump(exclude_none=True)
    webhooks.change(session, webhook, who.id, **values)
    told = {name: value for name, value in values.items() if name != "url"}
    _note(session, who, "change", webhook, host=_host(webhook), **told)
    etags.tag(response, webhook.version)
    return WebhookOut.of(webhook, project, who.name)


@router.delete("/{webhook_id}", status_code=204)
def remove(webhook_id: uuid.UUID, who: Keeper, session: Database) -> None:
    """Remove a webhook; what waits for it is not sent any more."""
    webhook, project, _ = _found(session, who, webhook_id, lock=True)
    webhooks.remove(session, webhook)
    _note(session, who, "remove", webhook, project=project, host=_host(webhook))


@router.post("/{webhook_id}/test", status_code=201)
def test(webhook_id: uuid.UUID, who: Keeper, session: Database) -> DeliveryOut:
    """Have an event `test` sent, without a job; look at the delivery to see what became of it."""
    webhook, _, _ = _found(session, who, webhook_id)
    made = webhooks.test(session, webhook)
    _note(session, who, "test", webhook, delivery=str(made.id))
    return DeliveryOut.of(made)


@router.get("/{webhook_id}/deliveries")
def deliveries(
    webhook_id: uuid.UUID,
    who: Keeper,
    session: Database,
    state: DeliveryState | None = None,
    limit: Limit = 50,
    cursor: uuid.UUID | None = None,
) -> DeliveryPage:
    """A webhook's deliveries, newest first."""
    webhook, _, _ = _found(session, who, webhook_id)
    rows = webhooks.deliveries(session, webhook, limit + 1, cursor, state)
    following = str(rows[limit - 1].id) if len(rows) > limit else None
    return DeliveryPage(items=[DeliveryOut.of(one) for one in rows[:limit]], next_cursor=following)


@router.post("/{webhook_id}/deliveries/{delivery_id}/redeliver")
def redeliver(webhook_id: uuid.UUID, delivery_id: uuid.UUID, who: Keeper, session: Database) -> DeliveryOut:
    """Send a delivery once more, under the same id; then again as often as it has tries left."""
    webhook, _, _ = _found(session, who, webhook_id)
    found: Delivery | None = webhooks.delivery(session, webhook, delivery_id)
    if found is None:
        raise not_found("delivery", delivery_id)
    if not webhooks.redeliver(session, found):
        raise Refused(409, "waiting", f"The delivery waits to be sent anyway, next at {found.next_try}.")
    _note(session, who, "redeliver", webhook, delivery=str(delivery_id))
    return DeliveryOut.of(found)


def _found(session: Session, who: Caller, webhook_id: uuid.UUID, lock: bool = False) -> tuple[Webhook, str | None, str]:
    """The webhook, for this caller: the only way by which a route gets one."""
    found = webhooks.find(session, who.eyes, webhook_id, lock)
    if found is None:
        raise not_found("webhook", webhook_id)
    if found[0].project_id is None:
        demand(who, "admin")
    return found


def _host(webhook: Webhook) -> str:
    """Of its address what may be told: the rest may hold a receiver's key."""
    return httpx.URL(webhook.url).host


def _note(session: Session, who: Caller, verb: str, webhook: Webhook, **about: object) -> None:
    actions.note(session, who.name, verb, "webhook", webhook.id, **about)
