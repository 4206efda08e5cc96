"""Whose eyes rows are read with: what belongs to a private project is there for its members and for administrators alone.

Everything that lists or counts jobs, files of jobs or projects takes `Eyes` and adds `seen_by` to its conditions.
"""

import uuid
from dataclasses import dataclass

from sqlalchemy import ColumnElement, exists, or_, select, true
from sqlalchemy.orm import Session

from store.people import Member, Project


@dataclass(frozen=True)
class Eyes:
    """A user's; `everything` for an administrator."""

    user_id: uuid.UUID
    everything: bool = False


def seen_by(eyes: Eyes) -> ColumnElement[bool]:
    """The condition on a joined project that these eyes see it."""
    if eyes.everything:
        return true()
    theirs = select(Member.project_id).where(Member.user_id == eyes.user_id)
    return or_(Project.visibility == "team", Project.id.in_(theirs))


def sees(session: Session, eyes: Eyes, project_id: uuid.UUID) -> bool:
    """Whether these eyes see a project, and with it everything in it."""
    return bool(session.execute(select(exists().where(Project.id == project_id, seen_by(eyes)))).scalar())
