"""The process of one attempt: `python -m worker.attempt`, started by the supervisor with the job and the fence in its
environment. Runs the science, records its events, and leaves with a status that says how.
"""

import contextlib
import fcntl
import logging
import os
import platform
import signal
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from sqlalchemy.orm import Session

from core.errors import CorruptCheckpoint, Reason, SparringError
from core.events import Event, Finished, Noticed, Phase
from core.run import Place, Resume, run
from core.spec import stored
from store import artifacts, attempts, backup, jobs, logs, lookup, records
from store.database import AWAY, patiently
from store.settings import settings
from store.tables import Checkpoint, Job
from worker.devices import threads
from worker.processes import die_with_parent
from worker.recorder import Fenced, Recorder
from worker.supervisor import DONE, FAILED, FULL, PULSE, SAVED, folder, full

log = logging.getLogger(__name__)


@dataclass
class Attempt:
    """One attempt of one job; its slots as `gpu:0/0,gpu:1/0`."""

    job_id: uuid.UUID
    fence: int
    slots: str
    asked: bool = field(default=False)

    def run(self) -> int:
        """Do the job; returns the status to leave with."""
        signal.signal(signal.SIGTERM, self._ask)
        job = patiently(lambda session: jobs.find(session, self.job_id))
        if job is None or (job.state, job.fence) != ("running", self.fence):
            return FAILED
        self.recorder = Recorder(self.job_id, self.fence, job.last_seq)
        try:
            with self._slots_to_ourselves():
                return self._run(job)
        except Fenced:
            return FAILED
        except SparringError as error:
            return self._fail(error.reason, str(error), error.retry)
        except AWAY:
            raise  # for too long: the process dies of it, which is worth another try
        except OSError as error:
            if error.errno in FULL:
                return self._halt(full(error))
            return self._fail(Reason.MACHINE, f"{type(error).__name__}: {error}", retry=True)
        except Exception as error:
            log.exception("an error of ours")
            return self._fail(Reason.INTERNAL, f"{type(error).__name__}: {error}", retry=False)

    def _run(self, job: Job) -> int:
        spec = stored(job.spec)
        torch.set_num_threads(threads())
        device = "cuda:0" if self.slots.startswith("gpu") else "cpu"
        place = Place(folder(self.job_id, self.fence), settings().data, device, artifacts.place)
        resume = self._resume(job, device)
        event: Event | None = None
        pulse = place.work / PULSE
        pulse.parent.mkdir(parents=True, exist_ok=True)
        pulse.touch()
        for event in run(spec, place, resume, self._stop):
            self.recorder.record(event)
            pulse.touch()
        if not isinstance(event, Finished):
            return SAVED
        patiently(lambda session: jobs.succeed(session, self.job_id, self.fence))
        return DONE

    def _resume(self, job: Job, device: str) -> Resume | None:
        """The newest sound checkpoint; says so where it is not the newest, or where exactness ends with another machine."""
        machine = _machine(device)
        saved, before = patiently(lambda session: self._history(session, machine))
        for one in saved:
            again = cast(Phase, job.from_phase) if job.from_phase and one.fence <= job.from_fence else None
            if again and one.phase == "train":
                continue  # who asked to begin behind training asked that nothing be trained
            if artifacts.sound(one.sha256, self.job_id):
                if before and before[-1] != machine:
                    self.recorder.record(Noticed(text=f"not bit-exact: resumed on {machine} after {before[-1]}"))
                return Resume(artifacts.place(one.sha256, self.job_id), one.sha256, again)
            self.recorder.record(
                Noticed(text=f"the checkpoint of epoch {one.epoch} is damaged; going back to the one before")
            )
        if job.from_phase:
            raise CorruptCheckpoint(f"behind training, from which {job.from_phase} is to begin", "no sound one is left")
        if saved and not any(artifacts.place(one.sha256, self.job_id).exists() for one in saved):
            raise FileNotFoundError(
                f"none of the job's checkpoints is in {settings().files}: is that folder the service's?"
            )
        if self.fence > 1:
            gone = patiently(lambda session: attempts.anew(session, self.job_id, self.fence))
            patiently(lambda session: backup.remove(session, self.job_id, gone))
        return None

    def _history(self, session: Session, machine: dict[str, Any]) -> tuple[list[Checkpoint], list[dict[str, Any]]]:
        """The job's checkpoints, and the machines of its earlier attempts; notes the present one."""
        attempts.describe(session, self.job_id, self.fence, machine)
        tried = lookup.attempts(session, self.job_id)
        before = [one.machine for one in tried if one.fence < self.fence and one.machine]
        return records.checkpoints(session, self.job_id), before

    @contextlib.contextmanager
    def _slots_to_ourselves(self) -> Iterator[None]:
        """A lock on each slot, so that two attempts on one machine can never share one by mistake."""
        folder = settings().work / "slots"
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as held:
            for slot in sorted(self.slots.split(",")):
                file = held.enter_context((folder / slot.replace("/", "-").replace(":", "-")).open("w"))
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _ask(self, *_: Any) -> None:
        self.asked = True

    def _stop(self) -> Literal["save"] | None:
        return "save" if self.asked else None

    def _halt(self, message: str) -> int:
        log.error("%s: %s", Reason.DISK, message)
        patiently(lambda session: jobs.halt(session, self.job_id, self.fence, Reason.DISK, message))
        return FAILED

    def _fail(self, reason: Reason, message: str, retry: bool) -> int:
        log.error("%s: %s", reason, message)
        patiently(lambda session: jobs.fail(session, self.job_id, self.fence, reason, message, retry))
        return FAILED


def _machine(device: str) -> dict[str, Any]:
    """What exactness depends on."""
    model = torch.cuda.get_device_name(0) if device.startswith("cuda") else platform.machine()
    return {"torch": torch.__version__, "device": device, "model": model, "threads": torch.get_num_threads()}


def main() -> int:
    """The attempt that the environment names."""
    die_with_parent(int(os.environ["SPARRING_PARENT"]))
    logs.configure()
    attempt = Attempt(
        uuid.UUID(os.environ["SPARRING_JOB"]), int(os.environ["SPARRING_FENCE"]), os.environ["SPARRING_SLOT"]
    )
    with logs.about(job=attempt.job_id, fence=attempt.fence):
        return attempt.run()


if __name__ == "__main__":
    sys.exit(main())
