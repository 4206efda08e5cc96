"""Watches over one attempt's process: signs of life for it, wishes to it, and an end to it. Never imports torch.

Every second: is the process alive, is a heartbeat due, has its time run out, has its run said nothing for too long (each event
touches a file)? The heartbeat renews the lease and reads the
wish. TERM asks the process to save and leave (status 75); after a grace its whole group is killed. When the lease is gone
the process has just recorded its own end, or the job belongs to someone else: then it is killed and nothing more is written.
A database that is away changes nothing for a while: the process goes on, and the first thing after is to ask whether the
job is still ours.
"""

import errno
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
from store import artifacts, attempts, jobs, records
from store.database import patiently, transaction
from store.estimate import seconds
from store.schedule import Claim
from store.settings import settings
from worker.devices import visible
from worker.processes import kill_group, start_time

DONE, FAILED, SAVED = 0, 70, 75
"""How an attempt's process ends: all done and recorded; an error, recorded; saved and left."""
PULSE = "pulse"
"""The file of an attempt's folder that is touched with every event of the run."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where nothing more can be written: the disk, a quota or the largest file is full."""
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
        self.killed = False
        self.pulse = 0.0
        self.began = self.tried = self.beaten = self.moved = time.monotonic()
        job = patiently(lambda session: jobs.find(session, claim.job_id))
        assert job, "a claimed job exists"
        self.limit = seconds(job.spec["resources"]["max_duration"])

    @property
    def key(self) -> tuple[uuid.UUID, int]:
        """The job and the fence, as the store asks for them."""
        return self.claim.job_id, self.claim.fence

    def run(self) -> None:
        """The attempt."""
        try:
            self.process = self._start()
        except OSError as error:
            self._give_up(error)
            return
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
                attempts.started(session, *self.key, self.process.pid, self.pid_started or 0)
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
        if now - self.began > self.limit:
            self._kill_for(Reason.DEADLINE)
        if self._silence(now) > settings().hung_seconds:
            self._kill_for(Reason.HUNG)
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
            self.moved = now  # a run that waits for the database does not hang
            return now - self.beaten < settings().silence_seconds
        self.beaten = now
        if wish is None:
            return False
        if wish != "none" and self.asked_at is None:
            self.wish, self.asked_at = wish, now
            self.process.send_signal(signal.SIGTERM)
        return True

    def _silence(self, now: float) -> float:
        """Seconds since the run's last event, by our own clock."""
        path = self.folder / PULSE
        if path.exists() and path.stat().st_mtime != self.pulse:
            self.pulse, self.moved = path.stat().st_mtime, now
        return now - self.moved

    def _kill_for(self, reason: Reason) -> None:
        if not self.killed_for:
            self.killed_for = reason
            self._kill()

    def _kill(self) -> None:
        self.killed = True
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
        if status == SAVED or (self.asked_at is not None and status < 0 and not self.killed_for):
            jobs.release(session, *self.key, self.wish)
        elif status not in (DONE, FAILED):
            reason, message, retry = self._death(status)
            jobs.fail(session, *self.key, reason, message, retry)
        else:
            jobs.fail(session, *self.key, Reason.INTERNAL, "It ended without a result; see its log.", retry=False)
        if attempts.outcome(session, *self.key) != "lost":
            self._keep_log(session)

    def _death(self, status: int) -> tuple[Reason, str, bool]:
        """Why the process ended that has not said so itself, and whether another try is worth while."""
        if self.killed_for == Reason.DEADLINE:
            return Reason.DEADLINE, f"It ran for longer than {self.limit} s, its max_duration.", False
        if self.killed_for == Reason.HUNG:
            return Reason.HUNG, f"It hung: its run said nothing for {settings().hung_seconds:g} s.", True
        if status == -signal.SIGKILL and not self.killed:
            return (
                Reason.HOST_OOM,
                "Its process was ended by SIGKILL, as the kernel does when the machine's memory is full.",
                True,
            )
        return Reason.MACHINE, _epitaph(status), True

    def _give_up(self, error: OSError) -> None:
        """End an attempt whose process could not even be started."""
        if error.errno in FULL:
            patiently(lambda session: jobs.halt(session, *self.key, Reason.DISK, full(error)))
        else:
            message = f"Its process could not be started: {error}."
            patiently(lambda session: jobs.fail(session, *self.key, Reason.MACHINE, message, retry=True))
        shutil.rmtree(self.folder, ignore_errors=True)

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


def full(error: OSError) -> str:
    """What people must do about a disk on which nothing more can be written."""
    where = f" ({error.filename})" if error.filename else ""
    return f"The disk is full{where}: {error.strerror}. Its last checkpoint is kept; make room, then resume it."


def _epitaph(status: int) -> str:
    if status < 0:
        return f"Its process was ended by {signal.Signals(-status).name}."
    return f"Its process ended with status {status}; see its log."
