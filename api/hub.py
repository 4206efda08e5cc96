"""Wakes the streams whose jobs have news: one thread a process listens for doorbells and fans out.

Once a second it also looks by itself, with one query for all jobs that anyone watches, so that a lost doorbell costs a
second and nothing else.
"""

import asyncio
import logging
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import redis
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from store import feed, team
from store.database import transaction
from store.tables import Job

log = logging.getLogger(__name__)
LOOK_EVERY = 1.0
TEAM = uuid.UUID(int=0)
"""Watched by those who want the news of all jobs; no job has this id."""


class Hub(threading.Thread):
    """The reader thread and its subscribers."""

    def __init__(self) -> None:
        super().__init__(name="hub", daemon=True)
        self.stopped = threading.Event()
        self.lock = threading.Lock()
        self.watchers: dict[uuid.UUID, set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = defaultdict(set)
        self.known: dict[uuid.UUID, tuple[Any, ...]] = {}

    @contextmanager
    def watching(self, job_id: uuid.UUID) -> Iterator[asyncio.Event]:
        """An event that is set whenever the job may have news; of all jobs, `TEAM`."""
        watcher = (asyncio.get_running_loop(), asyncio.Event())
        with self.lock:
            self.watchers[job_id].add(watcher)
        try:
            yield watcher[1]
        finally:
            with self.lock:
                self.watchers[job_id].discard(watcher)
                if not self.watchers[job_id]:
                    del self.watchers[job_id]
                    self.known.pop(job_id, None)

    def run(self) -> None:
        """Listen and look, until stopped."""
        looked = 0.0
        while not self.stopped.is_set():
            for job_id in self._heard():
                self._wake(job_id)
                self._wake(TEAM)
            if time.monotonic() - looked >= LOOK_EVERY:
                looked = time.monotonic()
                self._look()

    _pubsub: Any = None

    def _heard(self) -> list[uuid.UUID]:
        """The jobs whose doorbell rang, waiting for up to a second."""
        try:
            if self._pubsub is None:
                broker: Any = feed.connection()
                self._pubsub = broker.pubsub(ignore_subscribe_messages=True)
                self._pubsub.subscribe(feed.CHANNEL)
            message = self._pubsub.get_message(timeout=LOOK_EVERY)
            return [uuid.UUID(bytes.decode(message["data"]))] if message else []
        except (redis.RedisError, ValueError) as error:
            log.warning("no doorbells: %s", error)
            self._pubsub = None
            self.stopped.wait(LOOK_EVERY)
            return []

    def _look(self) -> None:
        """Wake the watchers of jobs that differ from what was known of them."""
        with self.lock:
            watched = list(self.watchers)
        if not watched:
            return
        try:
            with transaction() as session:
                rows = session.execute(select(Job.id, Job.last_seq, Job.progress).where(Job.id.in_(watched))).all()
                states = {job_id: tuple(state) for job_id, *state in rows}
                states |= self._team(session) if TEAM in watched else {}
        except SQLAlchemyError as error:
            log.warning("cannot look for news: %s", str(error).splitlines()[0])
            return
        for job_id, state in states.items():
            if self.known.get(job_id) != state:
                self.known[job_id] = state
                self._wake(job_id)

    def _team(self, session: Session) -> dict[uuid.UUID, tuple[Any, ...]]:
        team.place(session)
        return {TEAM: (team.newest(session),)}

    def _wake(self, job_id: uuid.UUID) -> None:
        with self.lock:
            watchers = list(self.watchers.get(job_id, ()))
        for loop, event in watchers:
            with suppress(RuntimeError):  # the loop has closed
                loop.call_soon_threadsafe(event.set)

    def stop(self) -> None:
        """End the thread."""
        self.stopped.set()
        self.join(timeout=5)
