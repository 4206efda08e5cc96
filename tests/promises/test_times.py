"""P4, P8, P10: how soon a dead worker is noticed, a cancel is obeyed, a stopped worker has let go. With the real settings."""

import time
from collections.abc import Callable
from random import Random

import httpx
import pytest

from promises.crew import Crew, Hand
from promises.figures import within
from promises.processes import until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def crew(hire: Callable[..., Crew]) -> Crew:
    return hire(2, {})


def seconds_until(condition: Callable[[], object], most: float, what: str) -> float:
    began = time.monotonic()
    until(condition, most, what, pause=0.02)
    return time.monotonic() - began


def started(crew: Crew, client: httpx.Client, name: str) -> tuple[str, Hand]:
    """A job that has done an epoch, or hangs in its first, and the worker that runs it."""
    job = crew.submit(client, name)
    hand = until(lambda: next((n for n, one in crew.working().items() if one.startswith(job)), None), 60, "its start")
    until(lambda: any('"begin"' in path.read_text() for path in crew.traces.glob(f"{job}.*")), 60, "its first epoch")
    found = crew.parts[hand]
    assert isinstance(found, Hand)
    return job, found


def test_p04_a_dead_worker_is_noticed(
    crew: Crew, times: Callable[[str], int], luck: Random, keep: Callable[..., None]
) -> None:
    queued, elsewhere, deaths = [], [], times("dead workers")
    with crew.http() as client:
        for number in range(deaths):
            job, hand = started(crew, client, f"work-1000-100-dead-{number}")
            time.sleep(luck.uniform(0, 2))
            hand.kill()
            died = time.monotonic()
            until(lambda: crew.sql("SELECT losses FROM jobs WHERE id = :job", job=job)[0][0] == 1, 60, "the loss", 0.02)
            queued.append(time.monotonic() - died)
            until(lambda: crew.working().keys() - {hand.name}, 60, "a start elsewhere", pause=0.02)
            elsewhere.append(time.monotonic() - died)
            client.post(f"/jobs/{job}/cancel")
            crew.tend()
            until(lambda: crew.state(job) == "cancelled", 60, "its end")
            until(lambda: len(client.get("/workers").json()["items"]) == 2, 120, "two workers")
    soon, first = within(queued, 32)
    then, second = within(elsewhere, 40)
    keep(soon and then, f"queued again in {first}, running elsewhere in {second}, at most", dead_workers=deaths)


def test_p08_a_cancel_is_obeyed(crew: Crew, times: Callable[[str], int], keep: Callable[..., None]) -> None:
    often = {kind: times(f"cancels of {kind} jobs") for kind in ("queued", "running", "hung")}
    took: dict[str, list[float]] = {kind: [] for kind in often}

    def cancel(kind: str, job: str) -> None:
        began = time.monotonic()
        assert client.post(f"/jobs/{job}/cancel").status_code == 200
        until(lambda: crew.state(job) == "cancelled", 60, f"the end of a {kind} job", pause=0.02)
        took[kind].append(time.monotonic() - began)

    with crew.http() as client:
        for number in range(often["running"]):
            cancel("running", started(crew, client, f"work-1000-100-running-{number}")[0])
        for number in range(often["hung"]):
            cancel("hung", started(crew, client, f"hang-2-5-hung-{number}")[0])
        held = [started(crew, client, f"work-1000-100-held-{n}")[0] for n in range(2)]  # both workers have enough to do
        for number in range(often["queued"]):
            cancel("queued", crew.submit(client, f"work-1-5-queued-{number}"))
        for job in held:
            cancel("running", job)
    limits = {"queued": 1.0, "running": 5.0, "hung": 30.0}
    told = {kind: within(took[kind], limit) for kind, limit in limits.items()}
    figure = ", ".join(f"{kind} {words}" for kind, (_, words) in told.items()) + ", at most"
    keep(all(right for right, _ in told.values()), figure, **{f"{kind}_jobs": len(took[kind]) for kind in took})


def test_p10_a_worker_drains_on_term(
    crew: Crew, times: Callable[[str], int], luck: Random, keep: Callable[..., None]
) -> None:
    released, ended, drains, right = [], [], times("drains"), []
    with crew.http() as client:
        for number in range(drains):
            job, hand = started(crew, client, f"work-1000-100-drained-{number}")
            time.sleep(luck.uniform(0, 2))
            began = time.monotonic()
            assert hand.process
            hand.process.terminate()
            query = "SELECT outcome FROM attempts WHERE job_id = :job AND fence = 1"
            until(lambda: crew.sql(query, job=job)[0][0] == "left", 60, "its release", pause=0.02)
            released.append(time.monotonic() - began)
            hand.process.wait(60)
            ended.append(time.monotonic() - began)
            (counted,) = crew.sql("SELECT deaths, losses FROM jobs WHERE id = :job", job=job)
            begun = (crew.traces / f"{job}.1").read_text().count('"begin"')
            until(lambda: (crew.traces / f"{job}.2").exists(), 60, "its next attempt")
            enter = until(lambda: (crew.traces / f"{job}.2").read_text(), 60, "its next attempt")
            right.append(tuple(counted) == (0, 0) and f", {begun}]" in enter.splitlines()[0])
            client.post(f"/jobs/{job}/cancel")
            crew.tend()
            until(lambda: crew.state(job) == "cancelled", 60, "its end")
            until(lambda: len(client.get("/workers").json()["items"]) == 2, 120, "two workers")
    soon, first = within(released, 20)
    figure = f"released in {first}, worker gone in {max(ended):.1f} s at most; {sum(right)} of {drains} went on where they were"
    keep(soon and all(right), figure, drains=drains)
