"""The life of jobs against a model: whatever people, workers and stale attempts do in whatever order, the rows are what a few
lines of Python say they are.
"""

import uuid
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from core.errors import Reason
from made import queue
from store import attempts, dependencies, feed, jobs, tokens, workers
from store.database import Base, transaction
from store.settings import settings as service
from store.tables import ENDED, Attempt, Dependency, Event, Job, Slot, Worker

SLOTS = 2
PICK = st.integers(0, 10**6)
Key = tuple[uuid.UUID, int]


@dataclass
class Model:
    """What a job should be."""

    after: list[uuid.UUID]
    unmet: set[uuid.UUID]
    state: str = "queued"
    wish: str = "none"
    fence: int = 0
    deaths: int = 0
    losses: int = 0
    late: bool = False
    events: int = 1
    won: set[int] = field(default_factory=set)

    def move(self, state: str) -> None:
        self.state, self.wish = state, "none"
        self.events += 1

    def leave(self, state: str) -> None:
        """The attempt ends; what people wish comes first where the job would go on."""
        if self.wish == "cancel" and state in ("queued", "paused"):
            state = "cancelled"
        elif self.wish == "pause" and state == "queued":
            state = "paused"
        self.move(state)


class Life(RuleBasedStateMachine):
    """One worker with two slots, and people."""

    @initialize()
    def begin(self) -> None:
        tables = ", ".join(table.name for table in Base.metadata.sorted_tables)
        with transaction() as session:
            session.execute(text(f"TRUNCATE {tables} CASCADE"))
            self.owner = tokens.user_named(session, "ada")
            self.worker = workers.register(session, "host", 1, [workers.Device("cpu:0", "cpu", "x", 1, SLOTS)])
        self.jobs: dict[uuid.UUID, Model] = {}
        self.keys: list[Key] = []
        self.draining = False

    def some(self, pick: int) -> tuple[uuid.UUID, Model]:
        return list(self.jobs.items())[pick % len(self.jobs)]

    def attempt(self, pick: int) -> tuple[Key, Model | None, bool]:
        """An attempt, perhaps a stale one; its job, if it is not deleted; whether it may still write."""
        key = self.keys[-1 - pick % len(self.keys)]
        job = self.jobs.get(key[0])
        return key, job, bool(job and job.state == "running" and job.fence == key[1])

    def has_jobs(self) -> bool:
        return bool(self.jobs)

    def has_attempts(self) -> bool:
        return bool(self.keys)

    # ---- people

    @rule(picks=st.lists(PICK, max_size=2))
    def submit(self, picks: list[int]) -> None:
        on = list(dict.fromkeys(self.some(pick)[0] for pick in picks if self.jobs))
        with transaction() as session:
            job_id = queue(session, self.owner, after=[str(one) for one in on]).id
        self.jobs[job_id] = Model(on, {one for one in on if self.jobs[one].state != "succeeded"})

    @precondition(has_jobs)
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        job_id, job = self.some(pick)
        with transaction() as session:
            assert jobs.cancel(session, job_id) == (job.state not in ENDED)
        if job.state == "running":
            job.wish = "cancel"
        elif job.state not in ENDED:
            job.move("cancelled")

    @precondition(has_jobs)
    @rule(pick=PICK)
    def pause(self, pick: int) -> None:
        job_id, job = self.some(pick)
        can = job.state == "queued" or (job.state == "running" and job.wish != "cancel")
        with transaction() as session:
            assert jobs.pause(session, job_id) == can
        if job.state == "queued":
            job.move("paused")
        elif can:
            job.wish = "pause"

    @precondition(has_jobs)
    @rule(pick=PICK)
    def resume(self, pick: int) -> None:
        job_id, job = self.some(pick)
        can = job.state == "paused" or (job.state == "running" and job.wish == "pause")
        with transaction() as session:
            assert jobs.resume(session, job_id) == can
        if job.state == "paused":
            job.move("queued")
        elif can:
            job.wish = "none"

    @precondition(has_jobs)
    @rule(pick=PICK, phase=st.sampled_from([None, "train"]))
    def requeue(self, pick: int, phase: str | None) -> None:
        job_id, job = self.some(pick)
        can = job.state in (*ENDED, "paused") and not job.late
        assert self.possible(lambda session: jobs.requeue(session, job_id, phase)) == can
        if can:
            job.deaths = job.losses = 0
            job.move("queued")

    @precondition(has_jobs)
    @rule(pick=PICK)
    def delete(self, pick: int) -> None:
        job_id, job = self.some(pick)
        can = job.state != "running" and not any(job_id in other.unmet for other in self.jobs.values())
        assert self.possible(lambda session: jobs.delete(session, job_id)) == can
        if can:
            del self.jobs[job_id]

    def possible(self, change: Any) -> bool:
        try:
            with transaction() as session:
                change(session)
        except jobs.Impossible:
            return False
        return True

    @precondition(has_jobs)
    @rule(pick=PICK, late=st.booleans())
    def deadline(self, pick: int, late: bool) -> None:
        job_id, job = self.some(pick)
        with transaction() as session:
            when = func.now() - text("interval '1 hour'") if late else None
            session.execute(update(Job).where(Job.id == job_id).values(deadline=when))
        job.late = late

    # ---- the service

    @rule()
    def look_at_deadlines(self) -> None:
        with transaction() as session:
            found = {one for one in jobs.overdue(session) if jobs.miss(session, one)}
        assert found == {one for one, job in self.jobs.items() if job.late and job.state in ("queued", "paused")}
        for job_id in found:
            self.jobs[job_id].move("failed")

    @rule(draining=st.booleans())
    def drain(self, draining: bool) -> None:
        with transaction() as session:
            session.execute(update(Worker).values(draining=draining))
        self.draining = draining

    @rule()
    def claim(self) -> None:
        ready = {one for one, job in self.jobs.items() if job.state == "queued" and not job.unmet}
        room = SLOTS - sum(job.state == "running" for job in self.jobs.values())
        with transaction() as session:
            found = jobs.claim(session, self.worker)
        assert (found is not None) == (bool(ready) and room > 0 and not self.draining)
        if found:
            job = self.jobs[found.job_id]
            assert found.job_id in ready
            assert found.fence == job.fence + 1
            job.state, job.fence = "running", found.fence
            job.events += 1
            self.keys.append((found.job_id, found.fence))

    # ---- attempts, stale ones too

    @precondition(has_attempts)
    @rule(pick=PICK)
    def heartbeat(self, pick: int) -> None:
        key, job, mine = self.attempt(pick)
        with transaction() as session:
            said = jobs.heartbeat(session, *key)
        if not mine or job is None:
            assert said is None
        elif job.late and job.wish != "cancel":
            assert said == "deadline"
        else:
            assert said == ("drain" if job.wish == "none" and self.draining else job.wish)

    @precondition(has_attempts)
    @rule(pick=PICK)
    def checkpoint(self, pick: int) -> None:
        key, job, mine = self.attempt(pick)
        with transaction() as session:
            assert feed.append(session, key[0], [("noticed", {"text": "saved"})], key[1]) == mine
        if mine and job:
            job.events += 1

    @precondition(has_attempts)
    @rule(pick=PICK)
    def succeed(self, pick: int) -> None:
        key, job, mine = self.attempt(pick)
        with transaction() as session:
            assert jobs.succeed(session, *key) == mine
        if mine and job:
            assert key[1] not in job.won
            job.won.add(key[1])
            job.leave("succeeded")
            for other in self.jobs.values():
                other.unmet.discard(key[0])

    @precondition(has_attempts)
    @rule(pick=PICK, retry=st.booleans())
    def fail(self, pick: int, retry: bool) -> None:
        key, job, mine = self.attempt(pick)
        with transaction() as session:
            assert jobs.fail(session, *key, Reason.MACHINE, "x", retry) == mine
        if mine and job:
            job.deaths += 1
            job.leave("queued" if retry and job.deaths < service().max_attempts else "failed")

    @precondition(has_attempts)
    @rule(pick=PICK)
    def fill_the_disk(self, pick: int) -> None:
        key, job, mine = self.attempt(pick)
        with transaction() as session:
            assert jobs.halt(session, *key, Reason.DISK, "full") == mine
        if mine and job:
            job.leave("paused")

    @precondition(has_attempts)
    @rule(pick=PICK, asked=st.sampled_from(["pause", "cancel", "drain", "deadline"]))
    def release(self, pick: int, asked: str) -> None:
        key, job, mine = self.attempt(pick)
        with transaction() as session:
            assert jobs.release(session, *key, asked) == mine
        if mine and job:
            job.leave("failed" if job.late and job.wish != "cancel" else "queued")

    @precondition(has_attempts)
    @rule(pick=PICK, silent=st.booleans())
    def lose(self, pick: int, silent: bool) -> None:
        key, job, mine = self.attempt(pick)
        with transaction() as session:
            if silent and mine:
                session.execute(update(Job).where(Job.id == key[0]).values(lease_until=text("now() - interval '1s'")))
            assert jobs.lose(session, *key) == (mine and silent)
        if mine and silent and job:
            job.losses += 1
            job.leave("queued" if job.losses < service().max_losses else "failed")

    # ---- what always holds

    @invariant()
    def the_rows_are_what_the_model_says(self) -> None:
        with transaction() as session:
            self.compare_jobs(session)
            self.compare_slots(session)

    def compare_jobs(self, session: Session) -> None:
        rows = {job.id: job for job in session.scalars(select(Job))}
        assert rows.keys() == self.jobs.keys(), "nothing is lost, and what is deleted is gone"
        counted = dict(session.execute(select(Event.job_id, func.count()).group_by(Event.job_id)).tuples().all())
        for job_id, job in self.jobs.items():
            row = rows[job_id]
            for name in ("state", "wish", "fence", "deaths", "losses"):
                assert getattr(row, name) == getattr(job, name), name
            assert row.blockers == len(job.unmet)
            assert (row.lease_until is not None) == (job.state == "running")
            assert (row.ended_at is not None) == (job.state in ENDED)
            assert row.last_seq == counted[job_id] == job.events
            done = [
                one for one in session.scalars(select(Attempt).where(Attempt.job_id == job_id)) if one.outcome == "done"
            ]
            assert {one.fence for one in done} == job.won
            waiting = {one for one, other in self.jobs.items() if job_id in other.unmet}
            assert set(dependencies.waiting_for(session, job_id)) == waiting
            assert (job.state == "queued" and bool(job.unmet)) <= ("It waits for" in (row.message or ""))
        unmet = session.scalar(select(func.count()).select_from(Dependency).where(~Dependency.met))
        assert unmet == sum(len(job.unmet) for job in self.jobs.values())

    def compare_slots(self, session: Session) -> None:
        held = sorted((one.job_id, one.fence) for one in session.scalars(select(Slot)) if one.job_id)
        assert held == sorted((one, job.fence) for one, job in self.jobs.items() if job.state == "running")
        for key in self.keys:
            job = self.jobs.get(key[0])
            running = bool(job and job.state == "running" and job.fence == key[1])
            assert (attempts.outcome(session, *key) is None) == (running or job is None)


def test_whatever_happens_to_jobs_they_are_where_the_model_says(servers) -> None:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    how = settings(max_examples=15, stateful_step_count=40, deadline=None, suppress_health_check=checks, database=None)
    run_state_machine_as_test(Life, settings=how)
