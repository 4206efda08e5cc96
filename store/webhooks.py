"""Webhooks: whom to tell of what becomes of jobs, and what has become of each delivery.

A delivery is a row, written in the transaction of the event that it tells of: so none is lost, and none is of what never
was. Who sends first counts the try and puts the next one off by `LEASE`, in a transaction of its own: a sender that dies on
the way has its delivery sent again by another, under the same id. What is not taken is tried again after each of `PAUSES`.
"""

import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import any_, delete, func, literal, or_, select
from sqlalchemy.orm import Session

from core.errors import Reason
from store.people import TELLS, Delivery, Project, User, Webhook
from store.sight import Eyes, seen_by, sees
from store.tables import Job

PAUSES = tuple(timedelta(seconds=seconds) for seconds in (10, 60, 600, 3600, 6 * 3600))
"""After the first try, the second, ...; after one more it has failed."""
LEASE = timedelta(seconds=60)
"""Longer than a try takes."""
AT_ONCE, EACH = 100, 10
"""Deliveries that are sent at one time: of all webhooks, and of one; so none waits for a receiver of others longer than a try
takes."""
TEST = "test"
UNSEEN = "who answers for the webhook does not see the project any more"


@dataclass(frozen=True)
class Due:
    """A delivery to be tried, for the `attempt`-th time."""

    id: uuid.UUID
    attempt: int
    url: str
    secret: str = field(repr=False)
    event: str
    about: dict[str, Any]
    at: datetime


# ---- what people change


def add(session: Session, owner_id: uuid.UUID, project: Project | None, url: str, events: Sequence[str]) -> Webhook:
    """A new webhook, of a project or of the team; it is told of what happens from now on."""
    secret = f"whs_{secrets.token_hex(24)}"
    about = {"owner_id": owner_id, "project_id": project.id if project else None, "url": url, "secret": secret}
    webhook = Webhook(**about, events=list(events))
    session.add(webhook)
    session.flush()
    session.refresh(webhook)
    return webhook


def count(session: Session, project: Project | None) -> int:
    """How many webhooks a project has; without one, those of the team."""
    whose = Webhook.project_id == (project.id if project else None)
    return session.execute(select(func.count()).where(whose).select_from(Webhook)).scalar() or 0


def page(
    session: Session,
    eyes: Eyes,
    limit: int,
    after: uuid.UUID | None = None,
    project: str | None = None,
    team: bool = True,
) -> list[tuple[Webhook, str | None, str]]:
    """Webhooks of the projects that these eyes see, oldest first, with the names of project and owner; those of the team are
    for who sees everything, and asks for them."""
    wanted = [Webhook.id > after] if after is not None else []
    wanted += [] if team else [Webhook.project_id.is_not(None)]
    wanted += [Project.name == project] if project is not None else []
    rows = _named().where(seen_by(eyes), *wanted).order_by(Webhook.id).limit(limit)
    return [(webhook, name, owner) for webhook, name, owner in session.execute(rows)]


def find(
    session: Session, eyes: Eyes, webhook_id: uuid.UUID, lock: bool = False
) -> tuple[Webhook, str | None, str] | None:
    """A webhook, if these eyes see it, with the names of project and owner; with `lock` nobody else changes it meanwhile."""
    rows = _named().where(Webhook.id == webhook_id, seen_by(eyes)).execution_options(populate_existing=True)
    rows = rows.with_for_update(of=Webhook, key_share=True) if lock else rows
    return next(((webhook, name, owner) for webhook, name, owner in session.execute(rows)), None)


def _named() -> Any:
    rows = select(Webhook, Project.name, User.name).join(User, User.id == Webhook.owner_id)
    return rows.outerjoin(Project, Project.id == Webhook.project_id)


def change(session: Session, webhook: Webhook, owner_id: uuid.UUID, **values: Any) -> None:
    """Change url, events or active; who changes it answers for it from then on."""
    for name, value in values.items():
        setattr(webhook, name, value)
    webhook.owner_id, webhook.version = owner_id, webhook.version + 1
    session.flush()


def remove(session: Session, webhook: Webhook) -> None:
    """Remove a webhook with its deliveries."""
    session.execute(delete(Webhook).where(Webhook.id == webhook.id))


# ---- deliveries


def tell(session: Session, job_id: uuid.UUID, state: str, reason: Reason | None) -> None:
    """A job has come into this state: a delivery for each webhook that wants to know and whose owner may."""
    event = f"job.{state}"
    if event not in TELLS or reason == Reason.USER_PAUSED:
        return
    rows = select(Webhook.id, User, Job, Project).join(User, User.id == Webhook.owner_id).join(Job, Job.id == job_id)
    rows = rows.join(Project, Project.id == Job.project_id)
    whose = or_(Webhook.project_id.is_(None), Webhook.project_id == Project.id)
    rows = rows.where(Webhook.active, literal(event) == any_(Webhook.events), whose)
    held = rows.with_for_update(
        of=Webhook, read=True, key_share=True
    )  # one that is being removed is waited for, then not told
    for webhook_id, owner, job, project in session.execute(held).all():
        if _may_know(session, owner, project.id):
            told = {"id": str(job.id), "number": job.number, "name": job.name, "project": project.name}
            about = told | {"state": state, "reason": reason}
            session.add(Delivery(webhook_id=webhook_id, project_id=project.id, event=event, about=about))


def _may_know(session: Session, owner: User, project_id: uuid.UUID) -> bool:
    eyes = Eyes(owner.id, everything=owner.role == "admin")
    return owner.disabled_at is None and sees(session, eyes, project_id)


def test(session: Session, webhook: Webhook) -> Delivery:
    """A delivery that tells of nothing."""
    delivery = Delivery(webhook_id=webhook.id, event=TEST, about={})
    session.add(delivery)
    session.flush()
    session.refresh(delivery)
    return delivery


def deliveries(
    session: Session, webhook: Webhook, limit: int, before: uuid.UUID | None = None, state: str | None = None
) -> list[Delivery]:
    """Deliveries of a webhook, newest first."""
    wanted = [Delivery.id < before] if before is not None else []
    wanted += [Delivery.state == state] if state is not None else []
    rows = select(Delivery).where(Delivery.webhook_id == webhook.id, *wanted)
    return list(session.scalars(rows.order_by(Delivery.id.desc()).limit(limit)))


def delivery(session: Session, webhook: Webhook, delivery_id: uuid.UUID) -> Delivery | None:
    """A delivery of a webhook; nobody else changes it meanwhile."""
    rows = select(Delivery).where(Delivery.webhook_id == webhook.id, Delivery.id == delivery_id)
    return session.scalars(rows.with_for_update().execution_options(populate_existing=True)).one_or_none()


def redeliver(session: Session, found: Delivery) -> bool:
    """Send a delivery once more, under the same id; False if it waits for that anyway."""
    if found.state == "waiting":
        return False
    found.state, found.next_try = "waiting", func.now()
    session.flush()
    session.refresh(found)
    return True


# ---- sending


def due(session: Session) -> list[Due]:
    """The deliveries whose time has come, each given to one sender: to be committed before anything is sent."""
    ready = [Delivery.state == "waiting", Delivery.next_try <= func.now(), Webhook.active]
    turn = func.row_number().over(partition_by=Delivery.webhook_id, order_by=(Delivery.next_try, Delivery.id))
    queues = select(Delivery.id, turn.label("turn")).join(Webhook, Webhook.id == Delivery.webhook_id).where(*ready)
    queued = queues.subquery()
    chosen = select(queued.c.id).where(queued.c.turn <= EACH).order_by(queued.c.turn).limit(AT_ONCE)
    rows = select(Delivery, Webhook, User).join(Webhook, Webhook.id == Delivery.webhook_id)
    rows = rows.join(User, User.id == Webhook.owner_id).where(Delivery.id.in_(chosen), *ready).order_by(Delivery.id)
    taken = session.execute(rows.with_for_update(of=Delivery, skip_locked=True)).tuples().all()
    begun = [one for row in taken if (one := _begun(session, *row))]
    session.flush()
    return begun


def _begun(session: Session, row: Delivery, webhook: Webhook, owner: User) -> Due | None:
    """Count the try; None, and the end of the delivery, where the owner may not know any more."""
    if row.project_id and not _may_know(session, owner, row.project_id):
        row.state, row.next_try, row.error = "failed", None, UNSEEN
        return None
    row.attempts, row.next_try = row.attempts + 1, func.now() + LEASE
    return Due(row.id, row.attempts, webhook.url, webhook.secret, row.event, row.about, row.created_at)


def settle(session: Session, one: Due, status: int | None, error: str | None) -> None:
    """Write what became of a try, unless somebody has begun another: taken without an error, else to be tried again or failed."""
    mine = [Delivery.id == one.id, Delivery.attempts == one.attempt, Delivery.state == "waiting"]
    row = session.scalars(select(Delivery).where(*mine).with_for_update()).one_or_none()
    if row is None:
        return
    row.status, row.error = status, error
    again = error is not None and one.attempt <= len(PAUSES)
    row.state = "waiting" if again else "delivered" if error is None else "failed"
    row.next_try = func.now() + PAUSES[one.attempt - 1] if again else None
    session.flush()
