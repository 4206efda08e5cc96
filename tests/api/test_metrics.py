"""What Prometheus is told, and what the access log holds."""

import json
import logging
import time
import uuid
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from made import CPU, queue
from store import attempts, jobs, logs, tokens, workers
from store.database import transaction
from worker.recorder import Fenced, Recorder

SPEC = {"dataset": "fashion_mnist_sample", "model": "lenet5"}


def scraped(api: Any) -> dict[str, dict[tuple[str, ...], float]]:
    """Values by name and labels."""
    answer = api.get("/api/v1/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_an_empty_service_has_a_zero_for_every_state_and_outcome(api) -> None:
    found = scraped(api)
    states = ("queued", "running", "paused", "succeeded", "failed", "cancelled")
    assert found["sparring_jobs"] == {(state,): 0 for state in states}
    assert set(found["sparring_attempts_total"]) == {("done",), ("failed",), ("left",), ("lost",)}
    assert found["sparring_queue_oldest_seconds"] == found["sparring_event_lag_seconds"] == {(): 0}


def test_jobs_slots_attempts_and_refused_writes_are_what_the_tables_hold(api) -> None:
    with transaction() as session:
        ada = tokens.user_named(session, "ada")
        worker = workers.register(session, "host", 1, [CPU, workers.Device("gpu:0", "gpu", "H", 1, 2)])
        for _ in range(3):
            queue(session, ada)
        lost = jobs.claim(session, worker)
        session.execute(text("UPDATE jobs SET lease_until = now() - interval '1 s' WHERE state = 'running'"))
        assert jobs.lose(session, lost.job_id, lost.fence)
        assert jobs.claim(session, worker)
        session.execute(text("UPDATE jobs SET created_at = now() - interval '90 s' WHERE state = 'queued'"))
    stale = Recorder(lost.job_id, lost.fence, 0)
    for _ in range(2):
        try:
            stale._commit(lambda session: attempts.summarise(session, lost.job_id, lost.fence, trust="passed"), 0)
        except Fenced:
            continue
    found = scraped(api)
    assert (found["sparring_jobs"]["queued",], found["sparring_jobs"]["running",]) == (2, 1)
    assert 90 <= found["sparring_queue_oldest_seconds"][()] < 100
    assert found["sparring_claims_total"] == {(): 2}
    assert found["sparring_attempts_total"]["lost",] == found["sparring_lease_losses_total"][()] == 1
    assert found["sparring_stale_writes_refused_total"] == {(): 2}
    assert found["sparring_workers"] == {(): 1}
    assert found["sparring_slots"] == {("cpu", "busy"): 1, ("cpu", "free"): 0, ("gpu", "busy"): 0, ("gpu", "free"): 2}


def test_requests_are_counted_and_timed_by_route_and_no_name_becomes_a_label(api) -> None:
    before = scraped(api)
    api.post("/api/v1/jobs", json=SPEC)
    for _ in range(3):
        api.get("/api/v1/jobs/1")
    api.get("/api/v1/jobs/4711")
    for path in ("/nothing", "/static/app.css", "/api/v1/healthz"):
        api.get(path)
    time.sleep(0.2)  # a request is noted when its answer is over, a moment after the client has it
    after = scraped(api)

    def more(*labels: str) -> float:
        counts = "sparring_requests_total"
        return after[counts].get(labels, 0) - before.get(counts, {}).get(labels, 0)

    one = "/api/v1/jobs/{name}"
    assert (more("GET", one, "200"), more("GET", one, "404"), more("POST", "/api/v1/jobs", "201")) == (3, 1, 1)
    assert (more("GET", "none", "404"), more("GET", "/static", "200")) == (1, 1)
    timed = "sparring_request_seconds_count"
    assert after[timed]["GET", one] - before.get(timed, {}).get(("GET", one), 0) == 4
    assert not any(
        "4711" in label or "nothing" in label for labels in after["sparring_requests_total"] for label in labels
    )


def test_metrics_of_ten_thousand_jobs_are_read_at_once(api) -> None:
    with transaction() as session:
        ada = tokens.user_named(session, "ada")
        job = queue(session, ada)
        session.flush()
        session.execute(
            text(
                "INSERT INTO jobs SELECT (jsonb_populate_record(j, jsonb_build_object('id', gen_random_uuid(), 'number', n))).* "
                "FROM jobs j, generate_series(2, 10000) n WHERE j.id = :id"
            ),
            {"id": job.id},
        )
    scraped(api)
    began = time.monotonic()
    assert scraped(api)["sparring_jobs"]["queued",] == 10_000
    assert time.monotonic() - began < 0.5


def test_the_access_log_has_who_what_and_how_long_and_neither_names_nor_queries(api, caplog) -> None:
    caplog.set_level(logging.INFO, "sparring.access")
    answer = api.get("/api/v1/jobs/4711", params={"secret": "geheim"})
    time.sleep(0.2)
    (record,) = [one for one in caplog.records if one.name == "sparring.access"]
    assert record.facts == {
        "user": "ada",
        "method": "GET",
        "route": "/api/v1/jobs/{name}",
        "status": 404,
        "milliseconds": record.facts["milliseconds"],
    }
    assert 0 < record.facts["milliseconds"] < 10_000
    assert uuid.UUID(answer.headers["x-request-id"])
    assert "geheim" not in logs.Json().format(record)


def test_every_line_of_a_request_has_its_id(api, caplog, monkeypatch) -> None:
    """The route logs in a thread of a pool; the formatter is called there, as a handler does."""
    lines: list[dict[str, Any]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(logs.Json().format(record)))

    from api.routes import system

    monkeypatch.setattr(system.feed, "database_answers", lambda _: logging.getLogger("x").warning("asked") or True)
    handler = Keep()
    logging.getLogger().addHandler(handler)
    caplog.set_level(logging.INFO)
    try:
        answer = api.get("/api/v1/readyz")
        time.sleep(0.2)
    finally:
        logging.getLogger().removeHandler(handler)
    told = {line["message"]: line["request_id"] for line in lines if line["logger"] in ("x", "sparring.access")}
    assert told == dict.fromkeys(("asked", "request"), answer.headers["x-request-id"])
