"""Events, artifacts, tokens, idempotency keys, records, workers, the reaper, the bell."""

import os
import uuid
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core.files import sha256
from made import CPU, queue
from store import artifacts, feed, jobs, reaper, records, requests, tokens, workers
from store import queue as bell
from store.database import transaction, uuid7
from store.settings import settings
from store.tables import Job, Token


def test_events_are_numbered_without_gaps_and_read_after_a_number(database: Session, ada) -> None:
    job = queue(database, ada)
    feed.append(database, job.id, [("noticed", {"text": "a"}), ("noticed", {"text": "b"})])
    feed.append(database, job.id, [("noticed", {"text": "c"})])
    assert [event.seq for event in feed.read(database, job.id)] == [1, 2, 3, 4]
    assert [event.body["text"] for event in feed.read(database, job.id, 2)] == ["b", "c"]


def test_events_of_two_writers_never_share_a_number(database: Session, ada) -> None:
    job_id = queue(database, ada).id
    database.commit()
    with transaction() as one:
        feed.append(one, job_id, [("noticed", {"text": "one"})])
    with transaction() as other:
        feed.append(other, job_id, [("noticed", {"text": "other"})])
    assert [event.seq for event in feed.read(database, job_id)] == [1, 2, 3]


def test_a_broker_that_is_away_holds_nobody_up(database: Session, ada, monkeypatch) -> None:
    away = settings().model_copy(update={"broker_url": "redis+socket:///nowhere/valkey.sock"})
    for module in (feed, bell):
        monkeypatch.setattr(module, "settings", lambda: away)
    feed.connection.cache_clear()
    bell.celery.cache_clear()
    try:
        feed.announce(uuid.uuid4())
        assert bell.ring() is False
    finally:
        feed.connection.cache_clear()
        bell.celery.cache_clear()


def test_a_file_is_kept_once_by_its_content(servers, tmp_path: Path) -> None:
    digests = set()
    for name in ("a", "b"):
        path = tmp_path / name
        path.write_bytes(b"the same")
        digest = sha256(path)
        artifacts.put(path, digest)
        digests.add(digest)
        assert not path.exists()
    (digest,) = digests
    assert artifacts.place(digest).read_bytes() == b"the same"
    assert artifacts.sound(digest)


def test_a_damaged_file_is_not_sound(servers, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(os.urandom(100))
    digest = sha256(path)
    artifacts.put(path, digest)
    place = artifacts.place(digest)
    place.write_bytes(place.read_bytes()[:-1])
    assert not artifacts.sound(digest)


@pytest.mark.parametrize("digest", ["../../etc/passwd", "a" * 63, "A" * 64, "", "a" * 64 + "/x", "a" * 64 + "\n"])
def test_only_a_digest_names_a_file(servers, digest: str) -> None:
    with pytest.raises(ValueError, match="not a SHA-256"):
        artifacts.place(digest)


def test_a_token_is_shown_once_and_only_its_hash_is_kept(database: Session, ada) -> None:
    token = tokens.issue(database, ada, "laptop")
    assert tokens.bearer(database, token).name == "ada"
    kept = database.scalars(select(Token)).one()
    secret = token.split("_")[2]
    assert secret[:48].encode() not in kept.secret_sha256
    assert kept.id == token.split("_")[1]


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t[:-1],
        lambda t: t[:-1] + ("0" if t[-1] != "0" else "1"),
        lambda t: t.replace("spr", "abc"),
        lambda t: "",
        lambda t: t + "é",
        lambda t: "spr_" + "_".join(t.split("_")[1:]).swapcase(),
    ],
)
def test_a_token_that_is_not_quite_right_is_nobodys(database: Session, ada, change) -> None:
    assert tokens.bearer(database, change(tokens.issue(database, ada, "laptop"))) is None


def test_expired_and_revoked_tokens_are_nobodys(database: Session, ada) -> None:
    short, other = tokens.issue(database, ada, "short", days=1e-9), tokens.issue(database, ada, "other")
    database.commit()
    assert tokens.bearer(database, short) is None
    assert tokens.revoke(database, ada, other.split("_")[1])
    database.commit()
    assert tokens.bearer(database, other) is None
    assert tokens.valid(database, ada) == []


def test_a_browser_session_ends_with_the_log_out(database: Session, ada) -> None:
    cookie, csrf = tokens.log_in(database, ada)
    user, kept = tokens.browser(database, cookie)
    assert (user.name, kept) == ("ada", csrf)
    tokens.log_out(database, cookie)
    assert tokens.browser(database, cookie) is None


def test_a_key_gets_its_stored_answer_and_no_other_request(database: Session, ada) -> None:
    assert requests.answered(database, ada, "k", b"1" * 32) is None
    requests.remember(database, ada, "k", b"1" * 32, {"job": 1})
    database.commit()
    assert requests.answered(database, ada, "k", b"1" * 32) == {"job": 1}
    with pytest.raises(requests.KeyReused):
        requests.answered(database, ada, "k", b"2" * 32)


def test_a_key_in_flight_is_refused(database: Session, ada) -> None:
    database.commit()
    with transaction() as one, transaction() as other:
        requests.answered(one, ada, "k", b"1" * 32)
        with pytest.raises(requests.KeyInFlight):
            requests.answered(other, ada, "k", b"1" * 32)


def test_keys_are_forgotten_after_a_day(database: Session, ada) -> None:
    requests.remember(database, ada, "k", b"1" * 32, {"job": 1})
    database.execute(text("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'"))
    database.commit()
    assert requests.answered(database, ada, "k", b"2" * 32) is None


def epoch_event(number: int, digest: str = "d" * 64) -> dict:
    saved = {"phase": "train", "epoch": number, "batch": 0, "sha256": digest}
    return {
        "epoch": number,
        "stage": "train",
        "best": True,
        "values": {"loss": 1.0},
        "layers": [],
        "series": {"train_loss": [float(i) for i in range(100)]},
        "checkpoint": saved,
    }


def test_an_epoch_that_is_run_again_replaces_its_row(database: Session, ada) -> None:
    job = queue(database, ada)
    for fence in (1, 2):
        records.epoch(database, job.id, fence, epoch_event(1))
    database.expire_all()
    (row,) = records.epochs(database, job.id)
    assert (row.epoch, row.fence) == (1, 2)


def test_a_series_is_read_at_the_finest_level_that_fits(database: Session, ada) -> None:
    job = queue(database, ada)
    for number in (1, 2):
        records.epoch(database, job.id, 1, epoch_event(number))
    assert records.series_names(database, job.id) == ["train_loss"]
    assert len(records.series(database, job.id, "train_loss", 1000)) == 200
    coarse = records.series(database, job.id, "train_loss", 100)
    assert len(coarse) == 26
    assert coarse[0] == pytest.approx(3.5)
    assert records.series(database, job.id, "nothing", 100) == []


def test_the_newest_two_checkpoints_are_kept(database: Session, ada) -> None:
    job = queue(database, ada)
    gone = []
    for number in range(4):
        gone += records.checkpoint(
            database, job.id, 1, {"phase": "train", "epoch": number, "batch": 0, "sha256": str(number)}
        )
    assert gone == ["0", "1"]
    assert [saved.epoch for saved in records.checkpoints(database, job.id)] == [3, 2]


def test_results_keep_the_order_of_the_attacks(database: Session, ada) -> None:
    job = queue(database, ada)
    for label in ("clean", "fgsm", "clean"):
        records.result(database, job.id, {"protocol": "paper", "label": label, "accuracy": 0.5})
    assert [one["label"] for one in records.results(database, job.id)] == ["clean", "fgsm"]


def test_the_reaper_ends_lost_attempts_and_the_job_runs_again(database: Session, ada, worker) -> None:
    job = queue(database, ada)
    claimed = jobs.claim(database, worker)
    database.execute(text("UPDATE jobs SET lease_until = now() - interval '1 second'"))
    database.commit()
    import time

    for _ in range(50):  # for one lease after its start, Postgres counts as young
        if reaper.reap() == 1:
            break
        time.sleep(0.1)
    database.expire_all()
    found = database.get(Job, job.id)
    assert (found.state, found.reason) == ("queued", "worker_lost")
    assert jobs.claim(database, worker).fence == claimed.fence + 1


def test_the_reaper_of_one_process_looks_at_a_time(database: Session) -> None:
    database.commit()
    with transaction() as other:
        other.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": reaper.LOCK})
        assert reaper.reap() == 0


def test_workers_that_were_not_seen_lately_are_not_listed(database: Session, worker) -> None:
    assert [found.id for found, _ in workers.living(database, 30)] == [worker]
    database.execute(text("UPDATE workers SET seen_at = now() - interval '1 minute'"))
    assert workers.living(database, 30) == []


def test_a_team_has_a_gpu_once_a_worker_has_offered_one(database: Session, worker) -> None:
    assert not workers.have_gpu(database)
    workers.register(database, "gpu", 2, [CPU, workers.Device("gpu:0", "gpu", "H", 1, 1)])
    assert workers.have_gpu(database)


def test_ids_are_ordered_by_time() -> None:
    ids = [uuid7() for _ in range(3)]
    assert all(found.version == 7 for found in ids)
    assert ids[0].int >> 80 <= ids[1].int >> 80 <= ids[2].int >> 80
