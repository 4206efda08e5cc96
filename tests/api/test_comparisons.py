"""Comparisons over HTTP, in the SDK and on the command line: known figures of hand-made outcomes, and of real runs."""

import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from core import witness
from core.candidates import Candidates
from core.compare import methods as bootstrap
from core.compare import newcombe
from core.datasets.base import Split
from core.events import Event, Exported, Scored
from core.files import sha256
from core.intervals import wilson
from core.threat import Threat
from core.witness import About
from judged import RIGHT, WRONG, as_floats, ask, judged, outcomes, random_score, refusal, scored
from recorded import TRAINING, ran, record
from sparring.cli import app
from sparring.client import ApiError, Client
from store import artifacts, records
from store.tables import Job

SCORE = scored(RIGHT * 20)


# ---- two networks


def test_two_networks_are_compared_by_mcnemar_on_the_images_in_which_they_differ(api: Any, database: Session) -> None:
    one = judged(database, scored(RIGHT * 80 + RIGHT * 15 + WRONG * 5), name="first")
    other = judged(database, scored(RIGHT * 80 + WRONG * 15 + RIGHT * 5), name="second", seed=4)
    found = ask(api, one, other).json()
    (pair,) = found["pairs"]
    assert (pair["one"], pair["other"]) == (f"#{one.number} first", f"#{other.number} second")
    assert (pair["test"], pair["images"]) == ("mcnemar", 100)
    assert pair["p"] == pytest.approx(stats.binomtest(15, 20).pvalue)
    assert pair["p_holm"] == pair["p"], "one comparison is not corrected"
    assert pair["difference"] == pytest.approx(10)
    assert (pair["low"], pair["high"]) == pytest.approx([100 * end for end in newcombe(80, 15, 5, 100)])
    assert pair["better"] == pair["one"]
    assert pair["why"] == (
        f"#{one.number} first is better by 10.0 points on the same 100 images: p after Holm's correction is 0.041. "
        "This is of two networks: one seed each says nothing of methods."
    )
    assert (found["dataset"], found["images"], found["threat"]["eps"]) == ("fashion_mnist_sample", 100, 0.1)
    assert found["outcome"] == "right_or_wrong"
    first, second = found["methods"]
    assert [first[key] for key in ("n", "mean", "std", "low", "high")] == [1, 0.95, None, None, None]
    assert (second["jobs"][0]["number"], second["jobs"][0]["seed"]) == (other.number, 4)
    assert (second["jobs"][0]["low"], second["jobs"][0]["high"]) == pytest.approx(wilson(85, 100))


def test_few_images_rank_no_networks_less_than_three_points_apart(api: Any, database: Session) -> None:
    def pair(images: int) -> dict[str, Any]:
        better, worse = RIGHT * images, WRONG * (images // 50) + RIGHT * (images - images // 50)
        (found,) = ask(api, judged(database, scored(worse)), judged(database, scored(better))).json()["pairs"]
        return dict(found)

    few, many = pair(1500), pair(2500)
    assert few["p"] < 0.001
    assert few["better"] is None
    assert few["why"] == (
        "Neither may be called better: 1,500 images are fewer than 2,000, "
        "too few to rank what is 2.0 points apart, less than 3."
    )
    assert many["better"] == many["other"]


def test_neither_is_better_where_the_corrected_p_is_too_large(api: Any, database: Session) -> None:
    """0.041 alone; three comparisons of it make 0.12."""
    one, other = RIGHT * 80 + RIGHT * 15 + WRONG * 5, RIGHT * 80 + WRONG * 15 + RIGHT * 5
    found = ask(api, *(judged(database, scored(text)) for text in (one, other, one))).json()["pairs"]
    p = stats.binomtest(15, 20).pvalue
    assert [pair["p"] for pair in found] == pytest.approx([p, 1.0, p])
    assert [pair["p_holm"] for pair in found] == pytest.approx([3 * p, 1.0, 3 * p])
    assert [pair["better"] for pair in found] == [None] * 3
    assert found[0]["why"] == "Neither may be called better: p after Holm's correction is 0.12, above 0.05."
    assert "; 100 images are fewer than 2,000" in found[1]["why"]


# ---- methods


def test_methods_are_compared_by_a_bootstrap_over_seeds_and_images(api: Any, database: Session) -> None:
    texts = [
        [outcomes(accuracy, 500, 10 * row + seed) for seed in (1, 2, 3)] for row, accuracy in enumerate((0.7, 0.5))
    ]
    made = [[judged(database, scored(text), seed=seed) for seed, text in enumerate(row, 1)] for row in texts]
    found = ask(api, {"name": "good", "jobs": made[0]}, {"name": "bad", "jobs": made[1]}).json()
    expected = bootstrap(*([as_floats(text) for text in row] for row in texts))
    (pair,) = found["pairs"]
    assert (pair["test"], pair["images"], pair["better"]) == ("bootstrap", 500, "good")
    assert pair["why"].startswith("good is better by ")
    assert "networks" not in pair["why"]
    assert (pair["difference"], pair["p"]) == (pytest.approx(100 * expected.difference), pytest.approx(expected.p))
    assert (pair["low"], pair["high"]) == pytest.approx([100 * end for end in expected.interval])
    for row, method in zip(texts, found["methods"], strict=True):
        shares = [text.count(RIGHT) / 500 for text in row]
        assert (method["n"], method["std"]) == (3, pytest.approx(np.std(shares, ddof=1)))
        interval = stats.t.interval(0.95, 2, np.mean(shares), stats.sem(shares))
        assert (method["mean"], method["low"], method["high"]) == pytest.approx([np.mean(shares), *interval])
        assert [job["accuracy"] for job in method["jobs"]] == pytest.approx(shares)


def test_seeds_that_differ_more_than_the_methods_do_rank_nothing(api: Any, database: Session) -> None:
    made = [
        [
            judged(database, scored(outcomes(one, 3000, 10 * row + seed)), seed=seed)
            for seed, one in enumerate(accuracies)
        ]
        for row, accuracies in enumerate([(0.50, 0.55, 0.60), (0.48, 0.525, 0.57)])
    ]
    (pair,) = ask(api, *made).json()["pairs"]
    assert pair["low"] < 0 < pair["high"]
    assert pair["better"] is None
    assert pair["one"] == f"#{made[0][0].number} … #{made[0][2].number} small", "methods without a name are their jobs"


def test_a_group_stands_for_all_its_jobs(api: Any, database: Session) -> None:
    made = [judged(database, scored(outcomes(0.5, 100, seed)), seed=seed) for seed in range(6)]
    groups = [uuid.uuid4(), uuid.uuid4()]
    for job in made:
        job.group_id = groups[job.seed // 3]
    database.commit()
    found = ask(api, str(groups[0]), [made[3].number, str(made[4].number), made[5]]).json()
    assert [[job["number"] for job in one["jobs"]] for one in found["methods"]] == [
        [job.number for job in made[:3]],
        [job.number for job in made[3:]],
    ]


# ---- random networks


def archived(session: Session, job: Job, shares: list[float], folder: Path) -> None:
    """The archive that a strict number of this job rests on."""
    n, path = len(shares), folder / f"{uuid.uuid4().hex}.npz"
    images = Split(torch.zeros(n, 1, 2, 2, dtype=torch.uint8), torch.zeros(n, dtype=torch.int64))
    right = torch.tensor(shares)
    none = torch.zeros(n, dtype=torch.int64)
    worst = Candidates(torch.zeros(n, 1, 2, 2), 1 - right, right, right == 1, none, none, torch.zeros(n), none)
    about = About(label="worst_case", network="trained", dataset="mnist", threat=Threat(), attacks=("clean",), accuracy=0.5, draws=64, frozen=())  # fmt: skip
    witness.write(path, about, images, worst)
    digest, size = sha256(path), path.stat().st_size
    artifacts.put(path, digest)
    records.artifact(session, job.id, "trained-worst_case.npz", digest, size, {"kind": "witness"})
    session.commit()


def random_methods(database: Session, folder: Path, kept: int) -> tuple[list[list[list[float]]], list[list[Job]]]:
    """Two methods of three seeds, and their shares; the archives of the first `kept` jobs are there."""
    draw = np.random.default_rng(5)
    shares = [[[float(x) for x in draw.integers(low, 65, 300) / 64] for _ in range(3)] for low in (20, 0)]
    made = []
    for row in shares:
        texts = ["".join(RIGHT if share >= 0.5 else WRONG for share in one) for one in row]
        rows = enumerate(zip(texts, row, strict=True))
        made.append([judged(database, random_score(text, one), seed=seed) for seed, (text, one) in rows])
    for number in range(kept):
        archived(database, made[number // 3][number % 3], shares[number // 3][number % 3], folder)
    return shares, made


def test_random_networks_are_compared_by_the_shares_in_their_archives(
    api: Any, database: Session, tmp_path: Path
) -> None:
    shares, made = random_methods(database, tmp_path, kept=6)
    found = ask(api, *made).json()
    assert found["outcome"] == "shares"
    assert "share of judging draws" in found["words"]
    expected = bootstrap(*shares)
    (pair,) = found["pairs"]
    assert (pair["difference"], pair["p"]) == (pytest.approx(100 * expected.difference), pytest.approx(expected.p))
    means = [one["mean"] for one in found["methods"]]
    assert pair["difference"] == pytest.approx(100 * (means[0] - means[1])), "the difference of the printed numbers"


def test_without_an_archive_they_are_compared_by_half_of_the_draws_and_it_is_said(
    api: Any, database: Session, tmp_path: Path
) -> None:
    shares, made = random_methods(database, tmp_path, kept=5)
    found = ask(api, *made).json()
    assert found["outcome"] == "right_in_half"
    assert "half of the judging draws or more" in found["words"]
    (pair,) = found["pairs"]
    half = [np.mean([[x >= 0.5 for x in one] for one in row]) for row in shares]
    assert pair["difference"] == pytest.approx(100 * (half[0] - half[1]))


def test_mcnemar_counts_an_image_of_a_random_network_as_right_in_half_of_the_draws(api: Any, database: Session) -> None:
    one, other = random_score(RIGHT * 10, [0.5] * 10), random_score(RIGHT * 5 + WRONG * 5, [0.5] * 5 + [0.4] * 5)
    found = ask(api, judged(database, one), judged(database, other)).json()
    assert (found["outcome"], found["pairs"][0]["difference"]) == ("right_in_half", pytest.approx(50))
    assert [method["mean"] for method in found["methods"]] == pytest.approx([0.5, 0.45])


# ---- real runs, and the client


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[list[Event]]:
    return [ran(tmp_path_factory.mktemp("run"), seed=seed) for seed in (1, 2)]


def test_two_real_runs_are_compared_and_so_are_evaluations_of_their_networks(
    api: Any, database: Session, runs: list[list[Event]], tmp_path: Path
) -> None:
    trained = [record(database, events, tmp_path, seed=seed) for seed, events in enumerate(runs, 1)]
    texts = [
        next(e.survived for e in events if isinstance(e, Scored) and (e.network, e.label) == ("trained", "worst_case"))
        for events in runs
    ]
    (pair,) = ask(api, *trained).json()["pairs"]
    only = [sum(a > b for a, b in zip(*order, strict=True)) for order in (texts, texts[::-1])]
    assert pair["p"] == pytest.approx(stats.binomtest(only[0], sum(only)).pvalue if sum(only) else 1.0)
    assert pair["difference"] == pytest.approx(100 * (only[0] - only[1]) / len(texts[0]))
    second = judged(database, scored(texts[1]), seed=2)
    others = [judged(database, scored(texts[0]), seed=seed) for seed in (1, 2, 3)]
    third = judged(database, scored(texts[0]), seed=3)
    plain, lossy = (evaluation(api, database, runs[0], one, scored(texts[1])) for one in ("safetensors", "int8"))
    found = ask(api, trained[0], plain).json()
    assert found["pairs"][0]["p"] == pytest.approx(pair["p"])
    assert found["methods"][1]["jobs"][0]["seed"] == 1, "the seed of the network, not of its evaluation"
    assert ask(api, [plain, second, third], others).status_code == 200
    problem = refusal(ask(api, [second, third, lossy], others))
    assert (problem["got"], problem["expected"]) == ('"int8"', '"trained"')
    problem = refusal(ask(api, [trained[0], second, plain], others))
    assert (problem["pointer"], problem["got"]) == ("/methods/0/jobs/2", "seed 1")


def evaluation(api: Any, session: Session, events: list[Event], exporter: str, score: dict[str, Any]) -> Job:
    """An evaluation, of another seed, of a file of this run, with a score."""
    (sha256,) = [e.sha256 for e in events if isinstance(e, Exported) and e.exporter == exporter]
    asked = {"network": {"sha256": sha256}, "seed": 77, "evaluate": TRAINING["evaluate"]}
    (made,) = api.post("/api/v1/evaluations", json=asked).json()["jobs"]
    job = session.get(Job, uuid.UUID(made["id"]))
    assert job
    job.state = "succeeded"
    records.result(session, job.id, score)
    session.commit()
    return job


@pytest.fixture
def client(api_url: str, token: str, monkeypatch: Any) -> Any:
    with Client(api_url, token) as found:
        monkeypatch.setattr("sparring.compare.Client", lambda: found)
        yield found


def cli(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["compare", *map(str, arguments)])
    return done.exit_code, done.output


def test_the_client_takes_jobs_numbers_ids_and_groups_with_names_or_without(client: Client, database: Session) -> None:
    made = [judged(database, scored(outcomes(0.5, 100, seed)), seed=seed % 3) for seed in range(6)]
    first = client.job(made[0].id)
    found = client.compare({"one": [first, made[1].number, str(made[2].id)], "two": [job.id for job in made[3:]]})
    assert [one["name"] for one in found["methods"]] == ["one", "two"]
    found = client.compare([first, ("two", made[1].number)])
    assert [one["name"] for one in found["methods"]] == [f"#{first.number} small", "two"]
    with pytest.raises(ApiError, match="has no such score"):
        client.compare([first, made[1].id], "paper/clean")


def test_the_command_prints_methods_pairs_and_why(client: Client, database: Session) -> None:
    good = [judged(database, scored(outcomes(0.9, 200, seed)), seed=seed) for seed in range(3)]
    bad = [judged(database, scored(outcomes(0.4, 200, seed)), seed=seed) for seed in range(3)]
    named = [f"{name}={','.join(str(job.number) for job in row)}" for name, row in (("good", good), ("bad", bad))]
    code, said = cli(*named)
    assert code == 0, said
    for words in ("strict/worst_case, fashion_mnist_sample, linf 0.1", "3 seeds", "bootstrap", "good is better by"):
        assert words in said
    code, said = cli(good[0].number, bad[0].id, "--json")
    assert (code, json.loads(said)["pairs"][0]["test"]) == (0, "mcnemar")
    code, said = cli(good[0].number, bad[0].number)
    assert (code, "McNemar" in said, "seeds" in said) == (0, True, False)


def test_the_command_leaves_with_the_code_of_what_is_wrong(client: Client, database: Session) -> None:
    one, other = judged(database, SCORE), judged(database, SCORE)
    assert cli(one.number)[0] == 2
    assert cli(one.number, 999)[0] == 3
    code, said = cli(one.number, other.number, "--score", "paper/pgd")
    assert (code, "/score" in said, "expected one of strict/worst_case" in said) == (4, True, True)
