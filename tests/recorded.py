"""A run that is done once, and then recorded as often as a test wants a job that has it behind it."""

import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from core.events import Event, Finished, Progress
from core.run import Place, run
from core.spec import parse
from made import CPU
from store import jobs, submission, tokens, workers
from store.tables import Job
from worker.recorder import Recorder

TRAINING: dict[str, Any] = {
    "name": "small",
    "dataset": {"name": "fashion_mnist_sample", "images": 512, "validation": 128},
    "threat": {"eps": 0.1},
    "model": "lenet5",
    "train": {"epochs": 3, "batch_size": 64, "lr": 0.05, "select": None, "schedule": {"name": "onecycle"}},
    "evaluate": {
        "images": 60,
        "batch_size": 30,
        "paper": {"attacks": ["fgsm", {"name": "ifgsm", "steps": 5}]},
        "strict": {
            "images": 40,
            "attacks": [
                {"name": "pgd", "steps": 5},
                {"name": "pgd", "steps": 5, "eps": 0.02, "label": "pgd_small"},
                {"name": "pgd", "steps": 5, "loss": "margin", "label": "pgd_margin"},
            ],
        },
    },
    "export": ["safetensors", "int8"],
    "resources": {"gpus": 0},
}
"""A network without noise, with both protocols, and a second file that holds another network."""


def ran(folder: Path, **changes: Any) -> list[Event]:
    """The events of a training."""
    found = run(parse(TRAINING | changes), Place(folder, folder))
    return [event for event in found if not isinstance(event, Progress)]


def record(session: Session, events: Iterable[Event], folder: Path, **changes: Any) -> Job:
    """A job of this run, recorded as its attempt would have done it. The files are copied: those of the run stay."""
    spec = parse(TRAINING | changes)
    owner = tokens.user_named(session, "ada", "admin")
    asked = submission.Asked(spec.json_dict(), TRAINING | changes, spec.digest)
    worker = workers.register(session, "host", 1, [CPU])
    job = submission.create(session, owner, [asked])[0]
    claimed = jobs.claim(session, worker)
    assert claimed
    assert claimed.job_id == job.id
    session.commit()
    recorder = Recorder(job.id, claimed.fence, jobs.find(session, job.id).last_seq)
    for event in events:
        recorder.record(_copied(event, folder))
        if isinstance(event, Finished):
            jobs.succeed(session, job.id, claimed.fence)
    session.commit()
    session.refresh(job)
    return job


def _copied(event: Any, folder: Path) -> Any:
    changes: dict[str, Any] = {}
    if path := getattr(event, "path", None):
        copy = folder / "copies" / uuid.uuid4().hex / Path(path).name
        copy.parent.mkdir(parents=True)
        shutil.copyfile(path, copy)
        changes["path"] = str(copy)
    if saved := getattr(event, "checkpoint", None):
        changes["checkpoint"] = _copied(saved, folder)
    return event.model_copy(update=changes)
