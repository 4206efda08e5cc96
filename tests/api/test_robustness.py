"""The pages of evaluations: two protocols side by side and never in one column, and jobs of kind evaluate in every view."""

import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from api.archives import Worst
from api.dashboard import headline, jobpage, lines, listing, robustness, titles
from api.evaluations import Curve, Point, Sample
from api.middleware import CSP
from core.events import Event
from core.spec import parse
from recorded import TRAINING, ran, record
from store.tables import Artifact, Job

HTML = {"accept": "text/html"}
SPEC = parse(TRAINING).json_dict()
TAGS = re.compile(r"<[^>]+>")


def scored(protocol: str, label: str, accuracy: float, name: str | None = "pgd", **more: Any) -> dict[str, Any]:
    attack = {"name": name, "eps": 0.1} if name else {}
    about = {"protocol": protocol, "label": label, "attack": attack, "eps": 0.1, "steps": 5, "restarts": 1, "eot": 1}
    found = {"accuracy": accuracy, "low": accuracy - 0.05, "high": accuracy + 0.05, "images": 100, "seconds": 1.0}
    return about | found | {"selection_draws": 0, "draws": 1, "always": None} | more


CLEAN, PGD = scored("paper", "clean", 0.8, None), scored("paper", "pgd5", 0.5)
STRICT = [
    scored("strict", "clean", 0.7, None),
    scored("strict", "pgd5", 0.4),
    scored("strict", "worst_case", 0.3, None, steps=0),
]


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    return ran(tmp_path_factory.mktemp("run"))


@pytest.fixture
def job(database: Session, events: list[Event], tmp_path: Path) -> Job:
    return record(database, events, tmp_path)


def looked_at(api: Any, path: str) -> str:
    answer = api.get(path, headers=HTML)
    assert answer.status_code == 200, answer.text[:500]
    assert answer.headers["content-security-policy"] == CSP
    return str(answer.text)


def rows(text: str, mark: str) -> dict[str, list[str]]:
    found = re.findall(rf'<tr data-{mark}="([^"]+)"[^>]*>(.*?)</tr>', text, re.DOTALL)
    return {name: TAGS.sub(" ", cells).split() for name, cells in found}


# ---- numbers of two protocols


def test_the_headline_of_a_job_is_its_strict_worst_case_and_names_the_protocol() -> None:
    worst = headline.strict([CLEAN, PGD, *STRICT])
    assert worst
    assert (worst.share, worst.protocol, worst.label, worst.provisional) == (0.3, "strict", "worst case", False)
    assert headline.strict([CLEAN, PGD, *STRICT[:2]]) is None, "not before all strict attacks are done"


def test_what_lists_call_robust_is_of_the_papers_protocol_alone() -> None:
    found = headline.robust([CLEAN, PGD, *STRICT], {}, SPEC)
    assert (found and (found.share, found.protocol)) == (0.5, "paper")
    assert headline.robust(STRICT, {}, SPEC) is None, "a strict number never fills the paper's column"
    both = [headline.clean([CLEAN, PGD, *STRICT], {}, SPEC, protocol) for protocol in ("paper", "strict")]
    assert [(one.share, one.protocol) for one in both if one] == [(0.8, "paper"), (0.7, "strict")]


def test_a_group_averages_each_protocol_by_itself(database: Session) -> None:
    def line(job: Job, scores: list[dict[str, Any]]) -> listing.Line:
        return listing.line((job, "", ""), {job.id: scores})

    made = [Job(id=n, kind="train", spec=SPEC, last={}, state="succeeded", trust="passed") for n in (1, 2)]  # type: ignore[arg-type]
    group = listing.Group((line(made[0], [CLEAN, PGD, *STRICT]), line(made[1], [CLEAN, PGD])))
    assert group.robust
    assert group.strict
    assert (group.robust.value, group.robust.n, group.strict.value, group.strict.n) == (0.5, 2, 0.3, 1)


def test_the_tables_hold_one_protocol_each() -> None:
    every = [CLEAN, PGD, *STRICT]
    assert [row.label for row in jobpage.attacks(every)] == ["clean", "pgd5"]
    other = [one | {"network": "file", "accuracy": 0.1} for one in every]
    files = jobpage.exported(other, every, "strict")
    assert [(row.attack.label, row.trained and row.trained.share) for row in files] == [("clean", 0.7), ("pgd5", 0.4), ("worst_case", 0.3)]  # fmt: skip
    assert [row.attack.label for row in jobpage.exported(other, every)] == ["clean", "pgd5"]


def test_a_strict_row_says_radius_draws_and_archive_and_a_random_network_what_is_always_right() -> None:
    files = [Artifact(name="trained-pgd5.npz"), Artifact(name="trained-worst_case.npz")]
    drawn = {"eot": 4, "selection_draws": 32, "draws": 64, "always": 0.25}
    random = [one | drawn for one in STRICT]
    clean, attacked, worst = robustness.strict(random, files, {"norm": "linf", "eps": "8/255"})
    assert (clean.archive, clean.eot, clean.draws, clean.always, clean.worst) == (None, "–", "32 / 64", "25.0", False)
    assert (attacked.archive, attacked.eot) == ("trained-pgd5.npz", "4")
    assert (worst.archive, worst.worst, worst.attack.eps, worst.attack.name) == ("trained-worst_case.npz", True, "8/255", "worst case")  # fmt: skip
    assert (robustness.is_random(random), robustness.is_random([CLEAN, PGD, *STRICT])) == (True, False)
    assert [row.draws for row in robustness.strict(STRICT, files, SPEC["threat"])] == ["1", "1", "1"]
    assert titles.attack(scored("strict", "m", 0.1) | {"attack": {"name": "pgd", "loss": "margin"}}) == "PGD margin"


def test_a_curve_is_placed_by_radius_and_share_and_its_protocol() -> None:
    points = [
        Point(0.0, "clean", 0.8, 0.7, 0.9),
        Point(0.05, "small", 0.5, 0.4, 0.6),
        Point(0.2, "pgd5", 0.25, 0.2, 0.3),
    ]
    curve = Curve("strict", "pgd", "linf", 5, 1, 1, 64, 100, points)
    (drawn,) = robustness.drawn([curve], "strict")
    assert (drawn.title, drawn.words) == ("PGD-5", "ℓ∞ · 100 images · 64 draws")
    assert [(dot.x, dot.y, dot.top, dot.bottom) for dot in drawn.dots] == [(0, 40, 20, 60), (25, 100, 80, 120), (100, 150, 140, 160)]  # fmt: skip
    assert robustness.drawn([curve], "paper") == []


def test_pictures_are_of_images_that_an_attack_broke() -> None:
    def sample(n: int, right: dict[str, bool], worst: Worst | None) -> Sample:
        return Sample(n, right, {}, {}, {}, worst)

    right, wrong = {"strict/clean": True, "strict/worst_case": True}, {"strict/clean": True, "strict/worst_case": False}
    by_attack, by_chance = Worst(3, "strict/pgd5", 0.25, 0.0998), Worst(3, None, 0.25, 0.0)
    lost = {"strict/clean": False, "strict/worst_case": False}
    some = [
        sample(0, right, by_attack),
        sample(1, wrong, by_chance),
        sample(2, lost, by_attack),
        sample(3, wrong, None),
    ]
    found = robustness.pictures([*some, *(sample(n, wrong, by_attack) for n in range(4, 20))], SPEC["threat"], 64)
    assert [one.n for one in found] == [4, 5, 6, 7, 8, 9]
    assert (found[0].by, found[0].words) == ("strict/pgd5", "right in 25 % of 64 draws · ℓ∞ distance 0.0998")
    (single,) = robustness.pictures([sample(4, wrong, by_attack)], SPEC["threat"], 1)
    assert single.words == "ℓ∞ distance 0.0998"


def test_a_log_line_names_the_strict_protocol() -> None:
    about = {"low": 0.1, "high": 0.2, "images": 10, "accuracy": 0.1, "label": "pgd5"}
    assert [lines.words("scored", about | {"protocol": name})[1][:11] for name in ("paper", "strict")] == ["pgd5       ", "strict pgd5"]  # fmt: skip


# ---- pages


def test_the_robustness_tab_shows_both_protocols_apart(api: Any, job: Job) -> None:
    text = looked_at(api, f"/jobs/{job.id}")
    strict, paper = rows(text, "strict"), rows(text, "attack")
    assert list(strict) == ["clean", "pgd5", "pgd_small", "pgd_margin", "worst_case"]
    assert list(paper) == ["clean", "fgsm", "ifgsm5"]
    found = {one["label"]: one for one in api.get(f"/api/v1/evaluations/{job.id}").json()["protocols"]["strict"]}
    for label, cells in strict.items():
        assert f"{100 * found[label]['accuracy']:.1f}" in cells
    links = re.findall(r'href="/api/v1/jobs/[^"]+/artifacts/(trained-[^"]+.npz)" download aria-label="Adv', text)
    assert links == [f"trained-{label}.npz" for label in strict if label != "clean"]
    assert "Draws</th>" not in text.partition('id="strict-table"')[2].partition("</table>")[0]
    heads = looked_at(api, f"/jobs/{job.id}/parts/heads")
    assert "Robust, worst case" in heads
    assert heads.count('<span class="pr strict">strict</span>') == 2
    assert 'id="radius-strict-1"' in text
    assert 'id="radius-paper-1"' not in text
    assert 'id="broken-strict"' in text


def test_the_pictures_come_after_the_page_and_only_where_there_is_an_archive(api: Any, job: Job) -> None:
    assert f'hx-get="/jobs/{job.id}/parts/pictures" hx-trigger="load"' in looked_at(api, f"/jobs/{job.id}")
    part = looked_at(api, f"/jobs/{job.id}/parts/pictures")
    shown = re.findall(rf'src="/api/v1/evaluations/{job.id}/samples/(\d+).png"', part)
    broken = api.get(f"/api/v1/evaluations/{job.id}/samples?broken=true").json()["items"]
    assert shown == [str(one["n"]) for one in broken if one["worst"]["by"]][:6]
    assert "draws" not in part, "a network without noise has none"
    (young,) = api.post("/api/v1/jobs", json=TRAINING).json()["jobs"]
    empty = looked_at(api, f"/jobs/{young['id']}/parts/pictures")
    assert ("<img" in empty, " hidden " in empty.partition(">")[0]) == (False, True)


def test_a_job_without_the_strict_protocol_says_how_to_get_it(api: Any, database: Session) -> None:
    (young,) = api.post("/api/v1/jobs", json=TRAINING | {"evaluate": {}}).json()["jobs"]
    part = looked_at(api, f"/jobs/{young['id']}/parts/strict")
    assert f"sparring eval {young['number']} --protocol strict" in part
    (waiting,) = api.post("/api/v1/jobs", json=TRAINING).json()["jobs"]
    assert "pgd5, pgd_small, pgd_margin" in looked_at(api, f"/jobs/{waiting['id']}/parts/strict")


def test_the_files_of_other_networks_are_judged_in_a_table_for_each_protocol(api: Any, job: Job) -> None:
    part = looked_at(api, f"/jobs/{job.id}/parts/files")
    tables = {name: part.partition(f'id="{name}"')[2].partition("</table>")[0] for name in ("exported-table", "exported-strict")}  # fmt: skip
    labels = {name: [key.split()[1] for key in rows(text, "exported")] for name, text in tables.items()}
    strict = ["clean", "pgd5", "pgd_small", "pgd_margin", "worst_case"]
    assert labels == {"exported-table": ["clean", "fgsm", "ifgsm5"], "exported-strict": strict}


def test_the_jobs_page_has_a_column_for_each_protocol(api: Any, job: Job) -> None:
    text = looked_at(api, "/jobs")
    protocols = api.get(f"/api/v1/evaluations/{job.id}").json()["protocols"]
    worst = protocols["strict"][-1]["accuracy"]
    robust = {one["label"]: one["accuracy"] for one in protocols["paper"]}["ifgsm5"]
    cells = dict(re.findall(r'<td class="r" data-h="([^"]+)">(.*?)</td>', text, re.DOTALL))
    assert f">{100 * robust:.1f}<" in cells["Robust, paper"]
    assert f">{100 * worst:.1f}<" in cells["Worst case, strict"]


def test_an_evaluation_has_a_page_without_training_in_every_state(api: Any, database: Session, job: Job) -> None:
    (made,) = api.post("/api/v1/evaluations", json={"network": {"job": str(job.id)}, "name": "again"}).json()["jobs"]
    digest = api.get(f"/api/v1/jobs/{made['id']}/spec").json()["network"]["sha256"]
    for state in ("failed", "cancelled", "succeeded", "queued"):
        row = database.get_one(Job, uuid.UUID(made["id"]))
        row.state, row.reason = state, "user"
        database.commit()
        text = looked_at(api, f"/jobs/{made['id']}")
        assert f'<span class="st {state}">' in text
        tabs = re.findall(r'role="tab" id="t-(\w+)"', text)
        assert tabs == ["robustness", "audit", "logs", "artifacts", "reproduce"]
        assert f'href="/jobs/{job.id}"' in text
        assert f"network {digest[:12]} judged on fashion_mnist_sample" in text
    for part in (
        "header",
        "phases",
        "heads",
        "spec",
        "group",
        "attacks",
        "strict",
        "audit",
        "log",
        "files",
        "pictures",
    ):
        assert "<html" not in looked_at(api, f"/jobs/{made['id']}/parts/{part}")
    assert f"evaluation of network {digest[:12]}" in looked_at(api, "/jobs")
    assert api.get(f"/jobs/{made['id']}/curves").json()["x"] == []
    text = api.get(f"/jobs/{made['id']}/spec.yaml").text
    assert text.startswith("version: 1\nkind: evaluate\nname: again\nproject: default\nseed: 1\nnetwork:\n")
    figure = api.get("/api/v1/figures/sparsity.csv", params={"jobs": made["id"]})
    assert (figure.status_code, "is an evaluation, which trains nothing" in figure.json()["detail"]) == (422, True)
    assert api.get(f"/api/v1/jobs/{made['id']}/figures").json() == {"items": []}


# ---- the form


def test_the_form_is_drawn_from_the_schema_of_a_training_in_the_order_of_people(api: Any) -> None:
    schema = api.get("/api/v1/schema").json()
    assert list(schema["properties"])[:8] == [
        "version",
        "kind",
        "name",
        "project",
        "seed",
        "dataset",
        "threat",
        "model",
    ]
    strict = schema["$defs"]["Evaluate"]["properties"]["strict"]
    assert (strict["default"], strict["anyOf"][0]["$ref"]) == (None, "#/$defs/Strict")
    assert {"images", "eot", "selection_draws", "judging_draws", "attacks"} <= schema["$defs"]["Strict"][
        "properties"
    ].keys()


def test_an_evaluation_can_be_written_checked_and_submitted_on_the_page_of_new_jobs(api: Any, job: Job) -> None:
    yaml = f"kind: evaluate\nnetwork: {{job: {job.id}}}\n"
    checked = api.post("/new/check", json={"yaml": yaml}).json()
    assert (checked["problems"], checked["plan"]["parameters"]) == ([], job.last["compacted"]["parameters_after"])
    change = [{"pointer": "/evaluate/strict/images", "value": 7}]
    changed = api.post("/new/check", json={"yaml": yaml, "changes": change}).json()
    assert changed["document"]["evaluate"] == {"strict": {"images": 7}}
    wrong = api.post("/new/check", json={"yaml": "kind: evaluate\nnetwork: {sha256: x}\n"}).json()
    assert [one["pointer"] for one in wrong["problems"]] == ["/network/sha256"]
    answer = api.post("/new", data={"yaml": yaml, "csrf": ""}, follow_redirects=False)
    assert answer.status_code == 303, answer.text[:300]
    assert api.get(f"/api/v1{answer.headers['location']}").json()["kind"] == "evaluate"
