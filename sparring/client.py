"""The SDK: typed, over HTTP alone."""

import json
import os
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
from pydantic import BaseModel, ConfigDict, PrivateAttr

ENDED = ("succeeded", "failed", "cancelled")
TRAINED = "trained"
"""The network by which a job is known."""
DIGEST = re.compile(r"[0-9a-f]{64}")
PUBLISHED = ["fgsm", {"name": "ifgsm", "steps": 20}, "cw_linf"]
"""The attacks of the published tables that need no thousands of passes."""
HOME = Path(".sparring") / "client.json"
"""Where `sparring up` leaves the address and the token, in the folder it was started in."""


class ApiError(Exception):
    """The service refused a request; the problem document is in `problem`."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status, self.problem = status, problem
        lines = [str(problem.get("detail") or problem.get("title") or f"HTTP {status}")]
        for error in problem.get("errors", ()):
            hint = f"; expected {error['expected']}" if error.get("expected") else ""
            lines.append(f"  {error['pointer'] or '/'}: {error['message']} (got {error['got']!r}{hint})")
        super().__init__("\n".join(lines))


class Score(BaseModel):
    """What an attack left, with the 95 % interval over images."""

    model_config = ConfigDict(extra="ignore")

    network: str = TRAINED
    """The trained network, or the exported file that holds another."""
    protocol: str
    label: str
    accuracy: float
    low: float
    high: float
    images: int
    steps: int
    restarts: int
    draws: int
    eps: float
    eot: int = 1
    """Noise draws that each gradient of the attack averaged."""
    selection_draws: int = 0
    """Noise draws by which the worst candidate of an image was chosen; `draws` others judged it."""
    always: float | None = None
    """The share of images right in every draw: a diagnostic of random networks."""


class Job(BaseModel):
    """A job as the service knows it now."""

    model_config = ConfigDict(extra="ignore")

    id: uuid.UUID
    number: int
    group: uuid.UUID
    project: str
    owner: str
    name: str
    kind: str = "train"
    seed: int
    state: str
    wish: str
    reason: str | None
    message: str | None
    trust: str
    phases: dict[str, Any]
    progress: dict[str, Any]
    last: dict[str, Any]
    created_at: str
    started_at: str | None
    ended_at: str | None
    spec: dict[str, Any] = {}
    results_list: list[dict[str, Any]] = []
    exported_list: list[dict[str, Any]] = []
    checks: list[dict[str, Any]] = []
    _client: "Client | None" = PrivateAttr(None)

    @classmethod
    def of(cls, client: "Client", answer: dict[str, Any]) -> Self:
        """A job from an answer of the API."""
        lists = {"results_list": answer.get("results", []), "exported_list": answer.get("exported", [])}
        job = cls.model_validate(answer | lists)
        job._client = client
        return job

    @property
    def results(self) -> dict[tuple[str, str], Score]:
        """What each attack left of the trained network, by protocol and label: job.results["paper", "ifgsm20"].accuracy."""
        scores = [Score.model_validate(one) for one in self.results_list]
        return {(score.protocol, score.label): score for score in scores}

    @property
    def exported(self) -> dict[str, dict[tuple[str, str], Score]]:
        """The same of each exported file that holds another network, by its name."""
        found: dict[str, dict[tuple[str, str], Score]] = {}
        for score in map(Score.model_validate, self.exported_list):
            found.setdefault(score.network, {})[score.protocol, score.label] = score
        return found

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED

    def wait(self) -> "Job":
        """The job once it has ended."""
        assert self._client, "a job comes from a client"
        for _ in self._client.events(self):
            pass
        return self._client.job(self.id)


@dataclass(frozen=True)
class Group:
    """The jobs of one submission: one a seed."""

    id: uuid.UUID
    jobs: list[Job]

    def wait(self) -> "Group":
        """The group once all its jobs have ended."""
        return Group(self.id, [job.wait() for job in self.jobs])


class Client:
    """A connection to the service. Address and token: given, else SPARRING_URL and SPARRING_TOKEN, else what `sparring up`
    left in ./.sparring."""

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        kept = json.loads(HOME.read_text()) if HOME.is_file() else {}
        self.url = (url or os.environ.get("SPARRING_URL") or kept.get("url") or "http://127.0.0.1:8000").rstrip("/")
        token = token or os.environ.get("SPARRING_TOKEN") or kept.get("token")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=60)

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def request(self, method: str, path: str, **arguments: Any) -> Any:
        """The answer's JSON; raises `ApiError` where the service refuses."""
        answer = self.http.request(method, path, **arguments)
        if answer.is_error:
            raise ApiError(answer.status_code, _problem(answer))
        return answer.json() if answer.content else None

    def _post_spec(self, spec: str | dict[str, Any], parameters: dict[str, Any], path: str = "/jobs") -> Any:
        """Send a specification, as YAML or JSON; a connection that breaks is tried again with the same idempotency key."""
        text, kind = (spec, "application/yaml") if isinstance(spec, str) else (json.dumps(spec), "application/json")
        headers = {"Content-Type": kind, "Idempotency-Key": uuid.uuid4().hex}
        for patience in (0.5, 2.0, None):
            try:
                return self.request("POST", path, content=text.encode(), headers=headers, params=parameters)
            except httpx.TransportError:
                if patience is None:
                    raise
                time.sleep(patience)
        raise AssertionError("unreachable")

    def submit(self, spec: str | dict[str, Any]) -> Job:
        """Queue one job; YAML text or a dict. A specification with several replicates: `submit_group`."""
        group = self.submit_group(spec)
        if len(group.jobs) > 1:
            raise ValueError(f"{len(group.jobs)} jobs were queued as group {group.id}; use submit_group for replicates")
        return group.jobs[0]

    def submit_group(self, spec: str | dict[str, Any]) -> Group:
        """Queue a job for each seed of the specification."""
        answer = self._post_spec(spec, {})
        return Group(uuid.UUID(answer["group"]), [Job.of(self, job) for job in answer["jobs"]])

    def plan(self, spec: str | dict[str, Any]) -> dict[str, Any]:
        """What a job would be: resolved specification, parameters, work; nothing is queued."""
        answer: dict[str, Any] = self._post_spec(spec, {"dry_run": True})
        return answer

    def evaluate(
        self, network: "Job | str", protocol: str = "strict", images: int | None = None, **changes: Any
    ) -> Job:
        """Queue an evaluation of a stored network: that of a job, or by the SHA-256 of its file.

        Dataset and threat are those of the job that made it; `changes` are further parts of the specification.
        """
        named = {"sha256": network} if isinstance(network, str) and DIGEST.fullmatch(network) else None
        if named is None:
            job = network if isinstance(network, Job) else self.job(network)
            named = {"job": str(job.id)}
        judged: dict[str, dict[str, Any]] = {
            "strict": {"strict": {"images": images} if images else {}},
            "paper": {"paper": {"attacks": PUBLISHED}},
        }
        if protocol not in judged:
            raise ValueError(f"protocol must be one of {', '.join(judged)}, not {protocol!r}")
        evaluate = {**judged[protocol], **({"images": images} if images else {})}
        asked = {"name": f"{protocol} evaluation", "network": named, "evaluate": evaluate} | changes
        return Job.of(self, self._post_spec(asked, {}, "/evaluations")["jobs"][0])

    def evaluation(self, name: object, part: str = "", **parameters: Any) -> dict[str, Any]:
        """What a job found about its network, by protocol; `part`: samples, outcomes, audit or curve."""
        path = f"/evaluations/{name}/{part}".rstrip("/")
        found: dict[str, Any] = self.request("GET", path, params=parameters)
        return found

    def compare(self, methods: dict[str, Any] | list[Any], score: str = "strict/worst_case") -> dict[str, Any]:
        """Methods by three jobs or more each, or networks by one each: `{"rvsm": [1, 2, 3], "rgsm": group}`.

        A list names none of them, or some: `[12, ("rgsm", 13)]`. Jobs stand for themselves, by id or number; a group, or its
        id, for all its jobs. `score` is the same for all.
        """
        listed = methods.items() if isinstance(methods, dict) else methods
        named = (one if isinstance(one, tuple) else (None, one) for one in listed)
        asked = [{"name": name, "jobs": _named(jobs)} for name, jobs in named]
        found: dict[str, Any] = self.request("POST", "/results/compare", json={"methods": asked, "score": score})
        return found

    def job(self, name: object) -> Job:
        """A job by its id or number, with its results."""
        return Job.of(self, self.request("GET", f"/jobs/{name}"))

    def jobs(self, limit: int = 50, **filters: Any) -> list[Job]:
        """The newest jobs; filters: state, project, q."""
        answer = self.request("GET", "/jobs", params={"limit": limit, **filters})
        return [Job.of(self, job) for job in answer["items"]]

    def submit_all(self, specs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Queue the jobs of up to 1,000 specifications, all or none: of each its id, number, group, name and seed."""
        made: list[dict[str, Any]] = self._post_spec({"jobs": list(specs)}, {}, "/jobs/batch")["jobs"]
        return made

    def cancel(self, name: object) -> Job:
        """Cancel a job."""
        return Job.of(self, self.request("POST", f"/jobs/{name}/cancel"))

    def pause(self, name: object) -> Job:
        """Hold a job back; a running one saves and leaves."""
        return Job.of(self, self.request("POST", f"/jobs/{name}/pause"))

    def resume(self, name: object) -> Job:
        """Let a paused job go on."""
        return Job.of(self, self.request("POST", f"/jobs/{name}/resume"))

    def requeue(self, name: object, from_phase: str | None = None) -> Job:
        """Queue a job that has ended or is paused, to go on where it was, or to do a phase and those behind it again."""
        return Job.of(self, self.request("POST", f"/jobs/{name}/requeue", json={"from_phase": from_phase}))

    def clone(self, name: object, **changes: Any) -> Job:
        """Queue a job of the same specification; changes: name, seed, priority."""
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        answer = self.request("POST", f"/jobs/{name}/clone", json=changes, headers=headers)
        return Job.of(self, answer["jobs"][0])

    def edit(self, name: object, **changes: Any) -> Job:
        """Change name, priority or deadline, whatever others have changed before."""
        return Job.of(self, self.request("PATCH", f"/jobs/{name}", json=changes, headers={"If-Match": "*"}))

    def delete(self, name: object) -> None:
        """Delete a job for good."""
        self.request("DELETE", f"/jobs/{name}")

    def log(self, name: object) -> str:
        """What the process of a job's newest attempt has printed."""
        answer = self.http.get(f"/jobs/{name}/logs")
        if answer.is_error:
            raise ApiError(answer.status_code, _problem(answer))
        return answer.text

    def explain(self, name: object) -> dict[str, Any]:
        """Why a job waits, how many go before it, and when it is likely to start."""
        found: dict[str, Any] = self.request("GET", f"/jobs/{name}/explain")
        return found

    def metrics(self, name: object, **parameters: Any) -> dict[str, Any]:
        """A job's figures over time."""
        answer: dict[str, Any] = self.request("GET", f"/jobs/{name}/metrics", params=parameters)
        return answer

    def events(self, job: Job, after: int = 0) -> Iterator[dict[str, Any]]:
        """The events of a job as they come, until it has ended: `{"kind": ..., ...}`.

        A stream that breaks is taken up again where it broke; events are neither lost nor repeated. Between them come
        `{"kind": "progress", ...}`.
        """
        while True:
            try:
                for kind, number, data in self._stream(f"/jobs/{job.id}/events", after):
                    after = number or after
                    body = data if kind == "progress" else data["body"]
                    yield {**body, "kind": kind, "seq": number}
                if self.job(job.id).ended:
                    return
            except httpx.TransportError:
                time.sleep(1)

    def _stream(self, path: str, after: int) -> Iterator[tuple[str, int | None, dict[str, Any]]]:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        with self.http.stream("GET", path, headers=headers, timeout=httpx.Timeout(60, read=40)) as answer:
            if answer.is_error:
                answer.read()
                raise ApiError(answer.status_code, _problem(answer))
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if line and name:
                    fields[name] = value
                elif not line and "data" in fields:
                    yield fields["event"], int(fields["id"]) if "id" in fields else None, json.loads(fields["data"])
                    fields = {}

    def presets(self) -> list[dict[str, Any]]:
        """The published tables and examples that come with the service."""
        found: list[dict[str, Any]] = self.request("GET", "/presets")["items"]
        return found

    def preset(self, name: str) -> dict[str, Any]:
        """One of them, with the specification of every row."""
        found: dict[str, Any] = self.request("GET", f"/presets/{name}")
        return found

    def run_preset(
        self, name: str, rows: list[str] | None = None, replicates: int = 1, ways: list[str] | None = None
    ) -> dict[str, Any]:
        """Queue the jobs of a table's rows, each way to run them (all if None); what is there is not queued again."""
        asked = {"rows": rows, "replicates": replicates, "configurations": ways}
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        done: dict[str, Any] = self.request("POST", f"/presets/{name}/run", json=asked, headers=headers)
        return done

    def scorecard(self, name: str) -> dict[str, Any]:
        """What was published beside what we got, cell by cell, in per cent."""
        found: dict[str, Any] = self.request("GET", f"/presets/{name}/scorecard")
        return found

    def artifacts(self, name: object) -> list[dict[str, Any]]:
        """The files of a job."""
        found: list[dict[str, Any]] = self.request("GET", f"/jobs/{name}/artifacts")["items"]
        return found

    def download(self, name: object, file: str, path: Path) -> Path:
        """A file of a job, written to `path`."""
        with self.http.stream("GET", f"/jobs/{name}/artifacts/{file}") as answer:
            if answer.is_error:
                answer.read()
                raise ApiError(answer.status_code, _problem(answer))
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as out:
                for chunk in answer.iter_bytes():
                    out.write(chunk)
        return path

    def download_all(self, job: Job, folder: Path) -> list[Path]:
        """The exported models of a job."""
        exports = [one["name"] for one in self.artifacts(job.id) if one["about"].get("kind") == "export"]
        return [self.download(job.id, file, folder / file) for file in exports]


def _named(jobs: Any) -> list[str]:
    """Jobs, groups, ids and numbers, or one of them, as the API takes them."""
    return [
        str(one.id if isinstance(one, Job | Group) else one) for one in (jobs if isinstance(jobs, list) else [jobs])
    ]


def _problem(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"title": f"HTTP {answer.status_code}", "detail": answer.text[:200]}
