"""Does the service stay as it is? `python benchmarks/soak.py MINUTES [FOLDER]`: short jobs in a loop, one look at every process
each five seconds, and a page that says what has grown.

Descriptors, threads and memory are the kernel's figures (/proc); of memory what is a process's own (RssAnon): pages that
Postgres's processes share were taken at its start, and are counted again by each that touches one. Connections are Postgres's
own figure. Compared are the medians of the second and of the last quarter of the time: the first, in which caches fill, is
left out.
"""

import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import text

from local.stack import Stack
from sparring.client import Client
from store.database import engine, transaction

EVERY = 5.0
SPEC: dict[str, Any] = {
    "name": "soak",
    "dataset": {"name": "fashion_mnist_sample", "images": 256, "validation": 64},
    "threat": {"eps": 0.1},
    "model": "lenet5",
    "objective": {"name": "pgd", "steps": 2},
    "train": {"epochs": 1, "batch_size": 64, "select": None},
    "evaluate": {"images": 60, "batch_size": 30, "paper": {"attacks": ["fgsm"]}, "audit": "off"},
    "export": ["safetensors"],
    "resources": {"gpus": 0},
}
KINDS = {
    "api": "api.app:app",
    "worker": "worker.app",
    "worker's pool": "billiard.spawn import spawn_main",
    "broker": "valkey-server",
    "postgres": "postgres",
}
"""A word in the command line of each kind of process."""
Sample = dict[str, float]


def descendants(root: int) -> dict[int, str]:
    """The processes below one, by what they are; those of attempts, which come and go, are left out."""
    children, names = defaultdict(list), {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(entry.name)] = kind((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
        children[parent].append(int(entry.name))
    found, ahead = {}, [root]
    while ahead:
        for pid in children[ahead.pop()]:
            ahead.append(pid)
            if names[pid]:
                found[pid] = names[pid]
    return found


def kind(command: str) -> str:
    """What a process is, by its command line; nothing for what does not live as long as the service."""
    for part, word in KINDS.items():
        if word in command:
            return part
    return ""


def held(pid: int) -> Sample:
    """What a process has; nothing if it has just ended, as a server's process for a connection does."""
    try:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return {}
    if "RssAnon" not in status:  # it has ended, and nobody has asked how
        return {}
    own = int(status["RssAnon"].split()[0]) / 1024
    return {"MiB": own, "threads": float(status["Threads"]), "descriptors": float(descriptors)}


def sample(root: int, database: str) -> Sample:
    """One look."""
    found: Sample = {}
    for pid, name in descendants(root).items():
        for what, value in held(pid).items():
            found[f"{name} {what}"] = found.get(f"{name} {what}", 0.0) + value
    with transaction(database) as session:
        found["connections"] = session.execute(
            text("SELECT count(*) FROM pg_stat_activity WHERE datname = 'sparring'")
        ).scalar_one()
        found["database MiB"] = session.execute(text("SELECT pg_database_size('sparring')")).scalar_one() / 2**20
        found["jobs"] = session.execute(text("SELECT count(*) FROM jobs WHERE state = 'succeeded'")).scalar_one()
    return found


class Traffic(threading.Thread):
    """Short jobs, one after the other, and what a dashboard asks meanwhile."""

    def __init__(self, client: Client) -> None:
        super().__init__(daemon=True)
        self.client, self.stopped, self.states = client, threading.Event(), defaultdict(int)

    def run(self) -> None:
        """Until stopped."""
        while not self.stopped.is_set():
            job = self.client.submit(SPEC)
            for _ in self.client.events(job):
                self.client.request("GET", "/jobs")
            self.states[self.client.job(job.id).state] += 1


def soak(minutes: float) -> tuple[list[Sample], dict[str, int]]:
    """The samples, and how many jobs ended how."""
    with tempfile.TemporaryDirectory() as home, Stack(Path(home), 0) as stack, Client(stack.url, stack.token) as client:
        traffic, samples = Traffic(client), []
        traffic.start()
        end = time.monotonic() + 60 * minutes
        while time.monotonic() < end:
            time.sleep(EVERY)
            stack.tend()
            samples.append(sample(os.getpid(), stack.database))
        traffic.stopped.set()
        traffic.join(60)
        engine(stack.database).dispose()
        return samples, dict(traffic.states)


def grown(samples: list[Sample]) -> dict[str, tuple[float, float]]:
    """Of each figure, the medians of the second and the last quarter."""
    quarter = len(samples) // 4
    names = sorted({name for one in samples for name in one})
    parts = samples[quarter : 2 * quarter], samples[-quarter:]
    early, late = ({name: median(one.get(name, 0.0) for one in part) for name in names} for part in parts)
    return {name: (early[name], late[name]) for name in names}


def page(minutes: float, samples: list[Sample], states: dict[str, int]) -> str:
    """The result as a page."""
    lines = [f"# {minutes:g} minutes of short jobs", "", f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, "]
    lines[-1] += f"Python {platform.python_version()}, {len(samples)} samples; jobs: {states}."
    lines += ["", "| | second quarter | last quarter | change |", "|---|---|---|---|"]
    for name, (early, late) in grown(samples).items():
        lines.append(f"| {name} | {early:.1f} | {late:.1f} | {late - early:+.1f} |")
    return "\n".join(
        [
            *lines,
            "",
            "Command: " + f"`python benchmarks/soak.py {minutes:g}`",
            "",
            "Job: `" + json.dumps(SPEC) + "`",
            "",
        ]
    )


def main(minutes: float, folder: Path) -> None:
    """Run, and write the page beside the samples."""
    samples, states = soak(minutes)
    name = f"soak_cpu_{datetime.now(UTC):%Y-%m-%d}"
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in samples))
    (folder / f"{name}.md").write_text(page(minutes, samples, states))
    print((folder / f"{name}.md").read_text())


if __name__ == "__main__":
    main(float(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else Path(__file__).with_name("results")))
