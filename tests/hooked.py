"""Webhooks made through the api, jobs that end, and time that goes by."""

import uuid
from datetime import timedelta
from typing import Any

from sqlalchemy import update

from made import queue
from receiver import HOST
from store import jobs, tokens
from store.database import transaction
from store.people import Delivery

KEY = "T0P53CR3T"
PATH = f"/hooks/{KEY}"


def made(api: Any, port: int = 443, **about: Any) -> dict[str, Any]:
    answer = api.post("/api/v1/webhooks", json={"url": f"https://{HOST}:{port}{PATH}"} | about)
    assert answer.status_code == 201, answer.text
    return answer.json()


def cancelled(**about: Any) -> uuid.UUID:
    """A job that has ended."""
    with transaction() as session:
        job_id = queue(session, tokens.user_named(session, "ada"), **about).id
        jobs.cancel(session, job_id)
    return job_id


def listed(api: Any, hook: dict[str, Any]) -> list[dict[str, Any]]:
    return api.get(f"/api/v1/webhooks/{hook['id']}/deliveries").json()["items"]


def time_goes_by(**span: float) -> None:
    with transaction() as session:
        waits = update(Delivery).where(Delivery.state == "waiting")
        session.execute(waits.values(next_try=Delivery.next_try - timedelta(**span)))


def as_user(name: str, role: str, **about: Any) -> dict[str, str]:
    with transaction() as session:
        return {
            "Authorization": f"Bearer {tokens.issue(session, tokens.user_named(session, name, role), 'x', **about)}"
        }
