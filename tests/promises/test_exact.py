"""P9, P11: a run that was paused, or killed, again and again ends with the weights and figures of one that was not.

The real science, one processor, `train.deterministic`; see also tests/e2e/test_crash.py.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import pytest

from core.family import members
from e2e.test_crash import SPEC, attempt_process, outcome, until
from local.stack import Stack
from promises.trying import SHORT
from sparring.client import Client, Job

pytestmark = pytest.mark.slow
DEFAULT = ("rvsm", "rgsm", "admm")


@pytest.fixture(scope="module")
def service(unset: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The whole service; a job may be killed more often than usually."""
    settings = {f"SPARRING_{name}": value for name, value in (SHORT | {"MAX_ATTEMPTS": "20"}).items()}
    with Stack(tmp_path_factory.mktemp("exact"), 0, lambda _: None, **settings) as stack:
        stack.client = Client(stack.url, stack.token)  # type: ignore[attr-defined]
        yield stack
        stack.client.close()  # type: ignore[attr-defined]


def specification(sparsifier: str) -> dict[str, Any]:
    """The job of the crash tests with another method, by its example; slimming asks for batch norms, so for a ResNet."""
    found = SPEC | {"sparsifier": members("core.sparsifiers")[sparsifier].example()}
    small = {"name": "fashion_mnist_sample", "images": 128, "validation": 64}
    return found | {"model": {"name": "resnet", "depth": 8}, "dataset": small} if sparsifier == "slimming" else found


def epochs_done(service: Any, job: Job) -> int:
    """How many epochs the service knows of."""
    return len(service.client.metrics(job.id)["epochs"])


def a_moment_of_work(service: Any, job: Job, luck: Random, before: int | None) -> int:
    """Wait for the next epoch of an attempt other than `before`, and a little longer; returns its process."""

    def another() -> int | None:
        return pid if (pid := attempt_process(service, job)) != before else None

    pid, epochs = until(another, 120, "the next attempt"), epochs_done(service, job)
    until(lambda: epochs_done(service, job) > epochs, 120, "its first epoch")
    time.sleep(luck.uniform(0, 0.3))
    return int(pid)


def killed(service: Any, spec: dict[str, Any], kills: int, luck: Random) -> Job:
    """The job at its end, its process killed at random moments, each of another attempt."""
    job, pid = service.client.submit(spec), None
    for _ in range(kills):
        pid = a_moment_of_work(service, job, luck, pid)
        os.kill(pid, signal.SIGKILL)
    return job.wait()


def paused(service: Any, spec: dict[str, Any], pauses: int, luck: Random) -> Job:
    """The job at its end, paused and resumed at random moments."""
    job, pid = service.client.submit(spec), None
    for _ in range(pauses):
        pid = a_moment_of_work(service, job, luck, pid)
        service.client.request("POST", f"/jobs/{job.id}/pause")
        until(lambda: service.client.job(job.id).state == "paused", 60, "the pause")
        service.client.request("POST", f"/jobs/{job.id}/resume")
    return job.wait()


def compared(service: Any, methods: Sequence[str], disturbed: Callable[[dict[str, Any]], Job]) -> tuple[bool, str]:
    """Whether each method's disturbed run ends as its undisturbed one, and which do in words."""
    same = []
    for method in methods:
        spec = specification(method)
        undisturbed = outcome(service, service.client.submit(spec).wait())
        same += [method] if outcome(service, disturbed(spec)) == undisturbed else []
    words = f"{len(same)} of {len(methods)} sparsifiers ({', '.join(same)})"
    return len(same) == len(methods), f"weights, epochs and accuracies equal to the bit for {words}"


def test_p09_pause_and_resume_change_nothing(
    service: Any, times: Callable[[str], int], luck: Random, keep: Callable[..., None]
) -> None:
    pauses = times("pauses")
    equal, figure = compared(service, DEFAULT, lambda spec: paused(service, spec, pauses, luck))
    keep(equal, figure, pauses_in_one_run=pauses, runs=len(DEFAULT))


def test_p11_a_killed_run_resumes_exactly(
    service: Any, times: Callable[[str], int], luck: Random, keep: Callable[..., None]
) -> None:
    kills = times("kills in one run")
    methods = DEFAULT if times("sparsifiers") == len(DEFAULT) else tuple(members("core.sparsifiers"))
    equal, figure = compared(service, methods, lambda spec: killed(service, spec, kills, luck))
    keep(equal, figure, kills_in_one_run=kills, runs=len(methods))
