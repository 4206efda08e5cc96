"""What the service's state is, as numbers for Prometheus, read from the database when somebody asks.

Counts of what has happened are rows too (attempts), so they survive restarts and are the same in every process.
"""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from store import team, workers
from store.people import DELIVERY_STATES, Delivery
from store.settings import settings
from store.tables import STATES, Attempt, Job, Slot, Worker

OUTCOMES = ("done", "failed", "left", "lost")


def read(session: Session) -> Iterator[Metric]:
    """All of them."""
    yield _jobs(session)
    yield _oldest(session)
    yield from _attempts(session)
    yield from _machines(session)
    yield _deliveries(session)
    yield GaugeMetricFamily(
        "sparring_event_lag_seconds", "How long the oldest event has waited for its position.", team.lag(session)
    )


def _deliveries(session: Session) -> Metric:
    found = dict(session.execute(select(Delivery.state, func.count()).group_by(Delivery.state)).tuples().all())
    metric = GaugeMetricFamily(
        "sparring_deliveries", "Deliveries of webhooks that are kept, by state.", labels=["state"]
    )
    for state in DELIVERY_STATES:
        metric.add_metric([state], found.get(state, 0))
    return metric


def _jobs(session: Session) -> Metric:
    found = dict(session.execute(select(Job.state, func.count()).group_by(Job.state)).tuples().all())
    metric = GaugeMetricFamily("sparring_jobs", "Jobs by state.", labels=["state"])
    for state in STATES:
        metric.add_metric([state], found.get(state, 0))
    return metric


def _oldest(session: Session) -> Metric:
    waiting = [Job.state == "queued", Job.blockers == 0]
    age = session.execute(select(func.extract("epoch", func.now() - func.min(Job.created_at))).where(*waiting)).scalar()
    about = "Age of the oldest job that waits for a slot; 0 if none does."
    return GaugeMetricFamily("sparring_queue_oldest_seconds", about, float(age or 0.0))


def _attempts(session: Session) -> Iterator[Metric]:
    rows = select(Attempt.outcome, func.count(), func.sum(Attempt.refused)).group_by(Attempt.outcome)
    found = {outcome: (count, refused) for outcome, count, refused in session.execute(rows)}
    yield CounterMetricFamily("sparring_claims", "Attempts started.", sum(count for count, _ in found.values()))
    ended = CounterMetricFamily("sparring_attempts", "Attempts ended, by outcome.", labels=["outcome"])
    for outcome in OUTCOMES:
        ended.add_metric([outcome], found.get(outcome, (0, 0))[0])
    yield ended
    lost, refused = found.get("lost", (0, 0))[0], sum(refused for _, refused in found.values())
    yield CounterMetricFamily("sparring_lease_losses", "Attempts whose lease ran out.", lost)
    yield CounterMetricFamily("sparring_stale_writes_refused", "Writes of attempts that had lost their job.", refused)


def _machines(session: Session) -> Iterator[Metric]:
    alive = workers.seen_within(settings().lease_seconds)
    count = session.execute(select(func.count()).where(alive).select_from(Worker)).scalar() or 0
    yield GaugeMetricFamily("sparring_workers", "Workers seen within a lease.", count)
    slots = GaugeMetricFamily("sparring_slots", "Slots of these workers.", labels=["kind", "state"])
    rows = select(Slot.kind, func.count(), func.count(Slot.job_id)).join(Worker, Worker.id == Slot.worker_id)
    for kind, offered, busy in session.execute(rows.where(alive).group_by(Slot.kind).order_by(Slot.kind)):
        slots.add_metric([kind, "busy"], busy)
        slots.add_metric([kind, "free"], offered - busy)
    yield slots
