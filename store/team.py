"""The events of all jobs in one order, from any position of which a reader can go on and miss nothing.

Neither times nor numbers from a sequence are an order to go on in: what began earlier may be committed later, behind a
reader's back. So positions are given after the fact, by one hand at a time, to events that are committed: whatever is
placed later has a higher position, and a job's events keep their own order. Whoever reads places first; the
reaper places too, so that little is left to do for a reader.
"""

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from store.people import Project
from store.sight import Eyes, seen_by
from store.tables import Event, Job

LOCK = 0x5BA_221C9

PLACE = text(
    """
WITH placed AS MATERIALIZED (
    SELECT job_id, seq, nextval('events_position') AS position FROM (
        SELECT job_id, seq FROM (
            SELECT job_id, seq, max(created_at) OVER (PARTITION BY job_id ORDER BY seq) AS at
            FROM events WHERE position IS NULL
        ) AS e ORDER BY at, job_id, seq
    ) AS ordered
)
UPDATE events SET position = placed.position FROM placed
WHERE events.job_id = placed.job_id AND events.seq = placed.seq
"""
)
"""By time, but a job's events by their numbers; a number that a deleted job had is not given again."""


def place(session: Session, wait: bool = False) -> None:
    """Place the events that are committed and have no position; with `wait` when whoever is just doing so has committed.

    Without, nothing is done then: readers have what is placed, and at their next look the rest.
    """
    if wait:
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    elif not session.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": LOCK}).scalar():
        return
    session.execute(PLACE)


def newest(session: Session) -> int:
    """The last position that has been given; 0 before the first."""
    return session.execute(select(func.max(Event.position))).scalar() or 0


def read(session: Session, after: int, limit: int, eyes: Eyes) -> list[Event]:
    """The placed events behind a position, in order, of the jobs that these eyes see."""
    rows = select(Event).join(Job, Job.id == Event.job_id).join(Project, Project.id == Job.project_id)
    rows = rows.where(Event.position > after, seen_by(eyes))
    return list(session.scalars(rows.order_by(Event.position).limit(limit)))


def lag(session: Session) -> float:
    """For how many seconds the oldest event that has no position has waited for one."""
    waited = select(func.extract("epoch", func.now() - func.min(Event.created_at))).where(Event.position.is_(None))
    return float(session.execute(waited).scalar() or 0.0)
