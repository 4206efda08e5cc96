"""What is promised, by which test, up to which figure; and how often each test tries: a few times, or as often as promised."""

from typing import NamedTuple


class Promise(NamedTuple):
    """A promise, how it is tested, and the figure that keeps it."""

    words: str
    test: str
    figure: str


PROMISES = {
    "P1": Promise(
        "an accepted job is never lost",
        "200 `kill -9` of workers at random moments, with no limit of losses a job (else ten)",
        "0 lost",
    ),
    "P2": Promise(
        "no job gives two results",
        "the same, 20 freezes longer than the lease, 300 doubled bells",
        "0 double commits; stale ones refused and counted",
    ),
    "P3": Promise("a crash costs at most one epoch", "the same", "at most 1"),
    "P4": Promise(
        "a dead worker is noticed", "`kill -9`, a lease of 30 s", "queued in 32 s, running elsewhere in 40 s"
    ),
    "P5": Promise(
        "the broker may be flushed, killed, absent",
        "10 FLUSHALL with 500 queued; down for 5 min while jobs are submitted",
        "all run; 201, p99 < 500 ms",
    ),
    "P6": Promise(
        "Postgres may be killed",
        "50 kills under load, one outage of 3 leases",
        "0 acknowledged commits missing, nothing reclaimed because of the outage, back in 5 s",
    ),
    "P7": Promise(
        "the api may be killed", "100 kills during submissions with idempotency keys", "every 2xx exactly once"
    ),
    "P8": Promise("a cancel is obeyed", "queued, running, hung", "in 1 s, 5 s, 30 s"),
    "P9": Promise("pause and resume change nothing", "random pauses", "metrics and weights bit-identical"),
    "P10": Promise(
        "a worker drains on TERM", "TERM while jobs run", "checkpointed and released in 20 s, not an attempt"
    ),
    "P11": Promise(
        "a killed run resumes exactly", "5 kills in one run, every sparsifier", "SHA-256 of the weights equal"
    ),
    "P12": Promise(
        "checkpoints are trustworthy",
        "400 bit flips, 200 truncations, 50 kills during the write",
        "650 of 650 detected, the previous epoch used",
    ),
    "P13": Promise(
        "out of memory is isolated",
        "50 in a row, then a normal job",
        "class and hint in 30 s; next starts in 10 s; no leak",
    ),
    "P14": Promise("a poison job stops", "a job that segfaults", "failed after 3 attempts, others not delayed"),
    "P15": Promise(
        "a full disk is survived", "a 2 MB tmpfs", "paused with a clear message; last checkpoint valid; service alive"
    ),
    "P16": Promise("no orphans", "as P1", "0 processes of a killed worker after 10 s; 0 overlaps on a slot"),
    "P17": Promise("shares are fair", "A has 50,000 queued, B one; ten users", "B is next; max/min <= 1.1"),
    "P18": Promise(
        "fifty thousand jobs are no burden",
        "50,000 queued",
        "claim p99 <= 10 ms; list p99 <= 100 ms; 50,000 through `/jobs/batch` in 120 s",
    ),
    "P19": Promise(
        "malformed input is refused",
        "1,000 raw bodies, 2,000 schema cases, 200 path tricks",
        "0 x 5xx, 0 hangs, memory + < 100 MB",
    ),
    "P20": Promise(
        "slow clients hold nobody up", "500 half-open connections", "closed in 30 s; `/healthz` p99 < 250 ms"
    ),
    "P21": Promise("users are isolated", "role x route x owner", "all routes, 0 leaks, 404 for foreign"),
    "P22": Promise("no CSRF, no XSS", "a browser with a job named `<img onerror>`; headers", "0"),
    "P23": Promise(
        "data is never code", "pickle, malformed messages, archive tricks", "0 executions, no worker stopped"
    ),
    "P24": Promise("secrets stay secret", "search of database dump, logs, crash reports", "0 found"),
    "P25": Promise("migrations lose nothing", "every past revision with data, up and down", "0 lost"),
    "P26": Promise("a backup is a backup", "restore under load, to an empty machine", "all digests right"),
    "P27": Promise(
        "the embedded servers are safe",
        "second user, long path, 20 kills of each, reused pid",
        "0 lost, no other local user connects, back in 3 s",
    ),
    "P28": Promise("clocks do not matter", "workers' clocks wrong by an hour, both ways", "no effect"),
    "P29": Promise("it runs for long", "1 h of jobs of 10 s", "descriptors, connections, memory flat"),
    "P30": Promise("the tests bite", "mutation of state, claim, fencing, permissions", "score >= 85 %"),
}

REPETITIONS = {
    "kills of workers": (6, 200),
    "freezes": (1, 20),
    "doubled bells": (10, 300),
    "dead workers": (1, 10),
    "flushes": (2, 10),
    "jobs queued": (20, 500),
    "seconds without broker": (10, 300),
    "kills of Postgres": (3, 50),
    "kills of the api": (3, 100),
    "cancels of queued jobs": (10, 100),
    "cancels of running jobs": (2, 30),
    "cancels of hung jobs": (1, 5),
    "drains": (2, 20),
    "pauses": (2, 5),
    "kills in one run": (2, 5),
    "sparsifiers": (3, 6),
    "bit flips": (40, 400),
    "truncations": (20, 200),
    "kills during the write": (5, 50),
    "jobs beside the poison": (3, 20),
    "jobs under wrong clocks": (4, 20),
    "jobs in the queue": (2_000, 50_000),
    "claims": (100, 1_000),
    "lists": (20, 200),
    "minutes of short jobs": (1, 60),
    "jobs through the batch": (1_000, 50_000),
    "jobs out of memory": (2, 50),
    "raw bodies": (60, 1_000),
    "schema cases": (90, 2_000),
    "path tricks": (40, 200),
    "half-open connections": (60, 500),
}
"""In the suite; for the record."""

POINTED = {"P27": ("tests/local/", "tests/e2e/test_up.py")}
"""Promises whose tests stand elsewhere under other names: `make promises` runs these, too."""

COMMANDS = {"P30": "make mutants"}
"""Promises that another command tries: it tells its score, which is put into the record by hand."""
