"""What makes deliveries, for whom, and how they come to their end."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import event, func, select, update
from sqlalchemy.orm import Session

from core.errors import Reason
from made import ALL, queue
from store import jobs, projects, tokens, users, webhooks
from store.database import transaction
from store.people import TELLS, Delivery, User, Webhook

URL = "https://receiver.example.org/"


def hook(
    session: Session, owner: uuid.UUID, project: str | None = "default", events: tuple[str, ...] = TELLS
) -> Webhook:
    if project:
        projects.add(session, project, "team", ())
    return webhooks.add(session, owner, projects.named(session, ALL, project) if project else None, URL, events)


def noted(session: Session) -> list[tuple[str, str | None]]:
    """Event and reason of every delivery, oldest first."""
    session.flush()
    return [(one.event, one.about.get("reason")) for one in session.scalars(select(Delivery).order_by(Delivery.id))]


def running(session: Session, owner: uuid.UUID, worker: uuid.UUID) -> tuple[uuid.UUID, int]:
    queue(session, owner)
    claimed = jobs.claim(session, worker)
    return claimed.job_id, claimed.fence


def later(session: Session, **span: float) -> None:
    """As if so much time had gone by for what waits."""
    moved = Delivery.next_try - timedelta(**span)
    session.execute(update(Delivery).where(Delivery.state == "waiting").values(next_try=moved))
    session.expire_all()


# ---- what is noted


def test_each_end_and_each_pause_by_the_service_makes_one_delivery_and_nothing_else_does(database, ada, worker) -> None:
    hook(database, ada)
    jobs.succeed(database, *running(database, ada, worker))
    jobs.fail(database, *running(database, ada, worker), Reason.DIVERGED, "it diverged", retry=False)
    jobs.halt(database, *running(database, ada, worker), Reason.DISK, "the disk is full")
    jobs.cancel(database, queue(database, ada).id)
    expected = [("job.succeeded", None), ("job.failed", "diverged"), ("job.paused", "disk"), ("job.cancelled", "user")]
    assert noted(database) == expected
    by_user = queue(database, ada)
    jobs.pause(database, by_user.id)
    jobs.resume(database, by_user.id)
    jobs.pause(database, by_user.id)
    jobs.fail(database, *running(database, ada, worker), Reason.MACHINE, "once more", retry=True)
    assert noted(database) == expected


def test_an_attempt_that_has_lost_its_job_tells_nobody(database, ada, worker) -> None:
    hook(database, ada)
    job_id, fence = running(database, ada, worker)
    assert not jobs.succeed(database, job_id, fence + 1)
    assert noted(database) == []


def test_a_delivery_is_committed_with_its_event_or_not_at_all(database, ada) -> None:
    hook(database, ada)
    job = queue(database, ada)
    database.commit()
    jobs.cancel(database, job.id)
    assert len(noted(database)) == 1
    database.rollback()
    assert noted(database) == []
    jobs.cancel(database, job.id)
    database.commit()
    jobs.delete(database, job.id)
    database.commit()
    (one,) = database.scalars(select(Delivery))
    assert (one.about["id"], one.about["state"]) == (str(job.id), "cancelled"), "it outlives its job"


def test_a_job_ends_as_it_should_while_its_webhook_is_being_removed(database, ada) -> None:
    removed, job_id = hook(database, ada), queue(database, ada).id
    database.commit()
    webhooks.remove(database, removed)
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(cancelled, job_id)
        with pytest.raises(TimeoutError):
            ended.result(0.5)
        database.commit()
        assert ended.result(10)
    assert noted(database) == []


def cancelled(job_id: uuid.UUID) -> bool:
    with transaction() as session:
        return bool(jobs.cancel(session, job_id))


def test_a_webhook_is_told_of_its_project_and_of_the_events_that_it_wants_while_it_is_active(database, ada) -> None:
    mine, all_, failed, off = (
        hook(database, ada), hook(database, ada, None), hook(database, ada, events=("job.failed",)), hook(database, ada)
    )  # fmt: skip
    webhooks.change(database, off, ada, active=False)
    for project in ("default", "other"):
        jobs.cancel(database, queue(database, ada, project=project).id)
    database.flush()
    found = database.execute(select(Delivery.webhook_id, Delivery.about["project"].astext)).tuples().all()
    assert sorted(found, key=str) == sorted([(mine.id, "default"), (all_.id, "default"), (all_.id, "other")], key=str)
    assert failed.id not in dict(found)


def test_no_owner_is_told_of_a_project_that_they_do_not_see(database, ada, bob) -> None:
    projects.add(database, "secret", "private", (bob,))
    database.flush()
    team, inside = hook(database, ada, None), hook(database, bob, "secret")
    root = hook(database, tokens.user_named(database, "root", "admin"), None)
    jobs.cancel(database, queue(database, bob, project="secret").id)
    database.flush()
    assert set(database.scalars(select(Delivery.webhook_id))) == {inside.id, root.id}
    assert team.id not in {inside.id, root.id}


@pytest.mark.parametrize("how", ["left", "disabled"])
def test_what_waits_for_an_owner_who_may_not_know_any_more_is_never_sent(database, ada, bob, how: str) -> None:
    projects.add(database, "secret", "private", (bob,))
    database.flush()
    hook(database, bob, "secret")
    jobs.cancel(database, queue(database, bob, project="secret").id)
    database.flush()
    if how == "left":
        projects.change(database, projects.named(database, ALL, "secret"), "private", (ada,))
    else:
        users.change(database, database.get_one(User, bob), "member", disabled=True)
    assert webhooks.due(database) == []
    (one,) = database.scalars(select(Delivery))
    assert (one.state, one.attempts, one.error) == ("failed", 0, webhooks.UNSEEN)
    jobs.cancel(database, queue(database, bob, project="secret").id)
    assert len(noted(database)) == 1, "and nothing new is noted"


def test_a_project_that_is_removed_takes_its_webhooks_along(database, ada) -> None:
    webhooks.test(database, hook(database, ada, "empty"))
    assert projects.remove(database, projects.named(database, ALL, "empty"))
    assert database.execute(select(func.count()).select_from(Delivery)).scalar() == 0


# ---- how a delivery goes on


def test_a_delivery_is_given_to_one_sender_and_to_another_when_that_one_is_silent(database, ada) -> None:
    made = webhooks.test(database, hook(database, ada))
    (first,) = webhooks.due(database)
    assert (first.id, first.attempt) == (made.id, 1)
    assert "whs_" not in repr(first)
    later(database, seconds=59)
    assert webhooks.due(database) == []
    later(database, seconds=2)
    (second,) = webhooks.due(database)
    assert (second.id, second.attempt) == (made.id, 2)
    webhooks.settle(database, first, 500, "answered 500")
    database.refresh(made)
    assert (made.state, made.status) == ("waiting", None), "what the first learns is late"
    webhooks.settle(database, second, 204, None)
    database.refresh(made)
    assert (made.state, made.status, made.next_try) == ("delivered", 204, None)


def test_of_senders_that_look_at_once_each_delivery_has_one(database, ada) -> None:
    for _ in range(10):
        one = hook(database, ada, None)
        for _ in range(8):
            webhooks.test(database, one)
    database.commit()
    together = threading.Barrier(4)

    def look() -> list[uuid.UUID]:
        together.wait()
        with transaction() as session:
            return [due.id for due in webhooks.due(session)]

    with ThreadPoolExecutor(4) as pool:
        found = [one for looked in [pool.submit(look) for _ in range(4)] for one in looked.result()]
    assert len(found) == len(set(found)) == 80


def test_what_is_not_taken_is_tried_again_after_growing_pauses_and_then_has_failed(database, ada) -> None:
    made = webhooks.test(database, hook(database, ada))
    for pause in (10, 60, 600, 3600, 21_600):
        (one,) = webhooks.due(database)
        webhooks.settle(database, one, 503, "answered 503")
        database.flush()
        waits = database.execute(select(func.extract("epoch", Delivery.next_try - func.now()))).scalar()
        assert float(waits) == pytest.approx(pause)
        later(database, seconds=pause - 1)
        assert webhooks.due(database) == []
        later(database, seconds=2)
    (one,) = webhooks.due(database)
    webhooks.settle(database, one, None, "no answer within 10 s")
    database.refresh(made)
    assert (made.state, made.attempts, made.status) == ("failed", 6, None)
    later(database, days=30)
    assert webhooks.due(database) == []


def test_a_delivery_is_sent_once_more_when_somebody_says_so_under_its_id(database, ada) -> None:
    one = hook(database, ada)
    made = webhooks.test(database, one)
    assert not webhooks.redeliver(database, made), "it waits"
    for _ in range(6):
        (due,) = webhooks.due(database)
        webhooks.settle(database, due, 500, "answered 500")
        later(database, days=1)
    assert webhooks.redeliver(database, webhooks.delivery(database, one, made.id))
    (again,) = webhooks.due(database)
    assert (again.id, again.attempt) == (made.id, 7)
    webhooks.settle(database, again, 500, "answered 500")
    database.refresh(made)
    assert made.state == "failed", "it had no tries left"


def test_no_webhook_waits_for_the_receivers_of_another(database, ada) -> None:
    busy, quiet = hook(database, ada), hook(database, ada)
    for _ in range(webhooks.AT_ONCE * 2):
        webhooks.test(database, busy)
    last = webhooks.test(database, quiet)
    found = [one.id for one in webhooks.due(database)]
    assert last.id in found
    assert len(found) == webhooks.EACH + 1


def test_what_waits_for_a_webhook_that_is_switched_off_goes_when_it_is_on_again(database, ada) -> None:
    one = hook(database, ada)
    webhooks.test(database, one)
    webhooks.change(database, one, ada, active=False)
    assert webhooks.due(database) == []
    webhooks.change(database, one, ada, active=True)
    assert len(webhooks.due(database)) == 1


def test_the_end_of_a_job_costs_one_statement_more_where_there_is_no_webhook(database, ada) -> None:
    job, told = queue(database, ada), []
    database.commit()

    def listen(*about: object) -> None:
        told.append(str(about[2]))

    event.listen(database.get_bind(), "before_cursor_execute", listen)
    jobs.cancel(database, job.id)
    event.remove(database.get_bind(), "before_cursor_execute", listen)
    assert len([one for one in told if "webhooks" in one or "deliveries" in one]) == 1
    assert len(told) > 1
