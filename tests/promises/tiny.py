"""The attempt as it is, with another science: epochs of some milliseconds, checkpoints, a file in the end.

The state of a job is a chain of hashes, one an epoch, so the file shows whether each epoch stood on the one before. What an
attempt does is also traced in a file of its own, whatever the database takes of it. A job's name says what it is to do: see
`Name`. The modules of the real science are replaced before the attempt imports them: it would spend seconds on torch.
"""

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from core.events import CheckpointSaved, EpochEnded, Event, Exported, Finished, PhaseEnded, PhaseStarted
from promises.clock import shift

PADDING = "x" * 20_000


class Name(NamedTuple):
    """A job's name: what it does (work, hang, poison), epochs, milliseconds an epoch, a number."""

    kind: str
    epochs: int
    milliseconds: int
    number: str

    @classmethod
    def of(cls, name: str) -> "Name":
        """work-20-50-7 is job 7, of 20 epochs of 50 ms."""
        kind, epochs, milliseconds, number = name.split("-", 3)
        return cls(kind, int(epochs), int(milliseconds), number)


class Place(NamedTuple):
    """As `core.run.Place`."""

    work: Path
    data: Path
    device: str
    models: Any


class Resume(NamedTuple):
    """As `core.run.Resume`."""

    path: Path
    sha256: str
    again: str | None = None


class Trace:
    """What this attempt does, in a file of its own."""

    def __init__(self) -> None:
        name = f"{os.environ['SPARRING_JOB']}.{os.environ['SPARRING_FENCE']}"
        self.file = open(Path(os.environ["PROMISES_TRACES"], name), "a", buffering=1)  # noqa: SIM115 (as long as the process)

    def __call__(self, what: str, about: object = None) -> None:
        self.file.write(json.dumps([what, about, time.monotonic()]) + "\n")


def chain(before: str, epoch: int) -> str:
    """The state after an epoch."""
    return hashlib.sha256(f"{before} {epoch}".encode()).hexdigest()


def end_of(name: str) -> str:
    """The state after all epochs of a job: what its file must hold."""
    state = name
    for epoch in range(1, Name.of(name).epochs + 1):
        state = chain(state, epoch)
    return state


def run(spec: dict[str, Any], place: Place, resume: Resume | None, stop: Any) -> Iterator[Event]:
    """As `core.run.run`."""
    asked, state, done = Name.of(spec["name"]), spec["name"], 0
    if resume:
        done, state, _ = json.loads(resume.path.read_text())
    trace("enter", [os.environ["SPARRING_SLOT"], str(place.work.parent), done])
    yield PhaseStarted(phase="train", epochs=asked.epochs, resumed_at=done)
    for epoch in range(done + 1, asked.epochs + 1):
        if stop():
            trace("asked")
            yield saved(place.work, epoch - 1, state)
            return
        trace("begin", epoch)
        behave(asked)
        state = chain(state, epoch)
        yield ended(epoch, asked.epochs, saved(place.work, epoch, state))
        trace("kept", epoch)
    yield PhaseEnded(phase="train", seconds=0)
    yield exported(place.work, state)
    yield Finished()


def behave(asked: Name) -> None:
    """What a job does in an epoch."""
    if asked.kind == "poison":
        os.kill(os.getpid(), signal.SIGSEGV)
    if asked.kind == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(3600)
    time.sleep(asked.milliseconds / 1000)


def saved(folder: Path, epoch: int, state: str) -> CheckpointSaved:
    """A checkpoint."""
    path = folder / f"epoch-{epoch}.json"
    digest = written(path, json.dumps([epoch, state, PADDING]))
    return CheckpointSaved(phase="train", epoch=epoch, batch=0, path=str(path), sha256=digest)


def ended(epoch: int, epochs: int, checkpoint: CheckpointSaved) -> EpochEnded:
    """An epoch's figures."""
    figures = {"validation_clean": epoch / epochs}
    about: dict[str, Any] = {"stage": "train", "values": figures, "layers": [], "best": True, "checkpoint": checkpoint}
    return EpochEnded(epoch=epoch, epochs=epochs, series={"train_loss": [1.0] * 16}, **about)


def exported(folder: Path, state: str) -> Exported:
    """The file of the end."""
    path = folder / "state.txt"
    digest = written(path, state)
    about: dict[str, Any] = {"bytes": len(state), "bytes_fp32": len(state), "logits_difference": 0.0}
    return Exported(exporter="compact", path=str(path), sha256=digest, **about)


def written(path: Path, text: str) -> str:
    """Write a file; returns its digest."""
    path.write_text(text)
    return hashlib.sha256(text.encode()).hexdigest()


def replace(name: str, **members: Any) -> None:
    """Put a module in the place of a real one that is never imported."""
    module = ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module


def tell_refusals(attempt: Any) -> None:
    """Trace what the store refuses because of the fence."""
    succeed, recorder = attempt.jobs.succeed, attempt.Recorder

    class Telling(recorder):  # type: ignore[misc]
        def record(self, event: Event) -> None:
            try:
                super().record(event)
            except attempt.Fenced:
                trace("refused", event.kind)
                raise

    def telling(*arguments: Any) -> bool:
        accepted = bool(succeed(*arguments))
        trace("done" if accepted else "refused", "succeed")
        return accepted

    attempt.Recorder, attempt.jobs.succeed = Telling, telling


if __name__ == "__main__":
    shift()
    trace = Trace()
    replace("torch", __version__="none", set_num_threads=lambda _: None, get_num_threads=lambda: 1)
    replace("core.run", Place=Place, Resume=Resume, run=run)
    replace("core.spec", AnySpec=dict, stored=lambda document: document)
    from worker import attempt

    tell_refusals(attempt)
    sys.exit(attempt.main())
