"""P9, P11: a run that was paused, or killed, again and again ends with the weights and figures of one that was not.

The real science, one processor, `train.deterministic`; see also tests/e2e/test_crash.py.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from core.family import members
from e2e.test_crash import SPEC, attempt_process, outcome, until
from local.stack import Stack
from promises.conftest import SHORT
from sparring.client import Client, Job

pytestmark = pytest.mark.slow
DEFAULT = ("rvsm", "rgsm", "admm")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The whole service; a job may be killed more often than usually."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("SPARRING_")}
    settings = {f"SPARRING_{name}": value for name, value in (SHORT | {"MAX_ATTEMPTS": "20"}).items()}
    with Stack(tmp_path_factory.mktemp("exact"), 0, lambda _: None, **settings) as stack:
        stack.client = Client(stack.url, stack.token)  # type: ignore[attr-defined]
        yield stack
        stack.client.close()  # type: ignore[attr-defined]
    os.environ.update(kept)


def specification(sparsifier: str) -> dict[str, Any]:
    """The job of the crash tests with another method, by its example."""
    return SPEC | {"sparsifier": members("core.sparsifiers")[sparsifier].example()}


def interrupted(service: Any, spec: dict[str, Any], kills: int, luck: Random) -> tuple[Job, int]:
    """The job, killed at random moments, each in another attempt; and how often that came off."""
    job, done, last = service.client.submit(spec), 0, None
    while done < kills and not service.client.job(job.id).ended:
        pid = attempt_process(service, job)
        epochs = len(service.client.metrics(job.id)["epochs"])
        if pid is None or pid == last or epochs < 1:
            time.sleep(0.05)
            continue
        until(
            lambda: len(service.client.metrics(job.id)["epochs"]) > epochs or service.client.job(job.id).ended,
            120,
            "an epoch",
        )
        time.sleep(luck.uniform(0, 0.3))
        if (now := attempt_process(service, job)) == pid:
            os.kill(now, signal.SIGKILL)
            done, last = done + 1, pid
    return job.wait(), done


def test_p11_a_killed_run_resumes_exactly(
    service: Any, times: Callable[[str], int], luck: Random, keep: Callable[..., None], request: pytest.FixtureRequest
) -> None:
    kills, found, wanted = 0, {}, times("kills in one run")
    methods = tuple(members("core.sparsifiers")) if wanted == 5 else DEFAULT
    for method in methods:
        spec = specification(method)
        undisturbed = outcome(service, service.client.submit(spec).wait())
        job, done = interrupted(service, spec, wanted, luck)
        assert done == wanted, f"{method}: it ended after {done} kills"
        found[method] = outcome(service, job) == undisturbed
        kills += done
    same = [method for method, equal in found.items() if equal]
    figure = f"weights, epochs and accuracies equal to the bit for {len(same)} of {len(found)} sparsifiers ({', '.join(same)})"
    keep(len(same) == len(found), figure, kills=kills, runs=len(found))
