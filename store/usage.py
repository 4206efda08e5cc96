"""Who has had how much of the slots: by user and by project."""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from store import schedule

HAD = """
SELECT {table}.id, {table}.name, coalesce(sum(greatest(j.gpus, 1) * extract(
    epoch FROM coalesce(a.ended_at, now()) - greatest(a.started_at, now() - make_interval(days => :days))))
    FILTER (WHERE a.job_id IS NOT NULL), 0)::float8 / 3600
FROM {table} LEFT JOIN jobs j ON j.{column} = {table}.id
LEFT JOIN attempts a ON a.job_id = j.id AND coalesce(a.ended_at, now()) > now() - make_interval(days => :days)
GROUP BY {table}.id, {table}.name ORDER BY {table}.name
"""
PARTIES = {"user": ("users", "owner_id"), "project": ("projects", "project_id")}


class Had(NamedTuple):
    """A user or a project: slot-hours of the last days, what counts of all when it is asked who is next, slots now."""

    kind: str
    name: str
    hours: float
    counted: float
    """Slot-hours, halved every day and divided by the weight."""
    running: int
    share: float
    """Its part of the hours of all users, or of all projects that are asked for."""


def by(session: Session, kind: str, days: int, names: Collection[str] | None = None) -> list[Had]:
    """The users, or the projects, with what they have had; with `names` as if there were no others."""
    table, column = PARTIES[kind]
    sql = text(HAD.format(table=table, column=column))
    rows = session.execute(sql, {"days": days}).tuples().all()
    rows = [row for row in rows if names is None or row[1] in names]
    parties, now = schedule.parties(session, [row[0] for row in rows]), schedule.clock(session).timestamp()
    total = sum(hours for _, _, hours in rows) or 1.0
    return [
        Had(kind, name, hours, party.used(now) / party.weight / 3600, party.running, hours / total)
        for one, name, hours in rows
        if (party := parties.get(one))  # else it was deleted just now
    ]
