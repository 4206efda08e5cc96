"""P12: checkpoints that were damaged on disk, cut short, or being written when the process was killed."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import torch
from sqlalchemy.orm import Session

from core import checkpoint
from core.errors import CorruptCheckpoint
from core.events import CheckpointSaved
from made import CPU, queue
from store import artifacts, feed, jobs, records, tokens, workers
from store.database import transaction
from store.settings import settings
from worker.attempt import Attempt
from worker.recorder import Recorder

WRITES = """
import json, os, sys, uuid
from pathlib import Path
import torch
from core import checkpoint
from store import artifacts

torch.set_num_threads(1)
folder, job = Path(sys.argv[1]), uuid.UUID(sys.argv[2])
state = {"weights": torch.rand(500_000)}
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        while True:
            state["weights"] += 1
            saved = checkpoint.save(folder, "train", state)
            artifacts.put(saved.path, saved.sha256, job)
    print(child, flush=True)
    os.waitpid(child, 0)
    print("ended", flush=True)
"""
"""Writes checkpoints until it is killed, again for each line of its input: torch is imported once."""


@pytest.fixture
def attempt(database: Session) -> Attempt:
    """An attempt of a job that has two checkpoints."""
    worker = workers.register(database, "host", 1, [CPU])
    job = queue(database, tokens.user_named(database, "ada"))
    claimed = jobs.claim(database, worker)
    database.commit()
    made = Attempt(claimed.job_id, claimed.fence, "cpu:0/0")
    made.recorder = Recorder(claimed.job_id, claimed.fence, jobs.find(database, job.id).last_seq)
    for epoch in (1, 2):
        state = {"epoch": epoch, "weights": {"conv": torch.rand(20, 10, 5, 5), "bias": torch.rand(20)}}
        path, digest = checkpoint.save(settings().work, "train", state)
        event = CheckpointSaved(phase="train", epoch=epoch, batch=0, path=str(path), sha256=digest)
        made.recorder.record(event)
    return made


def damaged(data: bytes, luck: Random, flip: bool) -> bytes:
    """The same file with one bit flipped, or without its end."""
    if not flip:
        return data[: luck.randrange(len(data))]
    at = luck.randrange(8 * len(data))
    return data[: at // 8] + bytes([data[at // 8] ^ 1 << at % 8]) + data[at // 8 + 1 :]


def resumed_at(attempt: Attempt) -> int | None:
    """The epoch from which the attempt would go on, by what the file itself says."""
    with transaction() as session:
        job = jobs.find(session, attempt.job_id)
    assert job
    resume = attempt._resume(job, "cpu")
    return int(checkpoint.load(resume.path, resume.sha256)["epoch"]) if resume else None


def falls_back(attempt: Attempt, path: Path, digest: str, damage: bytes) -> bool:
    """Whether the damage is detected, by whoever looks, and the epoch before is used."""
    path.write_bytes(damage)
    with pytest.raises(CorruptCheckpoint):
        checkpoint.load(path, digest)
    return not artifacts.sound(digest, attempt.job_id) and resumed_at(attempt) == 1


@pytest.mark.parametrize("kind", ["bit flips", "truncations"])
def test_p12_damage_on_disk_is_detected_and_the_epoch_before_is_used(
    database: Session,
    attempt: Attempt,
    times: Callable[[str], int],
    luck: Random,
    keep: Callable[..., None],
    kind: str,
) -> None:
    newest = records.checkpoints(database, attempt.job_id)[0]
    path, often = artifacts.place(newest.sha256, attempt.job_id), times(kind)
    whole = path.read_bytes()
    assert resumed_at(attempt) == 2
    tried = [damaged(whole, luck, kind == "bit flips") for _ in range(often)]
    detected = sum(falls_back(attempt, path, newest.sha256, one) for one in tried)
    path.write_bytes(whole)
    assert resumed_at(attempt) == 2
    said = [event for event in feed.read(database, attempt.job_id) if event.kind == "noticed"]
    assert len(said) == often, "each fall back is said"
    keep(detected == often, f"{detected} of {often} {kind} detected", **{kind.replace(" ", "_"): often})


def left(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files that bear a digest as their name, and those that were never finished."""
    found = [path for path in folder.iterdir() if path.is_file()]
    return [p for p in found if not p.name.startswith(".")], [p for p in found if p.name.startswith(".")]


def test_p12_a_process_killed_while_it_writes_leaves_only_whole_files(
    servers: dict[str, str], times: Callable[[str], int], luck: Random, keep: Callable[..., None], tmp_path: Path
) -> None:
    """A kill that hit no write would show nothing: those count that left an unfinished file or one not yet kept."""
    job, kills, hit, whole, broken = uuid.uuid4(), times("kills during the write"), 0, 0, 0
    command = [sys.executable, "-c", WRITES, str(tmp_path), str(job)]
    place = artifacts.place("0" * 64, job).parent
    place.mkdir(parents=True)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ) as writer:
        while hit < kills:
            writer.stdin.write("\n")
            writer.stdin.flush()
            child = int(writer.stdout.readline())
            time.sleep(luck.uniform(0.02, 0.12))
            os.kill(child, signal.SIGKILL)
            assert writer.stdout.readline() == "ended\n"
            kept, unfinished = left(place)
            named, begun = left(tmp_path)
            hit += bool(unfinished or begun)
            whole += len(kept)
            broken += sum(not artifacts.sound(path.name, job) for path in kept)
            for path in (*kept, *unfinished, *named, *begun):
                path.unlink()
        writer.stdin.close()
    figure = f"{kills} kills during the write: {broken} of {whole} files that bear their name not whole"
    keep(broken == 0 and whole > 0, figure, kills_during_the_write=kills)
