"""Evaluations over HTTP: of stored networks, and what every job's outcomes, archives and checks show."""

import io
import uuid
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from api import evaluations
from api.dashboard import titles
from api.dashboard.robustness import drawn
from core.events import Event, Exported, Scored, Witnessed
from core.spec import parse
from core.witness import Archive
from recorded import TRAINING, ran, record
from store import records, tokens
from store.database import transaction
from store.tables import Job


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    return ran(tmp_path_factory.mktemp("run"))


@pytest.fixture
def job(database: Session, events: list[Event], tmp_path: Path) -> Job:
    return record(database, events, tmp_path)


def one(events: list[Event], kind: type, **facts: Any) -> Any:
    (found,) = [e for e in events if isinstance(e, kind) and all(getattr(e, k) == v for k, v in facts.items())]
    return found


def files(events: list[Event]) -> list[Exported]:
    return [event for event in events if isinstance(event, Exported)]


def scores(events: list[Event]) -> list[dict[str, Any]]:
    return [e.model_dump(mode="json") for e in events if isinstance(e, Scored) and e.network == "trained"]


# ---- asking


def test_an_evaluation_inherits_dataset_and_threat_and_its_network_is_written_out(
    api: Any, job: Job, events: list[Event]
) -> None:
    answer = api.post("/api/v1/evaluations", json={"network": {"job": str(job.id)}, "name": "again"})
    assert answer.status_code == 201, answer.text
    (made,) = answer.json()["jobs"]
    assert (made["kind"], made["state"], made["name"]) == ("evaluate", "queued", "again")
    spec = api.get(f"/api/v1/jobs/{made['id']}").json()["spec"]
    assert spec["network"] == {"job": str(job.id), "sha256": files(events)[0].sha256}
    assert (spec["dataset"], spec["threat"]) == (job.spec["dataset"], job.spec["threat"])
    assert "train" not in spec
    shown = api.get(f"/api/v1/evaluations/{made['id']}").json()
    assert (shown["network"], shown["protocols"], shown["archives"]) == (spec["network"], {}, [])


def test_a_file_names_the_network_too_and_what_is_said_is_not_inherited(
    api: Any, job: Job, events: list[Event]
) -> None:
    small = files(events)[1]
    asked = {"network": {"sha256": small.sha256}, "threat": {"eps": 0.05}, "evaluate": {"strict": {"images": 10}}}
    (made,) = api.post("/api/v1/evaluations", json=asked).json()["jobs"]
    spec = api.get(f"/api/v1/jobs/{made['id']}").json()["spec"]
    assert spec["network"] == {"job": str(job.id), "sha256": small.sha256}
    assert (spec["threat"]["eps"], spec["evaluate"]["strict"]["images"], spec["dataset"]) == (0.05, 10, job.spec["dataset"])  # fmt: skip
    both = {"network": {"sha256": small.sha256, "job": str(job.id)}}
    assert api.post("/api/v1/evaluations", json=both).status_code == 201


def test_jobs_takes_it_by_its_kind_under_spec_and_as_yaml(api: Any, job: Job) -> None:
    asked = {"kind": "evaluate", "network": {"job": str(job.id)}}
    for address in ("/api/v1/jobs", "/api/v1/evaluations"):
        assert api.post(address, json=asked).json()["jobs"][0]["kind"] == "evaluate"
        assert api.post(address, json={"spec": asked}).json()["jobs"][0]["kind"] == "evaluate"
        yaml = f"kind: evaluate\nnetwork: {{job: {job.id}}}\n"
        made = api.post(address, content=yaml, headers={"content-type": "application/yaml"}).json()["jobs"][0]
        assert made["kind"] == "evaluate"


def test_the_stored_specification_can_be_submitted_again(api: Any, job: Job) -> None:
    (made,) = api.post("/api/v1/evaluations", json={"network": {"job": str(job.id)}}).json()["jobs"]
    again = api.post("/api/v1/jobs", json=api.get(f"/api/v1/jobs/{made['id']}/spec").json()).json()["jobs"][0]
    assert again["digest"] == made["digest"]
    assert api.get(f"/api/v1/jobs/{made['id']}/spec?sent=true").json() == {"kind": "evaluate", "network": {"job": str(job.id)}}  # fmt: skip


def test_a_dry_run_weighs_the_network_in_the_file_and_queues_nothing(api: Any, job: Job) -> None:
    asked = {"network": {"job": str(job.id)}, "evaluate": TRAINING["evaluate"]}
    plan = api.post("/api/v1/evaluations?dry_run=true", json=asked).json()
    assert plan["parameters"] == job.last["compacted"]["parameters_after"]
    assert (plan["seeds"], "train" in plan["passes"], plan["passes"]["evaluate"] > 60) == ([1], False, True)
    assert len(api.get("/api/v1/jobs").json()["items"]) == 1


def test_a_key_that_is_sent_again_gets_the_same_answer(api: Any, job: Job) -> None:
    asked, headers = {"network": {"job": str(job.id)}}, {"Idempotency-Key": "evaluate-1"}
    first, second = (api.post("/api/v1/evaluations", json=asked, headers=headers).json() for _ in range(2))
    assert first == second
    other = api.post("/api/v1/evaluations", json=asked | {"seed": 2}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


NOBODY = "01890a5d-ac96-774b-bcce-b302099a8057"
REFUSED: list[tuple[str, Any, str, str]] = [
    ("no network", {}, "/network", "should be an object"),
    ("an empty network", {"network": {}}, "/network", "names no network"),
    ("a number as a job", {"network": {"job": "1"}}, "/network/job", "should be a valid UUID"),
    ("no such job", {"network": {"job": NOBODY}}, "/network/job", "does not exist"),
    ("no such file", {"network": {"sha256": "0" * 64}}, "/network/sha256", "is no network that is stored here"),
    ("another job's file", {"network": {"job": "JOB", "sha256": "0" * 64}}, "/network/sha256", "is no network of this job"),
    ("a file that is no network", {"network": {"sha256": "WITNESS"}}, "/network/sha256", "is no network that is stored here"),
    ("other images", {"network": {"job": "JOB"}, "dataset": "cifar10"}, "/dataset", "does not fit the network"),
    ("a setting of trainings", {"network": {"job": "JOB"}, "train": {}}, "/train", "is not a known key"),
    ("too many images", {"network": {"job": "JOB"}, "evaluate": {"images": 10**6}}, "/evaluate/images", "more than the test set has"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "pointer", "message"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_what_cannot_be_judged_is_refused_with_its_pointer(
    api: Any, job: Job, events: list[Event], document: Any, pointer: str, message: str
) -> None:
    witness = one(events, Witnessed, network="trained", label="worst_case").sha256
    names = {"JOB": str(job.id), "WITNESS": witness}
    network = {key: names.get(value, value) for key, value in document.get("network", {}).items()}
    body = document | ({"network": network} if "network" in document else {})
    for at, sent in (("", body), ("/spec", {"spec": body})):
        answer = api.post("/api/v1/evaluations", json=sent)
        assert answer.status_code == 422, answer.text
        found = {error["pointer"]: error["message"] for error in answer.json()["errors"]}
        assert message in found[at + pointer]


def test_a_job_without_a_network_is_refused_and_says_what_it_has(
    api: Any, database: Session, events: list[Event], tmp_path: Path
) -> None:
    (young,) = api.post("/api/v1/jobs", json=TRAINING).json()["jobs"]
    refused = api.post("/api/v1/evaluations", json={"network": {"job": young["id"]}}).json()["errors"][0]
    assert (refused["pointer"], refused["message"]) == ("/network/job", "has no file with its trained network")
    api.post(f"/api/v1/jobs/{young['id']}/cancel")
    kept = [event for event in events if not (isinstance(event, Exported) and event.exporter == "safetensors")]
    lossy = record(database, kept, tmp_path)
    refused = api.post("/api/v1/evaluations", json={"network": {"job": str(lossy.id)}}).json()["errors"][0]
    assert files(events)[1].sha256 in refused["expected"]


def test_a_network_whose_file_is_gone_or_damaged_is_refused(
    api: Any, job: Job, events: list[Event], monkeypatch: Any
) -> None:
    monkeypatch.setattr("api.networks.artifacts.place", lambda _: Path("/nowhere"))
    answer = api.post("/api/v1/evaluations", json={"network": {"job": str(job.id)}}).json()["errors"][0]
    assert (answer["pointer"], answer["message"]) == ("/network", "cannot be read")


@pytest.mark.parametrize(
    "body", [b"[]", b"5", b'"x"', b'{"network": [1]}', b'{"network": {"job": "\\u0000"}}', b'{"spec": 1}']
)
def test_hostile_bodies_are_refused_and_never_a_fault(api: Any, body: bytes) -> None:
    answer = api.post("/api/v1/evaluations", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"]


def test_another_kind_belongs_elsewhere_and_viewers_ask_for_nothing(api: Any, database: Session) -> None:
    assert (
        "kind must be evaluate here"
        in api.post("/api/v1/evaluations", json=TRAINING | {"kind": "train"}).json()["detail"]
    )
    viewer = tokens.issue(database, tokens.user_named(database, "vera", "viewer"), "t")
    database.commit()
    answer = api.post("/api/v1/evaluations", json={}, headers={"authorization": f"Bearer {viewer}"})
    assert answer.status_code == 403


# ---- what was found


def test_scores_stand_by_protocol_and_the_archives_beside_them(api: Any, job: Job) -> None:
    shown = api.get(f"/api/v1/evaluations/{job.id}").json()
    assert shown["network"] is None, "it is the job's own"
    labels = {protocol: [one["label"] for one in scored] for protocol, scored in shown["protocols"].items()}
    strict = ["clean", "pgd5", "pgd_small", "pgd_margin", "worst_case"]
    assert labels == {"paper": ["clean", "fgsm", "ifgsm5"], "strict": strict}
    assert not any("survived" in one for scored in shown["protocols"].values() for one in scored)
    assert list(shown["exported"]) == ["1-int8.int8.safetensors"]
    named = [one["name"] for one in shown["archives"]]
    assert "trained-worst_case.npz" in named
    assert "trained-clean.npz" not in named


def test_each_image_says_which_attack_broke_it_and_its_worst_candidate(api: Any, job: Job, events: list[Event]) -> None:
    address = f"/api/v1/evaluations/{job.id}/samples"
    first = api.get(address, params={"limit": 50}).json()
    assert (len(first["items"]), first["next_cursor"]) == (50, "50")
    rest = api.get(address, params={"limit": 50, "cursor": first["next_cursor"]}).json()
    items = first["items"] + rest["items"]
    assert ([one["n"] for one in items], rest["next_cursor"]) == (list(range(60)), None)
    archive = Archive(Path(one(events, Witnessed, network="trained", label="worst_case").path))
    for body in scores(events):
        key, seen = f"{body['protocol']}/{body['label']}", items[: body["images"]]
        assert "".join("1" if sample["right"][key] else "0" for sample in seen) == body["survived"]
        assert all(key not in sample["right"] for sample in items[body["images"] :])
        for name in ("predicted", "distance", "queries"):
            assert [sample[name][key] for sample in seen] == body[name]
            assert all(key not in sample[name] for sample in items[body["images"] :])
    for n, sample in enumerate(items[:40]):
        moved = (archive.adversarial[n] - archive.x[n].float() / 255).abs().max()
        by = archive.about.attacks[archive.by[n]]
        assert sample["worst"]["label"] == archive.y[n]
        assert sample["worst"]["distance"] == pytest.approx(float(moved))
        assert sample["worst"]["by"] == (None if by == "clean" else by)
        assert sample["worst"]["right"] == float(archive.right[n])
        broke = sample["right"]["strict/clean"] and not sample["right"]["strict/worst_case"]
        assert sample["broken"] == broke
    assert all(sample["worst"] is None for sample in items[40:])
    broken = [sample["n"] for sample in items if sample["broken"]]
    assert 1 < len(broken) < 40
    paged, cursor = [], 0
    while cursor is not None:
        page = api.get(address, params={"broken": True, "limit": 1, "cursor": cursor}).json()
        paged += [sample["n"] for sample in page["items"]]
        cursor = page["next_cursor"]
    assert paged == broken


def test_the_images_that_one_attack_broke_are_listed_alone(api: Any, job: Job, events: list[Event]) -> None:
    address = f"/api/v1/evaluations/{job.id}/samples"
    for key in ("paper/ifgsm5", "strict/pgd_small"):
        protocol, label = key.split("/")
        clean, attacked = (
            one(events, Scored, network="trained", protocol=protocol, label=name).survived for name in ("clean", label)
        )
        broken = [n for n, (c, a) in enumerate(zip(clean, attacked, strict=True)) if (c, a) == ("1", "0")]
        items = api.get(address, params={"broken_by": key, "cursor": 1}).json()["items"]
        assert [sample["n"] for sample in items] == [n for n in broken if n >= 1]
        assert items
    refused = api.get(address, params={"broken_by": "strict/square5000"})
    assert refused.status_code == 422
    assert "broken_by must be one of paper/clean, paper/fgsm, " in refused.json()["detail"]
    assert "not strict/square5000" in refused.json()["detail"]


def test_the_outcomes_stand_as_columns_too(api: Any, job: Job, events: list[Event]) -> None:
    items = api.get(f"/api/v1/evaluations/{job.id}/outcomes").json()["items"]
    names = ("protocol", "label", "survived", "predicted", "distance", "queries")
    assert items == [{name: body[name] for name in names} for body in scores(events)]


def test_scores_from_before_know_only_which_images_survived(api: Any, database: Session, job: Job) -> None:
    database.execute(text("UPDATE results SET outcomes = outcomes - ARRAY['predicted', 'distance', 'queries']"))
    database.commit()
    first = api.get(f"/api/v1/evaluations/{job.id}/samples").json()["items"][0]
    assert first["right"]
    assert (first["predicted"], first["distance"], first["queries"]) == ({}, {}, {})
    columns = api.get(f"/api/v1/evaluations/{job.id}/outcomes").json()["items"][0]
    assert (len(columns["survived"]), columns["queries"]) == (60, [])


def test_the_outcomes_of_another_network_are_its_own(api: Any, job: Job, events: list[Event]) -> None:
    items = api.get(f"/api/v1/evaluations/{job.id}/samples?network=1-int8.int8.safetensors").json()["items"]
    scored = one(events, Scored, network="1-int8.int8.safetensors", protocol="strict", label="worst_case")
    assert "".join("1" if sample["right"]["strict/worst_case"] else "0" for sample in items[:40]) == scored.survived
    assert api.get(f"/api/v1/evaluations/{job.id}/samples?network=other").json() == {"items": [], "next_cursor": None}


def test_a_picture_is_clean_adversarial_and_their_difference_amplified(api: Any, job: Job, events: list[Event]) -> None:
    archive = Archive(Path(one(events, Witnessed, network="trained", label="worst_case").path))
    n = int(archive.by.ne(0).nonzero()[0])
    answer = api.get(f"/api/v1/evaluations/{job.id}/samples/{n}.png")
    assert answer.headers["content-type"] == "image/png"
    drawn = matplotlib.image.imread(io.BytesIO(answer.content), format="png")[..., :3]
    clean, attacked = archive.x[n, 0].numpy() / 255, archive.adversarial[n, 0].numpy()
    wide = 28 * 4
    assert drawn.shape == (wide, 3 * wide + 16, 3)
    for place, expected in enumerate((clean, attacked, 0.5 + (attacked - clean) / 0.2)):
        part = drawn[2::4, place * (wide + 8) + 2 : place * (wide + 8) + wide : 4, 0]
        np.testing.assert_allclose(part, expected, atol=1 / 255)
    assert api.get(f"/api/v1/evaluations/{job.id}/samples/40.png").json()["detail"] == "There is no archived image 40."
    (young,) = api.post("/api/v1/jobs", json=TRAINING).json()["jobs"]
    missing = api.get(f"/api/v1/evaluations/{young['id']}/samples/0.png")
    assert (missing.status_code, "has no archive" in missing.json()["detail"]) == (404, True)


def test_an_attack_at_several_radii_is_a_curve_from_the_clean_accuracy_on(
    api: Any, job: Job, events: list[Event]
) -> None:
    (curve,) = api.get(f"/api/v1/evaluations/{job.id}/curve").json()["items"]
    same = ("protocol", "attack", "norm", "steps", "restarts", "images")
    assert [curve[key] for key in same] == ["strict", "pgd", "linf", 5, 1, 40]
    assert [(p["eps"], p["label"]) for p in curve["points"]] == [(0, "clean"), (0.02, "pgd_small"), (0.1, "pgd5")]
    strict = {body["label"]: body for body in scores(events) if body["protocol"] == "strict"}
    for point in curve["points"]:
        body = strict[point["label"]]
        assert [point[key] for key in ("accuracy", "low", "high")] == [body[key] for key in ("accuracy", "low", "high")]


def test_radii_of_two_protocols_or_of_other_images_are_never_one_curve() -> None:
    same = {"steps": 5, "restarts": 1, "draws": 1, "accuracy": 0.5, "low": 0.4, "high": 0.6}
    attack = {"name": "pgd", "norm": "linf", "steps": 5}

    def scored(protocol: str, eps: float, images: int = 10, **more: Any) -> dict[str, Any]:
        about = {"protocol": protocol, "label": f"{eps}", "eps": eps, "images": images}
        return same | about | {"attack": attack | {"eps": eps, "step": eps / 2} | more}

    assert evaluations.curves([scored("paper", 0.1), scored("strict", 0.2)]) == []
    assert evaluations.curves([scored("paper", 0.1), scored("paper", 0.2, images=9)]) == []
    assert evaluations.curves([scored("paper", 0.1), scored("paper", 0.2, loss="margin")]) == []
    assert evaluations.curves([scored("paper", 0.1), scored("paper", 0.1)]) == []
    (curve,) = evaluations.curves([scored("paper", 0.2), scored("paper", 0.1)])
    assert [point.eps for point in curve.points] == [0.1, 0.2]


@pytest.mark.parametrize(
    ("composite", "name"),
    [({"name": "eot", "draws": 4}, "eot-pgd"), ({"name": "transfer", "from": "0" * 64}, "transfer-pgd")],
)
def test_an_attack_made_of_an_attack_is_one_curve_though_its_part_has_radius_and_step_of_its_own(
    composite: dict[str, Any], name: str
) -> None:
    def scored(eps: str, steps: int = 5) -> dict[str, Any]:
        part = {"name": "pgd", "steps": steps, "label": f"pgd{steps}"}
        attack = {**composite, "attack": part, "eps": eps, "label": f"at-{eps.replace('/', '-')}"}
        document = {"dataset": "fashion_mnist_sample", "model": "enresnet", "threat": {"eps": "1/10"}}
        (made,) = parse({**document, "evaluate": {"paper": {"attacks": [attack]}}}).evaluate.paper.attacks
        body = made.model_dump(mode="json", by_alias=True)
        assert body["attack"]["step"], "the part's step is filled in"
        found = {"label": made.label, "eps": float(made.eps), "steps": steps, "restarts": 1, "draws": 1}
        return {"protocol": "paper", "attack": body, "images": 10, "accuracy": 0.5, "low": 0.4, "high": 0.6, **found}

    (curve,) = evaluations.curves([scored("1/10"), scored("1/20"), scored("1/20", steps=6)])
    assert (curve.attack, [point.eps for point in curve.points]) == (name, [0.05, 0.1])
    (shown,) = drawn([curve], "paper")
    assert shown.title == f"{titles.ATTACKS[composite['name']]} PGD-5"


def test_the_audit_stands_alone(api: Any, job: Job) -> None:
    found = api.get(f"/api/v1/evaluations/{job.id}/audit").json()
    assert (found["asked"], found["verdict"]) == ("quick", job.trust)
    assert [check["check"] for check in found["checks"]][:2] == ["repeatable", "eps_0"]


def test_a_job_of_the_papers_protocol_alone_has_outcomes_without_worst_candidates(api: Any) -> None:
    (made,) = api.post("/api/v1/jobs", json=TRAINING).json()["jobs"]
    body = {
        "kind": "scored",
        "network": "trained",
        "protocol": "paper",
        "label": "clean",
        "attack": {},
        "accuracy": 0.5,
    }
    with transaction() as session:
        records.result(session, uuid.UUID(made["id"]), body | {"survived": "10", "eps": 0.0, "images": 2})
    found = api.get(f"/api/v1/evaluations/{made['id']}/samples").json()["items"]
    assert [(sample["right"], sample["worst"], sample["broken"]) for sample in found] == [
        ({"paper/clean": True}, None, False),
        ({"paper/clean": False}, None, False),
    ]
    assert api.get(f"/api/v1/evaluations/{made['id']}/curve").json() == {"items": []}
