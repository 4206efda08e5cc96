"""Events, artifacts, tokens, idempotency keys, records, workers, the reaper, the bell."""

import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from core.files import sha256
from made import CPU, queue
from store import artifacts, feed, jobs, reaper, records, requests, tokens, workers
from store import queue as bell
from store.database import transaction, uuid7
from store.people import Token
from store.settings import StoreSettings, settings
from store.tables import Job, Worker


def test_events_are_numbered_without_gaps_and_read_after_a_number(database: Session, ada) -> None:
    job = queue(database, ada)
    feed.append(database, job.id, [("noticed", {"text": "a"}), ("noticed", {"text": "b"})])
    feed.append(database, job.id, [("noticed", {"text": "c"})])
    assert [event.seq for event in feed.read(database, job.id)] == [1, 2, 3, 4]
    assert [event.body["text"] for event in feed.read(database, job.id, 2)] == ["b", "c"]


def test_events_of_two_writers_never_share_a_number(database: Session, ada) -> None:
    job_id = queue(database, ada).id
    database.commit()

    def write(name: str) -> None:
        with transaction() as session:
            feed.append(session, job_id, [("noticed", {"text": name})])

    with ThreadPoolExecutor() as pool, transaction() as one:
        feed.append(one, job_id, [("noticed", {"text": "one"})])
        other = pool.submit(write, "other")
        with pytest.raises(TimeoutError):  # it waits for the first, which has not committed
            other.result(0.3)
        one.commit()
        other.result(10)
    events = feed.read(database, job_id, 1)
    assert [(event.seq, event.body["text"]) for event in events] == [(2, "one"), (3, "other")]


def test_a_broker_that_is_away_holds_nobody_up(database: Session, ada, monkeypatch) -> None:
    away = settings().model_copy(update={"broker_url": "redis+socket:///nowhere/valkey.sock"})
    for module in (feed, bell):
        monkeypatch.setattr(module, "settings", lambda: away)
    feed.connection.cache_clear()
    bell.celery.cache_clear()
    try:
        began = time.monotonic()
        feed.announce(uuid.uuid4())
        assert [bell.ring() for _ in range(3)] == [False, False, False]
        assert time.monotonic() - began < 3, "kombu's own patience is two seconds a bell"
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


def test_a_damaged_file_is_replaced_by_the_next_of_its_name(servers, tmp_path: Path) -> None:
    data = os.urandom(100)
    for _ in range(2):
        path = tmp_path / "x"
        path.write_bytes(data)
        digest = sha256(path)
        artifacts.put(path, digest)
        assert artifacts.sound(digest)
        artifacts.place(digest).write_bytes(b"damage")
    assert [found.name for found in artifacts.place(digest).parent.glob(f"*{digest}*")] == [digest]


@pytest.mark.parametrize("digest", ["../../etc/passwd", "a" * 63, "A" * 64, "", "a" * 64 + "/x", "a" * 64 + "\n"])
def test_only_a_digest_names_a_file(servers, digest: str) -> None:
    with pytest.raises(ValueError, match="not a SHA-256"):
        artifacts.place(digest)


def test_a_token_is_shown_once_and_only_its_hash_is_kept(database: Session, ada) -> None:
    token = tokens.issue(database, ada, "laptop")
    assert tokens.bearer(database, token)[1].name == "ada"
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


def test_a_browser_session_ends_with_its_token(database: Session, ada) -> None:
    revoked, expired = tokens.issue(database, ada, "a"), tokens.issue(database, ada, "b", days=1)
    cookies = [tokens.log_in(database, token)[0] for token in (revoked, expired)]
    assert [tokens.browser(database, cookie)[1].name for cookie in cookies] == ["ada", "ada"]
    tokens.revoke(database, ada, revoked.split("_")[1])
    database.execute(text("UPDATE tokens SET expires_at = now() - interval '1 second' WHERE name = 'b'"))
    assert [tokens.browser(database, cookie) for cookie in cookies] == [None, None]
    assert tokens.log_in(database, revoked) is None


def test_a_browser_session_ends_after_its_days(database: Session, ada) -> None:
    cookie, _ = tokens.log_in(database, tokens.issue(database, ada, "laptop"))
    database.commit()
    passed = f"interval '{24 * tokens.SESSION_DAYS} hours'"
    database.execute(text(f"UPDATE sessions SET expires_at = expires_at - {passed}"))
    database.commit()
    assert tokens.browser(database, cookie) is None


def test_a_browser_session_ends_with_the_log_out(database: Session, ada) -> None:
    cookie, csrf = tokens.log_in(database, tokens.issue(database, ada, "laptop"))
    _, user, kept = tokens.browser(database, cookie)
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


def test_a_series_too_long_for_every_level_is_averaged_and_not_cut(database: Session, ada) -> None:
    job = queue(database, ada)
    for number in range(1, 21):
        values = [float(number)] * 351
        records.epoch(database, job.id, 1, epoch_event(number) | {"series": {"train_loss": values}})
    for points in (100, 10):
        read = records.series(database, job.id, "train_loss", points)
        assert points / 2 <= len(read) <= points
        assert read[0] < 2.5, "the first epochs are there"
        assert read[-1] > 18.5
    assert records.series(database, job.id, "train_loss", 1) == [pytest.approx(10.5)]


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
        records.result(database, job.id, {"network": "trained", "protocol": "paper", "label": label, "accuracy": 0.5})
    assert [one["label"] for one in records.results(database, job.id)] == ["clean", "fgsm"]


def test_what_exported_files_leave_stands_beside_and_never_among_a_job_s_results(database: Session, ada) -> None:
    job = queue(database, ada)
    key = {"protocol": "paper", "label": "fgsm"}
    for network, accuracy in (("trained", 0.5), ("1-int8", 0.25), ("2-int8", 0.125), ("1-int8", 0.375)):
        records.result(database, job.id, {"network": network, **key, "accuracy": accuracy})
    assert [one["accuracy"] for one in records.results(database, job.id)] == [0.5]
    assert [one["accuracy"] for one in records.scores(database, [job.id])[job.id]] == [0.5]
    found = [(one["network"], one["accuracy"]) for one in records.exported(database, job.id)]
    assert found == [("1-int8", 0.375), ("2-int8", 0.125)], "what is scored again replaces its row"


def test_the_reaper_ends_lost_attempts_and_the_job_runs_again(database: Session, ada, worker) -> None:
    job = queue(database, ada)
    claimed = jobs.claim(database, worker)
    database.execute(text("UPDATE jobs SET lease_until = now() - interval '1 second'"))
    database.commit()
    for _ in range(50):  # for one lease after its start, Postgres counts as young
        if reaper.reap() == 1:
            break
        time.sleep(0.1)
    database.expire_all()
    found = database.get(Job, job.id)
    assert (found.state, found.reason) == ("queued", "worker_lost")
    assert jobs.claim(database, worker).fence == claimed.fence + 1


def test_the_reaper_of_one_process_looks_at_a_time(database: Session, ada, worker, monkeypatch) -> None:
    monkeypatch.setattr(jobs, "settings", lambda: settings().model_copy(update={"lease_seconds": 0.01}))
    queue(database, ada)
    assert jobs.claim(database, worker)
    database.commit()
    time.sleep(0.05)
    with transaction() as other:
        other.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": reaper.LOCK})
        assert reaper.reap() == 0
    assert reaper.reap() == 1


def test_workers_that_were_not_seen_lately_are_not_listed(database: Session, worker) -> None:
    assert [found.id for found, _ in workers.living(database, 30)] == [worker]
    database.execute(text("UPDATE workers SET seen_at = now() - interval '1 minute'"))
    assert workers.living(database, 30) == []


def test_a_team_has_a_gpu_while_a_worker_that_offers_one_lives(database: Session, worker) -> None:
    assert not workers.have_gpu(database)
    machine = workers.register(database, "gpu", 2, [CPU, workers.Device("gpu:0", "gpu", "H", 1, 1)])
    assert workers.have_gpu(database)
    database.execute(update(Worker).where(Worker.id == machine).values(seen_at=text("now() - interval '1 hour'")))
    assert not workers.have_gpu(database)


def test_a_heart_slower_than_the_lease_is_refused(servers) -> None:
    with pytest.raises(ValidationError, match="must be shorter than lease_seconds"):
        StoreSettings(heartbeat_seconds=3, lease_seconds=3)


def test_ids_are_ordered_by_time() -> None:
    ids = [uuid7() for _ in range(3)]
    assert all(found.version == 7 for found in ids)
    assert ids[0].int >> 80 <= ids[1].int >> 80 <= ids[2].int >> 80
