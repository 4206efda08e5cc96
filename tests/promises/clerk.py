"""Submits jobs again and again in a thread of its own, as an impatient client does: what was accepted is what counts."""

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import httpx

from promises.crew import Crew, tiny


class Clerk(threading.Thread):
    """Submits a job every `pause` seconds, or only while fewer than `depth` wait. The same idempotency key is sent until the api has answered."""

    def __init__(self, crew: Crew, name: Callable[[int], str], depth: int | None = None, pause: float = 0.1) -> None:
        super().__init__(name="clerk", daemon=True)
        self.crew, self.named, self.depth, self.pause = crew, name, depth, pause
        self.accepted: dict[str, str] = {}
        """Ids of accepted jobs, by the names that they were sent with."""
        self.seconds: list[float] = []
        """How long each accepted submission took."""
        self.repeated = 0
        """Submissions whose answer did not come."""
        self.unexpected: list[str] = []
        """Answers that are neither yes nor an excuse."""
        self.stopped = threading.Event()

    def run(self) -> None:
        """The loop."""
        with self.crew.http(10) as client:
            while not self.stopped.wait(self.pause):
                if self.depth is None or self.waiting(client) < self.depth:
                    self.submit(client, self.named(len(self.accepted)))

    def waiting(self, client: httpx.Client) -> int:
        """How many jobs wait; none, as far as anybody can tell while there is no answer."""
        try:
            answer = client.get("/jobs", params={"limit": 1, "state": "queued"})
            return int(answer.json()["counts"].get("queued", 0)) if answer.status_code == 200 else 0
        except httpx.TransportError:
            return 0

    def submit(self, client: httpx.Client, name: str) -> None:
        """Send one job until it is answered, or we are told to stop."""
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        while not self.stopped.is_set():
            began = time.monotonic()
            try:
                answer = client.post("/jobs", json=tiny(name), headers=headers)
            except httpx.TransportError:
                self.repeated += 1
                time.sleep(0.05)
                continue
            if self.noted(answer, name, time.monotonic() - began):
                return

    def noted(self, answer: Any, name: str, seconds: float) -> bool:
        """Whether the submission is over."""
        if answer.status_code == 201:
            self.accepted[name] = answer.json()["jobs"][0]["id"]
            self.seconds.append(seconds)
            return True
        if answer.status_code in (409, 503):  # the first try is just being answered; the database is away
            self.repeated += 1
            time.sleep(0.05)
            return False
        self.unexpected.append(f"{answer.status_code} {answer.text[:200]}")
        return True

    def stop(self) -> None:
        """Submit nothing more."""
        self.stopped.set()
        self.join(30)
