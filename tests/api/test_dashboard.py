"""The dashboard: what its pages are made of, who may see them, and that nothing a person types becomes markup."""

import hashlib
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from api.dashboard import curves, figures, headline, jobpage, lines, listing, titles
from api.dashboard.templating import HERE, STATIC, environment
from api.middleware import CSP
from core.spec import parse
from store import records, tokens
from store.database import transaction
from store.tables import Epoch, Event, Job

NASTY = '<img src=x onerror="alert(1)">'
SENT = {
    "name": "lenet", "model": "lenet5", "objective": "pgd", "sparsifier": "rgsm", "threat": {"eps": "8/255"},
    "dataset": {"name": "fashion_mnist_sample", "validation": 1000}, "resources": {"gpus": 0},
    "train": {"epochs": 12, "schedule": {"name": "multistep", "milestones": [4, 8, 20]}, "select": {"metric": "pgd5"}},
    "evaluate": {"images": 1000, "paper": {"attacks": ["fgsm", {"name": "ifgsm", "steps": 20}]}},
}  # fmt: skip
SPEC = parse(SENT).json_dict()
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HTML = {"accept": "text/html"}
PROGRESS = {"phase": "train", "text": "epoch 3/12", "done": 3.0, "total": 12.0}


def scored(label: str, accuracy: float, name: str | None, **more: Any) -> dict[str, Any]:
    attack = {"name": name, "eps": "8/255"} if name else {}
    steps = int(re.sub(r"\D", "", label) or 1)
    return {
        "kind": "scored", "network": "trained", "protocol": "paper", "label": label, "attack": attack, "eps": 0.03, "steps": steps,
        "restarts": 1, "draws": 1, "images": 1000, "correct": round(1000 * accuracy), "accuracy": accuracy,
        "low": accuracy - 0.03, "high": accuracy + 0.03, "seconds": 3.0, "survived": "10" * 500, **more,
    }  # fmt: skip


CHOSEN = {"epoch": 2, "metric": "pgd5", "best": 0.5, "last": 0.5}
RESULTS = [scored("clean", 0.8, None), scored("fgsm", 0.6, "fgsm"), scored("ifgsm20", 0.5, "ifgsm")]


def a_job(**more: Any) -> Job:
    made: dict[str, Any] = {
        "id": uuid.uuid4(), "group_id": uuid.UUID(int=1), "number": 7, "name": "lenet", "kind": "train", "seed": 1,
        "spec": SPEC, "state": "queued", "wish": "none", "reason": "waiting", "trust": "unaudited", "progress": {},
        "phases": {}, "last": {}, "created_at": NOW, "started_at": None, "ended_at": None, "last_seq": 1,
    }  # fmt: skip
    return Job(**made | more)


def test_numbers_are_written_for_people() -> None:
    assert (figures.percent(0.4194), figures.percent(None), figures.count(1350)) == ("41.9", "–", "1,350")
    assert (figures.size(4_400_000), figures.scaled(61_706), figures.small(1e-5)) == ("4.4 MB", ("61.7", "k"), "1e-5")
    spans = " | ".join(figures.span(seconds) for seconds in (0.04, 41, 720, 29_100, 300_000))
    assert spans == "0.0 s | 41 s | 12 min | 8 h 05 min | 3 d 11 h"
    ages = " | ".join(figures.age(NOW - timedelta(seconds=seconds), NOW) for seconds in (5, 300, 7300, 200_000))
    assert ages == "now | 5 min | 2 h | 2 d"
    assert (titles.method({"name": "admm", "mode": "thesis"}), titles.method({"name": "rgsm"})) == (
        "ADMM as published",
        "RGSM",
    )
    assert (titles.threat(SPEC["threat"]), titles.radius(0.1)) == ("ℓ∞ 8/255", "0.1")
    assert titles.schedule(SPEC["train"]) == "12 epochs · ÷10 at 4, 8"


def test_attacks_made_of_attacks_and_classes_of_libraries_have_names_that_say_so() -> None:
    eot = {"name": "eot", "attack": {"name": "pgd"}}
    assert titles.attack({"attack": eot}) == "EOT PGD"
    assert titles.attack({"attack": {"name": "transfer", "attack": eot}}) == "Transfer EOT PGD"
    assert titles.attack({"attack": {"name": "torchattacks", "attack": "APGD"}}) == "APGD"
    assert titles.attack({"attack": {"name": "spsa"}}) == "SPSA"
    assert titles.attack({"attack": {}}) == "no attack"


def test_a_mean_over_seeds_needs_two_for_a_deviation() -> None:
    assert (figures.mean([None]), figures.mean([0.5, None])) == (None, figures.Mean(0.5, None, 1))
    assert figures.mean([0.4, 0.6]) == figures.Mean(0.5, pytest.approx(0.1414, abs=1e-3), 2)


def test_the_headline_is_provisional_until_the_attacks_it_waits_for() -> None:
    last = {"validation_pgd5": 0.55, "validation_clean": 0.7}
    early, final = headline.robust(RESULTS[:2], last, SPEC), headline.robust(RESULTS, last, SPEC)
    assert early
    assert final
    assert (early.protocol, early.label, early.low < 0.55 < early.high) == ("validation", "PGD-5", True)
    assert (final.share, final.protocol, final.label) == (0.5, "paper", "IFGSM-20")
    assert (early.provisional, final.provisional) == (True, False)


def test_without_iterated_attacks_the_strongest_on_the_most_images_stands_for_robustness() -> None:
    spec = parse({**SENT, "evaluate": {"paper": {"attacks": ["fgsm", "nattack"]}}}).json_dict()
    found = headline.robust([RESULTS[1], scored("nattack400", 0.1, "nattack", images=50)], {}, spec)
    assert (found and found.label) == "FGSM"


def row(**more: Any) -> listing.Row:
    return a_job(**more), "default", "ada"


def test_the_seeds_of_a_submission_become_one_group_in_order() -> None:
    rows = [row(seed=2, number=2), row(seed=1, number=1), row(group_id=uuid.UUID(int=2), number=3)]
    first, second = listing.groups(rows, {})
    assert (first.numbers, [line.job.seed for line in first.lines], second.numbers) == ("#1–2", [1, 2], "#3")


def test_a_group_averages_figures_of_one_protocol_only() -> None:
    rows = [row(seed=1), row(seed=2, last={"validation_clean": 0.1}), row(seed=3)]
    results = {rows[0][0].id: RESULTS, rows[2][0].id: [scored("clean", 0.6, None)]}
    (group,) = listing.groups(rows, results)
    assert (group.clean and group.clean.value, group.provisional) == (pytest.approx(0.7), False)


def test_a_group_shows_its_busiest_state_and_its_worst_verdict() -> None:
    rows = [row(seed=1, state="succeeded", trust="passed"), row(seed=2, state="running", progress={}, trust="warnings")]
    (group,) = listing.groups(rows, {})
    assert (group.state, group.doing) == ("running", "1 running · 1 succeeded")
    assert (group.trust, group.share) == ("warnings", 0.5)


def test_a_page_never_ends_within_a_submission() -> None:
    rows = [row(group_id=uuid.UUID(int=n)) for n in (1, 2, 2, 2, 3)]
    assert [len(listing.whole_groups(rows, least)[0]) for least in (1, 2, 3, 4, 5, 9)] == [1, 4, 4, 4, 5, 5]
    assert [listing.whole_groups(rows, least)[1] for least in (1, 4, 5, 9)] == [True, True, False, False]


def test_the_words_under_a_state() -> None:
    running, stopped = a_job(state="running", progress=PROGRESS), a_job(reason="user", last={"epoch": 3, "epochs": 12})
    assert (listing.doing(running), listing.share(running)) == ("train · epoch 3/12", 0.25)
    running.wish = "cancel"
    assert (listing.doing(running), listing.doing(stopped)) == ("is being cancelled", "user · epoch 3/12")


def test_the_phase_strip_says_what_is_done_under_way_and_not_asked_for() -> None:
    known = {"prepare": {"state": "succeeded", "seconds": 41.0}, "train": {"state": "running"}}
    job = a_job(spec=SPEC | {"compact": None}, state="running", phases=known, progress=PROGRESS)
    strip = jobpage.phases(job)
    assert [phase.state for phase in strip[:4]] == ["succeeded", "running", "off", "waiting"]
    assert (strip[1].share, strip[1].detail, strip[3].detail) == (0.25, "epoch 3/12", "2 attacks")
    job.state, job.reason = "failed", "diverged"
    assert jobpage.phases(job)[1] == jobpage.Phase("train", "failed", "diverged")


def test_sizes_count_the_channels_of_the_epoch() -> None:
    layers = [{"layer": "a", "alive": 1, "total": 1}, {"layer": "b", "alive": 2, "total": 7}]
    found = jobpage.sizes(a_job(), Epoch(epoch=3, layers=layers, values={"weight_sparsity": 0.5}))
    assert (found.dead, found.channels, found.channel_sparsity, found.weight_sparsity) == (5, 8, 0.625, 0.5)
    assert jobpage.sizes(a_job(), None).channel_sparsity is None


def test_an_overfit_is_named_only_where_the_last_epoch_is_worse_than_the_chosen() -> None:
    selected = {"epoch": 5, "metric": "pgd5", "best": 0.5, "last": 0.45}
    assert jobpage.overfit(a_job(last={"epoch": 9, "selected": selected})) == pytest.approx(0.05)
    assert jobpage.overfit(a_job(last={"epoch": 9, "selected": selected | {"last": 0.47}})) is None
    assert jobpage.overfit(a_job(last={"epoch": 5, "selected": selected})) is None


def test_an_attack_row_says_radius_steps_and_interval() -> None:
    clean, _, strong = jobpage.attacks(RESULTS)
    assert (clean.name, clean.eps, clean.steps) == ("no attack", "–", "–")
    assert (strong.name, strong.eps, strong.steps, strong.accuracy.images) == ("IFGSM", "8/255", "20", 1000)
    axis = jobpage.scale([row.accuracy for row in jobpage.attacks(RESULTS)])
    assert (axis.low, axis.high, axis.at(0.65)) == (0.4, 0.9, pytest.approx(50))


def test_checks_come_worst_first_with_their_places_on_the_strip() -> None:
    body = {"check": "twice_the_steps", "value": 0.3, "passes": 0.5, "fails": 1.5, "unit": "points lost", "images": 256}
    good = body | {"verdict": "passed", "words": "fine"}
    bad = good | {"check": "eps_0", "value": 3.0, "passes": 0, "fails": 0, "verdict": "failed", "advice": "Report it."}
    first, second = jobpage.checks([good, bad])
    assert (first.verdict, second.verdict) == ("failed", "passed")
    assert (first.advice, second.advice) == ("Report it.", "")
    assert second.thresholds == "passes up to 0.5, fails above 1.5"
    assert 0 < second.at < second.passes_at < second.fails_at < 100
    assert jobpage.verdict([good, bad], "unaudited") == "1 of 2 checks so far did not pass."


def test_long_curves_are_thinned_but_keep_extremes_and_the_last_point() -> None:
    values: curves.Column = [float(i % 7) for i in range(5000)]
    values[1234], values[-1] = 99.0, None
    x, thin = curves.thinned(list(range(1, 5001)), {"a": values}, 1000)
    assert len(x) == len(thin["a"]) <= 1000
    assert (x == sorted(set(x)), 99.0 in thin["a"]) == (True, True)
    assert (x[-1], thin["a"][-1]) == (5000, None)
    assert curves.thinned([1, 2], {"a": [1.0, None]}, 1000) == ([1, 2], {"a": [1.0, None]})


def test_the_picture_of_channels_has_few_columns_and_the_newest_epoch() -> None:
    layers = [{"layer": "conv1", "alive": 2, "total": 3}]
    heat = curves.heat([Epoch(epoch=n, layers=layers, values={}) for n in range(1, 1002)])
    assert (len(heat["x"]) <= 200, heat["x"][-1]) == (True, 1001)
    assert (heat["layers"], heat["alive"][0]) == ([{"name": "conv1", "total": 3}], [2])
    assert curves.drops(SPEC["train"]) == [4, 8]


def test_the_line_of_the_anatomy_counts_zeros() -> None:
    assert lines.words("dissected", {"zeros": 1500, "weights": 9000}) == (
        "train",
        "1,500 of 9,000 convolution weights are zero",
    )


def test_events_become_lines_and_a_failure_stands_out() -> None:
    told = {"state": "failed", "reason": "data", "message": ""}
    ended = Event(seq=2, kind="state_changed", created_at=NOW, body=told)
    silent = Event(seq=3, kind="checkpoint_saved", created_at=NOW, body={})
    (line,) = lines.lines([ended, silent])
    assert (line.at, line.about, line.words, line.tone) == ("12:00:00", "job", "failed  data", "bad")


def submitted(api: Any, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = api.post("/api/v1/jobs", json=SENT | more).json()["jobs"][0]
    return made


def looked_at(api: Any, path: str) -> str:
    answer = api.get(path, headers=HTML)
    assert answer.status_code == 200, answer.text[:500]
    assert answer.headers["content-security-policy"] == CSP
    assert answer.headers["cache-control"] == "no-store"
    return str(answer.text)


def with_results(job: dict[str, Any], **changes: Any) -> None:
    """Epochs, results and a check, as a run leaves them."""
    layers = [{"layer": "conv1", "alive": 1, "total": 1}, {"layer": "conv2", "alive": 2, "total": 6}]
    values = {"train_loss": 1.5, "validation_clean": 0.7, "validation_pgd5": 0.5, "channel_sparsity": 4 / 7}
    ended = {"stage": "train", "best": True, "values": values, "layers": layers, "checkpoint": {"sha256": "0"}}
    check = {"check": "eps_0", "value": 0, "passes": 0, "fails": 0, "unit": "images changed", "images": 128}
    with transaction() as session:
        row = session.get_one(Job, uuid.UUID(job["id"]))
        for number in (1, 2):
            records.epoch(session, row.id, 1, ended | {"epoch": number, "series": {"train_loss": [2.0, 1.0]}})
        for body in RESULTS:
            records.result(session, row.id, body)
        records.check(session, row.id, check | {"verdict": "passed", "words": NASTY})
        for name, value in ({"last": {"epoch": 2, "epochs": 12, **values}} | changes).items():
            setattr(row, name, value)


def test_names_that_people_choose_never_become_markup(api: Any) -> None:
    job = submitted(api, name=NASTY)
    with_results(job)
    for path in ("", f"/{job['id']}", f"/rows?ids={job['id']}", "?q=%3Cimg", "?project=%3Cimg"):
        assert "<img" not in looked_at(api, f"/jobs{path}")
    assert "&lt;img src=x onerror=&#34;alert(1)&#34;&gt;" in looked_at(api, f"/jobs/{job['id']}")
    assert "<img" not in api.get("/jobs/nothing<img>", headers=HTML).text


def test_a_job_page_shows_its_numbers_with_protocol_interval_and_images(api: Any) -> None:
    job = submitted(api)
    with_results(job)
    text = looked_at(api, f"/jobs/{job['id']}")
    paper, robust = '<span class="pr paper">paper</span>', "95 % 47.0 – 53.0, n 1,000"
    assert all(words in text for words in (paper, robust, "Robust, IFGSM-20", "4 of 7 inputs are zero", "ifgsm20"))
    drawn = api.get(f"/jobs/{job['id']}/curves").json()
    assert (drawn["x"], drawn["values"]["validation_pgd5"], drawn["drops"]) == ([1, 2], [0.5, 0.5], [4, 8])
    steps = api.get(f"/jobs/{job['id']}/curves?series=train_loss").json()
    assert steps == {"x": [0.25, 0.75, 1.25, 1.75], "y": [2.0, 1.0, 2.0, 1.0]}


def test_the_files_say_what_they_save_and_are_judged_beside_the_trained_network(api: Any) -> None:
    job, file = submitted(api), "1-int8.int8.safetensors"
    with_results(job)
    known_by = [f"/jobs/{job['id']}/parts/attacks", f"/jobs/{job['id']}/parts/heads", f"/jobs/rows?ids={job['id']}"]
    before = [looked_at(api, path) for path in known_by]
    about = {"kind": "export", "exporter": "int8", "bytes_fp32": 1_000_000, "logits_difference": 0.0312}
    with transaction() as session:
        records.artifact(session, uuid.UUID(job["id"]), file, "0" * 64, 269_000, about)
        records.artifact(session, uuid.UUID(job["id"]), "0-old.safetensors", "1" * 64, 5, {"kind": "export"})
        for label, accuracy, name in (("clean", 0.72, None), ("ifgsm20", 0.05, "ifgsm")):
            records.result(session, uuid.UUID(job["id"]), scored(label, accuracy, name, network=file))
    part = looked_at(api, f"/jobs/{job['id']}/parts/files")
    rows = {found[0]: re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found[1])).split()
            for found in re.findall(r'<tr data-exported="([^"]+)">(.*?)</tr>', part)}  # fmt: skip
    assert rows[f"{file} clean"] == f"{file} no attack – – 1,000 72.0 69.0 – 75.0 80.0 3.0 s".split()
    assert rows[f"{file} ifgsm20"] == f"{file} IFGSM 8/255 20 1,000 5.0 2.0 – 8.0 50.0 3.0 s".split()
    assert all(words in part for words in ("269.0 kB", ">26.9<", "0.031", '<span class="pr paper">paper</span>'))
    assert [looked_at(api, path) for path in known_by] == before, "a job is known by its trained network alone"
    detail = api.get(f"/api/v1/jobs/{job['id']}").json()
    assert [one["label"] for one in detail["results"]] == ["clean", "fgsm", "ifgsm20"]
    assert [(one["network"], one["label"]) for one in detail["exported"]] == [(file, "clean"), (file, "ifgsm20")]


def test_a_series_of_too_many_values_is_drawn_in_means_over_the_whole_run(api: Any, monkeypatch: Any) -> None:
    job = submitted(api)
    with_results(job)
    monkeypatch.setattr(curves, "POINTS", 2)
    steps = api.get(f"/jobs/{job['id']}/curves?series=train_loss").json()
    assert steps == {"x": [0.5, 1.5], "y": [1.5, 1.5]}


def test_each_part_of_the_page_comes_alone_and_every_state_can_be_shown(api: Any) -> None:
    job = submitted(api)
    for state in ("paused", "failed", "cancelled", "succeeded", "queued"):
        with_results(job, state=state, reason="user", phases={"train": {"state": "running"}})
        assert f'<span class="st {state}">' in looked_at(api, f"/jobs/{job['id']}")
    for part in ("header", "phases", "heads", "spec", "group", "attacks", "audit", "layers", "weights", "log", "files"):
        assert "<html" not in looked_at(api, f"/jobs/{job['id']}/parts/{part}")
    assert "epoch <b>1</b>" in looked_at(api, f"/jobs/{job['id']}/parts/layers?epoch=1")
    assert api.get(f"/jobs/{job['id']}/parts/nothing").status_code == 404


def test_the_weights_are_pictures_with_words_for_each_theme_and_files_in_four_formats(api: Any) -> None:
    job = submitted(api)
    assert "when training has chosen its network" in looked_at(api, f"/jobs/{job['id']}/parts/weights")
    numbers = {"weights": 1000, "zeros": 250, "small": 300, "channels": 7, "dead": 2}
    of_layer = {"layer": "conv2", "layer_weights": 100, "layer_zeros": 10}
    with_results(job, last={"epoch": 2, "epochs": 12, "dissected": numbers | of_layer})
    text = looked_at(api, f"/jobs/{job['id']}")
    assert 'href="#weights"' in text
    shown = re.findall(
        r'<img class="drawn in-(\w+)" src="[^"]*/figures/(\w+).svg\?theme=(\w+)"[^>]*alt="([^"]+)"', text
    )
    assert [theme for _, _, theme, _ in shown] == ["light", "dark"] * 4
    assert all(one == theme for one, _, theme, _ in shown)
    assert (
        "weights",
        "Weights of all convolutions: n 1,000 · 30.0 % below 0.001 in magnitude · 25.0 % exactly zero",
    ) in {(name, alt) for _, name, _, alt in shown}
    assert len(re.findall(r'href="[^"]*/figures/\w+\.(csv|svg|pdf|png)" download', text)) == 16
    with_results(job, state="succeeded", last={"epoch": 2, "epochs": 12, "selected": {**CHOSEN}})
    assert "ran before Sparring kept its network" in looked_at(api, f"/jobs/{job['id']}/parts/weights")


def test_the_jobs_page_is_paged_and_filtered_by_the_server(api: Any) -> None:
    assert "sparring submit presets/demo.yaml" in looked_at(api, "/jobs")
    for n in range(3):
        submitted(api, name=f"run-{n}", project="one")
    submitted(api, name="seeds", project="two", replicates=60)
    first = looked_at(api, "/jobs")
    assert first.count('<tr class="seed"') == 60
    older = re.findall(r'href="(/jobs\?[^"]*cursor=[^"]*)"', first)
    assert looked_at(api, older[0]).count('id="to-') == 3
    assert looked_at(api, "/jobs?project=one&q=run-1").count('id="to-') == 1
    assert "No job matches" in looked_at(api, "/jobs?state=failed")
    assert looked_at(api, "/jobs?q=%00&state=nonsense").count('id="to-') == 61


def test_the_poll_brings_rows_counts_and_the_news_of_newer_jobs(api: Any) -> None:
    job = submitted(api)
    text = looked_at(api, f"/jobs/rows?ids={job['id']}&newest={job['id']}")
    assert f'<template><tr id="job-{job["id"]}" hx-swap-oob="true">' in text
    assert ("every 2s" in text, "Newer jobs" in text) == (True, False)
    submitted(api)
    assert "Newer jobs" in looked_at(api, f"/jobs/rows?newest={job['id']}")


def test_faults_are_pages_for_people_and_documents_for_programs(api: Any) -> None:
    page = api.get("/jobs/999", headers=HTML)
    assert (page.status_code, "There is no job 999." in page.text) == (404, True)
    assert api.get("/nowhere", headers=HTML).text.startswith("<!doctype html>")
    for document in (api.get("/api/v1/jobs/999", headers=HTML), api.get("/jobs/999")):
        assert document.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("name", "written"), [("lenet", "lenet"), ("1e5", "'1e5'"), ("08", "'08'"), ("off", "'off'")])
def test_the_specification_is_a_download_that_can_be_submitted(api: Any, name: str, written: str) -> None:
    job = submitted(api, name=name)
    answer = api.get(f"/jobs/{job['id']}/spec.yaml")
    assert answer.text.startswith(f"version: 1\nkind: train\nname: {written}\n")
    assert answer.headers["content-disposition"] == f'attachment; filename="job-{job["number"]}.yaml"'
    again = api.post("/api/v1/jobs?dry_run=true", content=answer.content, headers={"content-type": "application/yaml"})
    assert again.json()["digest"] == job["digest"]


def test_viewers_may_look_but_find_no_cancel_button(api: Any, database: Session) -> None:
    job = submitted(api)
    viewer = tokens.issue(database, tokens.user_named(database, "vera", "viewer"), "t")
    headers = HTML | {"authorization": f"Bearer {viewer}"}
    database.commit()
    assert 'id="cancel"' not in api.get(f"/jobs/{job['id']}", headers=headers).text
    assert api.post(f"/jobs/{job['id']}/cancel", data={"csrf": ""}, headers=headers).status_code == 403


def test_vendored_files_are_those_that_their_readme_names_and_are_kept_by_the_browser(api: Any) -> None:
    kept = [api.get(f"/static/{name}").headers["cache-control"] for name in ("vendor/htmx-2.0.11.min.js", "app.css")]
    assert kept == ["public, max-age=31536000, immutable", "no-cache"]
    table = re.findall(r"^\| `([^`]+)` .*`([0-9a-f]{64})` \|$", (STATIC / "vendor/README.md").read_text(), re.MULTILINE)
    assert {name for name, _ in table} == {path.name for path in (STATIC / "vendor").glob("*.[jc]s*")}
    for name, digest in table:
        assert hashlib.sha256((STATIC / "vendor" / name).read_bytes()).hexdigest() == digest, name


def test_templates_hold_no_inline_style_script_or_foreign_address() -> None:
    for path in (HERE / "templates").rglob("*.html"):
        text = path.read_text()
        assert not re.search(r"\sstyle=|<style|\son[a-z]+=|javascript:|=.https?:|\| *safe(?! if swapped)", text), path
        assert not re.search(r"<script(?![^>]*\ssrc=)", text), path
    assert environment.autoescape is True
