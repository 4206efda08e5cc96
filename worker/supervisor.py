"""Watches over one attempt's process: signs of life for it, wishes to it, and an end to it. Never imports torch.

Every second: is the process alive, is a heartbeat due, has its time run out? The heartbeat renews the lease and reads the
wish. TERM asks the process to save and leave (status 75); after a grace its whole group is killed. When the lease is gone
the process has just recorded its own end, or the job belongs to someone else: then it is killed and nothing more is written.
A database that is away changes nothing for a while: the process goes on, and the first thing after is to ask whether the
job is still ours.
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core.errors import Reason
from core.files import sha256
from store import artifacts, jobs, records
from store.database import patiently, transaction
from store.schedule import Claim
from store.settings import settings
from worker.devices import visible
from worker.processes import kill_group, start_time

DONE, FAILED, SAVED = 0, 70, 75
"""How an attempt's process ends: all done and recorded; an error, recorded; saved and left."""
LOG_BYTES = 1_000_000
PARTING_SECONDS = 5.0
"""Time that a process whose lease is gone has to end by itself: taking torch down takes some."""
log = logging.getLogger(__name__)


def folder(job_id: uuid.UUID, fence: int) -> Path:
    """Where an attempt works: no other attempt does, so each may remove its own."""
    return settings().work / f"{job_id}-{fence}"


class Supervisor:
    """One attempt, from its process's start to its end."""

    command: tuple[str, ...] = (sys.executable, "-m", "worker.attempt")

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.folder = folder(*self.key)
        self.wish = "none"
        self.asked_at: float | None = None
        self.killed_for: Reason | None = None
        self.began = self.tried = self.beaten = time.monotonic()
        job = patiently(lambda session: jobs.find(session, claim.job_id))
        assert job, "a claimed job exists"
        self.limit = _seconds(job.spec["resources"]["max_duration"])

    @property
    def key(self) -> tuple[uuid.UUID, int]:
        """The job and the fence, as the store asks for them."""
        return self.claim.job_id, self.claim.fence

    def run(self) -> None:
        """The attempt."""
        self.process = self._start()
        self.pid_started = start_time(self.process.pid)
        self._note_process()
        while (status := self._wait()) is None:
            if not self._tick():
                status = self._part()
                break
        if status is not None:
            self._settle(status)
        shutil.rmtree(self.folder, ignore_errors=True)  # what the job still needs is in the store

    def _start(self) -> "subprocess.Popen[bytes]":
        """A fresh interpreter in a session of its own; its output goes to a file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log_path = self.folder / f"attempt-{self.claim.fence}.log"
        environment = os.environ | {
            "SPARRING_JOB": str(self.claim.job_id),
            "SPARRING_FENCE": str(self.claim.fence),
            "SPARRING_SLOT": self.claim.slots,
            "SPARRING_PARENT": str(os.getpid()),
            "CUDA_VISIBLE_DEVICES": visible(self.claim.devices),
        }
        with self.log_path.open("wb") as output:
            return subprocess.Popen(  # noqa: S603 (the command is ours)
                self.command,
                start_new_session=True,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def _note_process(self) -> None:
        try:
            with transaction() as session:
                jobs.started(session, *self.key, self.process.pid, self.pid_started or 0)
        except SQLAlchemyError as error:
            log.warning("process %d is not noted: %s", self.process.pid, str(error).splitlines()[0])

    def _wait(self) -> int | None:
        try:
            return self.process.wait(min(1.0, settings().heartbeat_seconds))
        except subprocess.TimeoutExpired:
            return None

    def _tick(self) -> bool:
        """One look; False when the process must go at once and nothing may be written."""
        now = time.monotonic()
        if now - self.began > self.limit and not self.killed_for:
            self.killed_for = Reason.DEADLINE
            self._kill()
        if self.asked_at is not None and now - self.asked_at > settings().grace_seconds:
            self._kill()
        return self._beat(now) if now - self.tried >= settings().heartbeat_seconds else True

    def _beat(self, now: float) -> bool:
        """Renew the lease and obey the wish; False if the job is no longer ours, or nobody knows for too long."""
        self.tried = now
        try:
            with transaction() as session:
                wish = jobs.heartbeat(session, *self.key)
        except SQLAlchemyError as error:
            log.warning("no heartbeat: %s", str(error).splitlines()[0])
            return now - self.beaten < settings().silence_seconds
        self.beaten = now
        if wish is None:
            return False
        if wish != "none" and self.asked_at is None:
            self.wish, self.asked_at = wish, now
            self.process.send_signal(signal.SIGTERM)
        return True

    def _kill(self) -> None:
        kill_group(self.process.pid, self.pid_started)

    def _part(self) -> int | None:
        """Let a process whose lease is gone end by itself, and return its status; or else kill it."""
        try:
            return self.process.wait(PARTING_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill()
            self.process.wait()
            return None

    def _settle(self, status: int) -> None:
        """Record how the process ended, if it has not done so itself, and keep its log, if the attempt was not lost."""
        try:
            patiently(lambda session: self._record(session, status))
        except SQLAlchemyError as error:
            log.error("the end of %s is not recorded: %s", self.claim.job_id, str(error).splitlines()[0])

    def _record(self, session: Session, status: int) -> None:
        if status == SAVED or (self.asked_at is not None and status < 0):
            jobs.release(session, *self.key, self.wish)
        elif self.killed_for:
            jobs.fail(session, *self.key, self.killed_for, f"It ran for longer than {self.limit} s.", retry=False)
        elif status not in (DONE, FAILED):
            jobs.fail(session, *self.key, Reason.MACHINE, _epitaph(status), retry=True)
        else:
            jobs.fail(session, *self.key, Reason.INTERNAL, "It ended without a result; see its log.", retry=False)
        if jobs.outcome(session, *self.key) != "lost":
            self._keep_log(session)

    def _keep_log(self, session: Session) -> None:
        """Keep the end of the output as a file of the job; a disk that is full costs the log and no more."""
        data = self.log_path.read_bytes()[-LOG_BYTES:] if self.log_path.exists() else b""
        if not data:
            return
        copy = self.log_path.with_suffix(".kept")
        try:
            copy.write_bytes(data)
            digest = sha256(copy)
            artifacts.put(copy, digest)
        except OSError as error:
            log.warning("the log of %s is not kept: %s", self.claim.job_id, error)
            return
        records.artifact(session, self.claim.job_id, self.log_path.name, digest, len(data), {"kind": "log"})


def _epitaph(status: int) -> str:
    if status < 0:
        name = signal.Signals(-status).name
        hint = " (the kernel does that when memory runs out)" if -status == signal.SIGKILL else ""
        return f"Its process was ended by {name}{hint}."
    return f"Its process ended with status {status}; see its log."


def _seconds(duration: str) -> int:
    """As `core.spec.Resources.seconds`, which cannot be had without torch."""
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[duration[-1]]
