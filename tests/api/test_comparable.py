"""What may not be compared, and what the refusal says: where, what was given, what would be right."""

import uuid
from typing import Any

import pytest
from sqlalchemy.orm import Session

from judged import ATTACK, RIGHT, STRICT, WRONG, ask, judged, random_score, refusal, scored
from recorded import TRAINING
from store import tokens


def strictly(**changes: Any) -> dict[str, Any]:
    return {"evaluate": TRAINING["evaluate"] | {"strict": STRICT | changes}}


PAPER = {"evaluate": TRAINING["evaluate"] | {"paper": {"attacks": ["fgsm", {"name": "ifgsm", "steps": 5, "step": 0.03}]}}}  # fmt: skip
FEWER = strictly(attacks=STRICT["attacks"][:2])
OTHER = strictly(attacks=[{"name": "pgd", "steps": 5, "loss": "margin"}, *STRICT["attacks"][1:]])
SCORE = scored(RIGHT * 20)
DIFFERENT: list[tuple[str, dict[str, Any], dict[str, Any], str, Any, str]] = [
    ("dataset", {"dataset": {"name": "mnist"}}, SCORE, "dataset/name", '"mnist"', '"fashion_mnist_sample"'),
    ("images", {}, scored(RIGHT * 21), "images", "21", "20"),
    ("threat", {"threat": {"eps": 0.2}}, SCORE, "threat/eps", "0.2", "0.1"),
    ("attack", {}, scored(RIGHT * 20, attack=ATTACK | {"steps": 9}), "attack/steps", "9", "5"),
    ("number of attacks", FEWER, SCORE, "strict attacks", "pgd5, pgd_small", "pgd5, pgd_small, pgd_margin"),
    ("an attack of the worst case", OTHER, SCORE, "strict attacks/pgd5/loss", '"margin"', '"ce"'),
    ("a paper's attack, which counts there", PAPER, SCORE, "paper attacks/ifgsm5/step", "0.03", "0.05"),
    ("draws", strictly(judging_draws=128), SCORE, "strict/judging_draws", "128", "64"),
]


@pytest.mark.parametrize(
    ("changes", "score", "where", "got", "expected"),
    [case[1:] for case in DIFFERENT],
    ids=[case[0] for case in DIFFERENT],
)
def test_jobs_that_were_judged_differently_are_refused(
    api: Any, database: Session, changes: Any, score: Any, where: str, got: Any, expected: str
) -> None:
    first = scored(RIGHT * 20, attack=ATTACK) if where == "attack/steps" else SCORE
    one, other = judged(database, first), judged(database, score, **changes)
    problem = refusal(ask(api, one, other))
    assert problem["pointer"] == "/methods/1/jobs/0"
    assert problem["message"] == f"job {other.number} differs from job {one.number} in {where}"
    assert (problem["got"], problem["expected"]) == (got, expected)


def test_only_what_the_number_rests_on_has_to_be_the_same(api: Any, database: Session) -> None:
    """Another augmentation is another method; the paper's attacks do not count for a single strict attack; all are 20."""
    data = {"name": "fashion_mnist_sample", "images": 256, "validation": 64, "augment": "flip"}
    one, other = (
        scored(text * 20, label="pgd5", attack=ATTACK | {"images": images})
        for text, images in ((RIGHT, None), (WRONG, 20))
    )
    made = judged(database, one), judged(database, other, dataset=data, **PAPER)
    assert ask(api, *made, score="strict/pgd5").status_code == 200


def test_random_networks_may_have_met_other_paper_attacks_which_count_nothing_there(
    api: Any, database: Session
) -> None:
    one, other = random_score(RIGHT * 20), random_score(WRONG * 20)
    assert ask(api, judged(database, one), judged(database, other, **PAPER)).status_code == 200


def test_the_paper_protocol_has_joint_batches_so_their_size_is_part_of_it(api: Any, database: Session) -> None:
    scores = scored(RIGHT * 20, "paper", "clean", eps=0.0), scored(RIGHT * 20, label="clean", eps=0.0)
    one = judged(database, *scores)
    other = judged(database, *scores, evaluate=TRAINING["evaluate"] | {"batch_size": 20})
    assert refusal(ask(api, one, other, score="paper/clean"))["message"].endswith("in batch_size")
    assert ask(api, one, other, score="strict/clean").status_code == 200


def test_a_score_that_is_not_there_is_refused_with_those_that_are(api: Any, database: Session) -> None:
    one = judged(database, SCORE, scored(RIGHT * 20, "paper", "clean"))
    other = judged(database, SCORE)
    problem = refusal(ask(api, one, other, score="paper/clean"))
    assert (problem["pointer"], problem["got"]) == ("/score", "paper/clean")
    assert problem["message"] == f"job {other.number} has no such score"
    assert problem["expected"] == "one of strict/worst_case"


@pytest.mark.parametrize("state", ["queued", "paused", "failed", "cancelled"])
def test_a_job_that_has_not_succeeded_is_refused(api: Any, database: Session, state: str) -> None:
    one, other = judged(database, SCORE), judged(database, SCORE, state=state)
    problem = refusal(ask(api, one, other))
    assert (problem["pointer"], problem["got"]) == ("/methods/1/jobs/0", state)
    assert problem["message"] == f"job {other.number} has not succeeded"


def test_a_job_is_given_once(api: Any, database: Session) -> None:
    one, other = judged(database, SCORE), judged(database, SCORE)
    problem = refusal(ask(api, one, one))
    assert (problem["pointer"], problem["message"]) == ("/methods/1/jobs/0", f"job {one.number} is given twice")
    seeds = [judged(database, SCORE, seed=seed) for seed in range(2)]
    problem = refusal(ask(api, [one, *seeds], [other, *seeds]))
    assert (problem["pointer"], problem["got"]) == ("/methods/1/jobs/1", seeds[0].number)


@pytest.mark.parametrize(("sizes", "at", "got"), [((2, 2), 0, "2 jobs"), ((1, 3), 0, "1 job"), ((3, 2), 1, "2 jobs")])
def test_methods_need_three_seeds_and_networks_one_each(
    api: Any, database: Session, sizes: tuple[int, ...], at: int, got: str
) -> None:
    made = [[judged(database, SCORE, seed=seed) for seed in range(size)] for size in sizes]
    problem = refusal(ask(api, *made))
    assert (problem["pointer"], problem["got"]) == (f"/methods/{at}/jobs", got)
    assert "at least three jobs of each method" in problem["expected"]


def test_the_jobs_of_a_method_differ_in_the_seed_alone(api: Any, database: Session) -> None:
    same = [judged(database, SCORE, seed=seed) for seed in range(6)]
    train = TRAINING["train"] | {"lr": 0.1}
    other = judged(database, SCORE, seed=9, train=train)
    problem = refusal(ask(api, same[:3], [*same[3:5], other]))
    assert (problem["pointer"], problem["got"], problem["expected"]) == ("/methods/1/jobs/2", "0.1", "0.05")
    assert "of the same method, whose jobs should differ in the seed alone, in train/lr" in problem["message"]
    again = judged(database, SCORE, seed=4)
    problem = refusal(ask(api, same[:3], [*same[3:5], again]))
    assert (problem["pointer"], problem["got"]) == ("/methods/1/jobs/2", "seed 4")
    assert problem["message"] == f"the network of job {again.number} has the seed of job {same[4].number}'s"


def test_names_are_taken_once_and_groups_may_be_too_large(api: Any, database: Session) -> None:
    made = [judged(database, SCORE, seed=seed) for seed in range(2)]
    problem = refusal(ask(api, *({"name": "same", "jobs": [job]} for job in made)))
    assert (problem["pointer"], problem["message"], problem["got"]) == ("/methods/1/name", "is taken", "same")
    many = [judged(database, SCORE, seed=seed) for seed in range(2, 23)]
    for job in many:
        job.group_id = many[0].group_id
    database.commit()
    problem = refusal(ask(api, made[0], str(many[0].group_id)))
    assert (problem["pointer"], problem["got"], problem["expected"]) == ("/methods/1/jobs", 21, "at most 20")


SHAPES: list[tuple[Any, str]] = [
    ({}, "/methods"),
    ({"methods": [{"jobs": [1]}]}, "/methods"),
    ({"methods": [{"jobs": [1]}, {"jobs": []}]}, "/methods/1/jobs"),
    ({"methods": [{"jobs": [1]}, {"jobs": [True]}]}, "/methods/1/jobs/0"),
    ({"methods": [{"jobs": [1]}, {"jobs": ["a\u0000"]}]}, "/methods/1/jobs/0"),
    ({"methods": [{"jobs": [1]}, {"jobs": [1]}], "test": "t"}, "/test"),
    ({"methods": [{"jobs": [1]}] * 11}, "/methods"),
    ([], ""),
]


@pytest.mark.parametrize(("body", "pointer"), SHAPES)
def test_a_body_of_another_shape_is_refused_where_it_is_wrong(api: Any, body: Any, pointer: str) -> None:
    answer = api.post("/api/v1/results/compare", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer), answer.text
    broken = api.post("/api/v1/results/compare", content=b"{", headers={"content-type": "application/json"})
    assert (broken.status_code, broken.json()["errors"][0]["pointer"]) == (422, "")


def test_jobs_that_are_not_there_are_not_found_and_strangers_find_nothing(api: Any, database: Session) -> None:
    one = judged(database, SCORE)
    answer = ask(api, one, 999)
    assert (answer.status_code, answer.json()["detail"]) == (404, "There is no job 999.")
    assert ask(api, one, str(uuid.uuid4())).status_code == 404
    viewer = tokens.issue(database, tokens.user_named(database, "vera", "viewer"), "t")
    database.commit()
    headers = {"authorization": f"Bearer {viewer}"}
    asked = {"methods": [{"jobs": [one.number]}, {"jobs": [judged(database, SCORE).number]}]}
    assert api.post("/api/v1/results/compare", json=asked, headers=headers).status_code == 200
    assert api.post("/api/v1/results/compare", json=asked, headers={"authorization": ""}).status_code == 401


def test_a_job_whose_network_has_lost_its_training_is_refused(api: Any, database: Session) -> None:
    one, other = judged(database, SCORE), judged(database, SCORE)
    other.spec = other.spec | {"network": {"job": str(uuid.uuid4()), "sha256": "0" * 64}}
    database.commit()
    problem = refusal(ask(api, one, other))
    assert problem["pointer"] == "/methods/1/jobs/0"
    assert "the training that made the network" in problem["message"]
    other.spec = other.spec | {"network": {"job": str(one.id), "sha256": "0" * 64}}
    database.commit()
    assert refusal(ask(api, one, other)) == problem | {"got": str(one.id)}, "it has been run again"


def test_what_is_hidden_of_a_group_is_not_named(api: Any, database: Session) -> None:
    api.post("/api/v1/projects", json={"name": "quiet", "visibility": "private"})
    one, other = judged(database, SCORE), judged(database, SCORE, project="quiet")
    token = tokens.issue(database, tokens.user_named(database, "bob", "member"), "tests")
    database.commit()
    body = {"methods": [{"jobs": [str(one.id)]}, {"jobs": [str(other.group_id)]}], "score": "strict/worst_case"}
    refused = api.post("/api/v1/results/compare", json=body, headers={"Authorization": f"Bearer {token}"})
    assert refused.status_code == 404
    assert refused.json()["detail"] == f"There is no job {other.group_id}."
