"""The queue, measured: how long a claim takes with 50,000 jobs waiting, and how far forecasts of a job's start are off.

    python benchmarks/shared_queue.py [--claims 300]

Claims run against a Postgres of their own: 50,000 jobs of 10 users, 70 % of one, each claim in a transaction of its own, its
job ended at once; then by several processes at a time. Forecasts run in virtual time: 10,000 jobs of a made-up team come over
ten days, and what was foreseen for those that wait, as `sparring explain` does, is held against what then happened. Writes
benchmarks/results/queue_cpu_DATE.md.
"""

import argparse
import copy
import datetime
import os
import platform
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

import migrations  # noqa: E402
from crowd import Made, gpus, jobs, team  # noqa: E402
from local.postgres import Postgres  # noqa: E402
from made import CPU, queue  # noqa: E402
from store import jobs as store_jobs  # noqa: E402
from store import tokens, workers  # noqa: E402
from store.database import engine, transaction  # noqa: E402
from store.estimate import History  # noqa: E402
from store.forecast import Future, Start  # noqa: E402
from store.policy import Waiting  # noqa: E402
from worker.devices import cpu_model  # noqa: E402

QUEUED, USERS, MOSTLY = 50_000, 10, 0.7
PROCESSES = 8
SPAN = 10 * 86_400.0
NOISE = 0.2
"""How far a job of the simulation strays from its like: the standard deviation of the logarithm of its duration."""
KINDS = 40
"""Kinds of jobs in the simulation; those of one kind are alike."""


def fill(session: Session) -> list[Any]:
    """50,000 queued jobs, of which one user has 70 %; returns the ids of the workers."""
    users = [tokens.user_named(session, f"user-{number}") for number in range(USERS)]
    for number, user in enumerate(users):
        some = int(QUEUED * (MOSTLY if number == 0 else (1 - MOSTLY) / (USERS - 1)))
        job = queue(session, user)
        names = [column.key for column in type(job).__table__.columns if column.key not in ("id", "number")]
        columns = ", ".join(names)
        into = f"INSERT INTO jobs (id, number, {columns}) SELECT gen_random_uuid(), 100000 * (1 + :user) + n, {columns}"
        copies = f"{into} FROM jobs, generate_series(1, :some) n WHERE id = :id"
        session.execute(text(copies), {"id": job.id, "user": number, "some": some - 1})
    session.execute(
        text(
            "UPDATE jobs SET created_at = created_at - random() * interval '7 days', priority = floor(random() * 3) - 1"
        )
    )
    return [workers.register(session, f"host-{number}", number, [CPU]) for number in range(PROCESSES)]


def claims(worker: Any, number: int) -> list[float]:
    """Seconds of each of so many claims, commit included; each job is ended at once."""
    took = []
    for _ in range(number):
        began = time.perf_counter()
        with transaction() as session:
            claimed = store_jobs.claim(session, worker)
        took.append(time.perf_counter() - began)
        assert claimed, "there are enough"
        with transaction() as session:
            store_jobs.succeed(session, claimed.job_id, claimed.fence)
    return took


def measured(number: int) -> list[str]:
    """The table of claims."""
    with TemporaryDirectory() as home, Postgres(Path(home) / "postgres") as postgres:
        os.environ |= {"SPARRING_DATABASE_URL": postgres.url, "SPARRING_BROKER_URL": "redis://127.0.0.1:1/0"}
        os.environ |= {f"SPARRING_{name}": home for name in ("FILES", "DATA", "WORK")}
        migrations.upgrade(postgres.url)
        with transaction() as session:
            machines = fill(session)
        with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
        claims(machines[0], 20)
        alone = claims(machines[0], number)
        engine().dispose()
        with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
            crowded = [one for some in pool.map(claims, machines, [number // 4] * PROCESSES) for one in some]
        engine().dispose()
    lines = ["| who claims | claims | median | 99 % | longest |", "|---|---|---|---|---|"]
    for who, took in (("one process", sorted(alone)), (f"{PROCESSES} processes at once", sorted(crowded))):
        shown = " | ".join(f"{1000 * one:.1f} ms" for one in (median(took), took[int(0.99 * len(took))], took[-1]))
        lines.append(f"| {who} | {len(took)} | {shown} |")
    return lines


def alike(one: Waiting) -> tuple[str, str]:
    """What a job of the simulation is alike in: its kind, and being a job."""
    return f"kind {one.number % KINDS}", "job"


def simulated() -> tuple[list[Made], dict[Any, Any]]:
    """10,000 jobs, each about as long as its kind, and the workers: eleven GPUs."""
    chance = random.Random(1)  # noqa: S311
    users, projects = [f"u{number}" for number in range(20)], [f"p{number}" for number in range(4)]
    made = jobs(1, 10_000, users, projects, SPAN)
    typical = {f"kind {number}": chance.lognormvariate(7, 0.8) for number in range(KINDS)}
    drawn = [one._replace(seconds=typical[alike(one.waiting)[0]] * chance.lognormvariate(0, NOISE)) for one in made]
    return drawn, {"a": gpus(4), "b": gpus(4), "c": gpus(2), "d": gpus(1, slots=2)}


def errors(every: float) -> Iterator[tuple[float, float]]:
    """For each job that waits at some moments: how long it then still waited, and how far off the forecast was."""
    made, machines = simulated()
    takes = {one.waiting.job: one.seconds for one in made}
    future = Future(0.0, machines, team(20, 4), lambda one: takes[one.job])
    started: list[Start] = []
    foreseen: list[tuple[float, dict[Any, float]]] = []
    for start in future.starts(one.waiting for one in made):
        started.append(start)
        if start.at >= every * (1 + len(foreseen)):
            foreseen.append((start.at, forecast(future, started, takes)))
    began = {start.waiting.job: start.at for start in started}
    for now, said in foreseen:
        yield from ((began[job] - now, abs(at - began[job])) for job, at in said.items() if began[job] > now)


def forecast(future: Future, started: list[Start], takes: dict[Any, float]) -> dict[Any, float]:
    """When each waiting job will start, by what is known: what has ended, and progress that is 10 % off."""
    now = future.now
    ended = [one for one in started if one.at + takes[one.waiting.job] <= now][-1000:]
    history = History((alike(one.waiting), takes[one.waiting.job]) for one in ended)
    machines, parties, ends = copy.deepcopy((future.workers, future.parties, future.ends))
    chance = random.Random(now)  # noqa: S311
    runs = [run._replace(ends=now + (run.ends - now) * chance.uniform(0.9, 1.1)) for _, _, run in ends]
    ahead = Future(now, machines, parties, lambda one: history.expected(alike(one), 86_400.0), runs)
    for line in future.lines.values():
        for _, one in line:
            ahead.add(one)
    return {start.waiting.job: start.at for start in ahead.starts()}


def off() -> list[str]:
    """The table of forecasts: by how long a job then still waited."""
    found = sorted(errors(every=86_400.0))
    lines = ["| it then waited | forecasts | median error | 90 % of errors below |", "|---|---|---|---|"]
    spans = [
        (600, 3600, "10 min to 1 h"),
        (3600, 6 * 3600, "1 to 6 h"),
        (6 * 3600, 1e9, "more than 6 h"),
        (600, 1e9, "all above 10 min"),
    ]
    for low, high, words in spans:
        shares = sorted(error / waited for waited, error in found if low <= waited < high)
        if shares:
            lines.append(
                f"| {words} | {len(shares)} | {100 * median(shares):.0f} % | {100 * shares[int(0.9 * len(shares))]:.0f} % |"
            )
    return lines


def main() -> None:
    """Both tables, and a file with what they depend on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--claims", type=int, default=300)
    asked = parser.parse_args()
    load = os.getloadavg()[0]
    tables = [measured(asked.claims), off()]
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    lines = [
        "# The queue",
        "",
        f"Claims with {QUEUED:,} jobs waiting, of {USERS} users, {MOSTLY:.0%} of one; from BEGIN to COMMIT.",
        "",
        *tables[0],
        "",
        "Forecasts of a job's start (`explain`) beside what then happened: 10,000 jobs of 20 users come over ten days to",
        f"eleven GPUs; jobs of one kind vary by {NOISE:.0%}, the ETA of what runs by 10 %. The forecasts, one a day for all that",
        "then waits, do not know what will be submitted later. Errors are shares of the time that the job then still waited.",
        "",
        *tables[1],
        "",
        f"- {today}, {cpu_model()}, {len(os.sched_getaffinity(0))} cores; load {load:.1f} before, {os.getloadavg()[0]:.1f} after",
        f"- Python {platform.python_version()}, `python benchmarks/shared_queue.py --claims {asked.claims}`",
        "",
    ]
    path = HERE / "results" / f"queue_cpu_{today}.md"
    path.write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
