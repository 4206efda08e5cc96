"""The thesis's figures: every format shows the same numbers, and only jobs that may be compared share one."""

import csv
import io
import math
import uuid
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.patches import StepPatch
from PIL import Image
from sqlalchemy.orm import Session
from torch import nn

from api import drawing, figures
from api.drawing import Ink
from api.figures import FORMATS, NAMES, Figure
from api.middleware import CSP
from api.sparsity import differing
from core.anatomy import Anatomy, dissect
from core.files import sha256
from core.models.enresnet import EnResNet
from store import artifacts, records
from store.tables import Job

SENT: dict[str, Any] = {
    "name": "one", "dataset": "fashion_mnist_sample", "model": "lenet5", "resources": {"gpus": 0},
    "sparsifier": {"name": "rgsm", "lambda1": 0.5}, "threat": {"eps": 0.1},
}  # fmt: skip
TYPES = {"svg": "image/svg+xml", "pdf": "application/pdf", "png": "image/png", "csv": "text/csv; charset=utf-8"}


@pytest.fixture(scope="module")
def net() -> nn.Module:
    """An ensemble with dead input channels in two layers, a nearly dead one, and single zeros."""
    torch.manual_seed(0)
    found = EnResNet(depth=8, members=2).build(10, 1)
    with torch.no_grad():
        for member in (0, 1):
            found.get_submodule(f"members.{member}.blocks.2.conv2").weight[:, :5] = 0
        w = found.get_submodule("members.0.blocks.2.conv2").weight
        w[:, 5] *= 1e-5
        w[1, 20:40, 1, 1] = 0
    return found


@pytest.fixture(scope="module")
def anatomy(net: nn.Module) -> Anatomy:
    return dissect(net)


def event(anatomy: Anatomy) -> dict[str, Any]:
    layer = anatomy.layer(anatomy.picture.layer)
    return {
        "weights": anatomy.weights.n, "zeros": anatomy.weights.zeros, "small": anatomy.weights.small,
        "channels": len(anatomy.norms), "dead": anatomy.norms.count(0),
        "layer": layer.name, "layer_weights": layer.weights.n, "layer_zeros": layer.weights.zeros,
    }  # fmt: skip


@pytest.fixture(scope="module")
def made(anatomy: Anatomy) -> dict[str, Figure]:
    return {name: figures.figure(name, event(anatomy), anatomy) for name in NAMES}


def convolutions(net: nn.Module) -> list[torch.Tensor]:
    return [m.weight.detach() for m in net.modules() if isinstance(m, nn.Conv2d)]


def test_the_bars_of_the_weights_are_counted_by_brute_force(net: nn.Module, made: dict[str, Figure]) -> None:
    found, columns = made["weights"], made["weights"].columns
    weights = np.array([v for w in convolutions(net) for v in w.flatten().tolist()])
    nonzero = weights[weights != 0]
    for low, high, number in list(zip(columns["low"], columns["high"], columns["weights"], strict=True))[150:250]:
        assert number == ((nonzero >= low) & (nonzero < high)).sum()
    assert found.facts == {
        "n": len(weights),
        "zeros": (weights == 0).sum(),
        "below_0.001": (np.abs(weights) < 1e-3).sum(),
    }
    assert sum(columns["percent"]) + 100 * found.facts["zeros"] / found.facts["n"] == pytest.approx(100)


def test_the_bars_of_the_norms_and_their_close_up_are_counted_by_brute_force(
    net: nn.Module, made: dict[str, Figure]
) -> None:
    exact = [math.sqrt(float(w[:, c].double().square().sum())) for w in convolutions(net) for c in range(w.shape[1])]
    norms = [float(f"{norm:.6g}") for norm in exact]
    rows = list(zip(*made["channel_norms"].columns.values(), strict=True))
    assert rows[0] == ("zero", 0, 0, 10)
    assert made["channel_norms"].facts == {"n": len(norms), "zeros": 10, "below_0.001": 11}
    whole, close = ([row for row in rows if row[0] == view] for view in ("whole", "close"))
    assert sum(row[3] for row in whole) == len(norms) - 10
    assert (sum(row[3] for row in close), close[-1][2]) == (1, 1e-3)
    for _, low, high, number in whole + close:
        assert number == sum(norm > 0 and (low <= norm < high or norm == high == max(norms)) for norm in norms)


def test_the_layer_keeps_each_weight_with_its_place(net: nn.Module, made: dict[str, Figure]) -> None:
    w = net.get_submodule(made["layer"].facts["layer"]).weight.detach()
    columns = made["layer"].columns
    places = tuple(torch.tensor(columns[name]) for name in ("filter", "channel", "row", "column"))
    torch.testing.assert_close(w[places], torch.tensor(columns["weight"]), rtol=1e-5, atol=0)
    assert len(columns["weight"]) == w.numel()


def test_what_is_drawn_is_what_the_values_say(made: dict[str, Figure]) -> None:
    for name in ("weights", "layer_weights"):
        (axes,) = drawing.drawn(made[name], Ink("light", "rgsm")).axes
        (bars,) = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
        assert bars.get_data().values.tolist() == made[name].columns["percent"]
        assert bars.get_data().edges.tolist()[:-1] == made[name].columns["low"]
    views = drawing.drawn(made["channel_norms"], Ink("light", "rgsm")).axes
    rows = list(zip(*made["channel_norms"].columns.values(), strict=True))
    for axes, view in zip(views, ("whole", "close"), strict=True):
        bars, zero = (patch for patch in axes.patches if isinstance(patch, StepPatch))
        assert bars.get_data().values.tolist() == [row[3] for row in rows if row[0] == view]
        assert zero.get_data().values.tolist() == [rows[0][3]]


def test_the_picture_has_a_tile_for_each_kernel_and_none_where_a_weight_is_zero(
    net: nn.Module, made: dict[str, Figure]
) -> None:
    w = net.get_submodule(made["layer"].facts["layer"]).weight.detach().numpy()
    (image,) = drawing.drawn(made["layer"], Ink("light", "rgsm")).axes[0].images
    shown = image.get_array()
    assert shown.shape == (64 * 4 - 1, 64 * 4 - 1)
    np.testing.assert_allclose(shown[4 * 7 : 4 * 7 + 3, 4 * 9 : 4 * 9 + 3], w[7, 9], rtol=1e-5)
    assert shown.mask[:, : 4 * 5].all()
    assert shown.mask[4 * 1 + 1, 4 * 20 + 1]
    assert not shown.mask[4 * 7, 4 * 9]


def test_every_format_is_whole_and_the_same_each_time(made: dict[str, Figure]) -> None:
    for found in made.values():
        svg, pdf, png = (drawing.draw(found, form, "light", "rgsm") for form in ("svg", "pdf", "png"))
        assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
        assert (pdf[:5], pdf.rstrip()[-5:]) == (b"%PDF-", b"%%EOF")
        assert b"/FontFile2" in pdf, "its fonts are within"
        with Image.open(io.BytesIO(png)) as picture:
            picture.verify()
        assert [svg, pdf, png] == [drawing.draw(found, form, "light", "rgsm") for form in ("svg", "pdf", "png")]


def test_threads_that_draw_at_once_get_the_same_bytes(made: dict[str, Figure]) -> None:
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda name: drawing.draw(made[name], "svg"), ["weights", "channel_norms"] * 4))
    assert len(set(drawn)) == 2
    assert drawn[0] == drawing.draw(made["weights"], "svg")


def test_a_theme_has_its_own_ground_and_a_method_its_colour(made: dict[str, Figure]) -> None:
    drawn = {key: drawing.draw(made["weights"], "svg", *key).decode() for key in (("light", "rgsm"), ("dark", "admm"))}
    for (theme, method), text in drawn.items():
        assert drawing.TOKENS["surface"][theme] in text
        assert drawing.TOKENS[f"m-{method}"][theme] in text
    assert Ink("light", "a-method-without-a-colour").method == drawing.TOKENS["text"]["light"]


def test_a_network_whose_every_weight_is_zero_can_be_drawn() -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3))
    nn.init.zeros_(net[0].weight)
    found = dissect(net)
    for name in NAMES:
        assert drawing.draw(figures.figure(name, event(found), found), "png").startswith(b"\x89PNG")


# ---- through the API


def submitted(api: Any, **more: Any) -> dict[str, Any]:
    answer = api.post("/api/v1/jobs", json=SENT | more)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()["jobs"][0]
    return made


def dissected(database: Session, job: dict[str, Any], anatomy: Anatomy, folder: Path, **changes: Any) -> None:
    """The job with what a run leaves when training has chosen its network."""
    path = folder / "anatomy.json"
    path.write_text(anatomy.model_dump_json())
    digest, size = sha256(path), path.stat().st_size
    artifacts.put(path, digest)
    row = database.get_one(Job, uuid.UUID(job["id"]))
    records.artifact(database, row.id, "anatomy.json", digest, size, {"kind": "weights"})
    row.last = {"selected": {}, "dissected": event(anatomy) | changes}
    database.commit()


def test_each_figure_of_a_job_comes_in_every_format(
    api: Any, database: Session, anatomy: Anatomy, made: dict[str, Figure], tmp_path: Path
) -> None:
    job = submitted(api)
    assert api.get(f"/api/v1/jobs/{job['id']}/figures").json() == {"items": []}
    dissected(database, job, anatomy, tmp_path)
    items = api.get(f"/api/v1/jobs/{job['id']}/figures").json()["items"]
    assert [item["figure"] for item in items] == list(NAMES)
    for item in items:
        assert item["formats"] == list(FORMATS)
        address = f"/api/v1/jobs/{job['id']}/figures/{item['figure']}"
        values = api.get(f"{address}.json").json()
        assert (values["columns"], values["facts"]) == (made[item["figure"]].columns, made[item["figure"]].facts)
        assert (values["title"], values["words"]) == (item["title"], item["words"])
        for form, kind in TYPES.items():
            answer = api.get(f"{address}.{form}?theme=dark")
            assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
            shown = "inline" if form in ("svg", "png") else "attachment"
            wanted = f'{shown}; filename="job-{job["number"]}-{item["figure"]}.{form}"'
            assert answer.headers["content-disposition"] == wanted
            if form != "csv":
                assert answer.content == drawing.draw(made[item["figure"]], form, "dark", "rgsm")
        rows = list(csv.reader(io.StringIO(api.get(f"{address}.csv").text)))
        assert rows[0] == list(values["columns"])
        assert rows[1:] == [[str(cell) for cell in row] for row in zip(*values["columns"].values(), strict=True)]


def test_a_picture_opened_as_a_page_may_have_styles_and_nothing_that_runs(
    api: Any, database: Session, anatomy: Anatomy, tmp_path: Path
) -> None:
    job = submitted(api)
    dissected(database, job, anatomy, tmp_path)
    policies = {
        form: api.get(f"/api/v1/jobs/{job['id']}/figures/weights.{form}").headers["content-security-policy"]
        for form in ("svg", "json")
    }
    assert "script-src" not in policies["svg"]
    assert policies["svg"].startswith("default-src 'none';")
    assert policies["json"] == CSP


def test_a_job_without_a_network_has_no_figures_and_says_why(api: Any, database: Session) -> None:
    job = submitted(api)
    address = f"/api/v1/jobs/{job['id']}/figures/weights.svg"
    waiting = api.get(address)
    assert (waiting.status_code, waiting.json()["code"]) == (404, "not_found")
    assert "when training has chosen its network" in waiting.json()["detail"]
    row = database.get_one(Job, uuid.UUID(job["id"]))
    row.state = "succeeded"
    database.commit()
    assert "ended before training chose" in api.get(address).json()["detail"]
    row.last = {"selected": {"epoch": 1}}
    database.commit()
    assert "ran before Sparring kept" in api.get(address).json()["detail"]


@pytest.mark.parametrize("wrong", ["faces.svg", "weights.gif", "weights.svg?theme=pink"])
def test_a_figure_format_or_theme_that_is_not_there_is_refused_with_what_there_is(api: Any, wrong: str) -> None:
    answer = api.get(f"/api/v1/jobs/{submitted(api)['id']}/figures/{wrong}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert any(name in answer.json()["detail"] for name in ("channel_norms", "pdf", "dark"))


def test_figures_are_for_those_who_are_known(api: Any, api_url: str) -> None:
    import httpx

    job = submitted(api)
    for path in (f"jobs/{job['id']}/figures", f"jobs/{job['id']}/figures/weights.svg", "figures/sparsity.svg?jobs=1"):
        assert httpx.get(f"{api_url}/api/v1/{path}").status_code == 401


# ---- sparsity against lambda1


def swept(api: Any, database: Session, model: Any, lambda1: float, seed: int, dead: int, **more: Any) -> str:
    """The id of a job whose selected network has so many of 100 channels dead."""
    job = submitted(api, model=model, seed=seed, sparsifier={"name": "rgsm", "lambda1": lambda1}, **more)
    row = database.get_one(Job, uuid.UUID(job["id"]))
    row.last = {"dissected": {"dead": dead, "channels": 100}}
    database.commit()
    return str(job["id"])


def test_sparsity_is_a_line_a_network_with_mean_and_deviation_over_seeds(api: Any, database: Session) -> None:
    jobs = [
        swept(api, database, "lenet5", 0.5, 1, 40),
        swept(api, database, {"name": "resnet", "depth": 8}, 0.5, 1, 70),
        swept(api, database, "lenet5", 0.1, 1, 10),
        swept(api, database, "lenet5", 0.5, 2, 50),
    ]
    asked = "&".join(f"jobs={job}" for job in [*jobs, jobs[0]])
    found = api.get(f"/api/v1/figures/sparsity.json?{asked}").json()
    assert list(zip(*found["columns"].values(), strict=True)) == [
        ("LeNet-5", 0.1, 10, None, 1),
        ("LeNet-5", 0.5, 45, pytest.approx(math.sqrt(50)), 2),
        ("ResNet8", 0.5, 70, None, 1),
    ]
    assert (found["facts"]["jobs"], found["words"]) == (jobs, "RGSM · mean ± std over n seeds, n 1–2")
    rows = list(csv.reader(io.StringIO(api.get(f"/api/v1/figures/sparsity.csv?{asked}").text)))
    assert (rows[0], rows[1]) == (["network", "lambda1", "mean", "std", "n"], ["LeNet-5", "0.1", "10.0", "", "1"])
    for form in ("svg", "pdf", "png"):
        assert api.get(f"/api/v1/figures/sparsity.{form}?{asked}").headers["content-type"] == TYPES[form]


def test_a_line_goes_through_the_means() -> None:
    columns = {"network": ["a", "a", "b"], "lambda1": [0.1, 0.2, 0.2], "mean": [1.0, 5.0, 3.0], "std": [0.5, None, 0.1]}
    found = Figure(figures.Caption("sparsity", "", ""), {}, {**columns, "n": [2, 1, 2]})
    (axes,) = drawing.drawn(found, Ink("light", "rgsm")).axes
    lines = [container.lines[0] for container in axes.containers]
    assert [(line.get_xdata().tolist(), line.get_ydata().tolist()) for line in lines] == [
        ([0.1, 0.2], [1.0, 5.0]),
        ([0.2], [3.0]),
    ]
    assert len({(line.get_marker(), line.get_linestyle()) for line in lines}) == 2


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"sparsifier": "dense"}, "sparsifier dense, which has no lambda1"),
        ({"train": {"epochs": 3}}, "/train/epochs"),
        ({"sparsifier": {"name": "rgsm", "beta": 2.0}}, "/sparsifier/beta"),
        ({"sparsifier": {"name": "rvsm"}}, "sparsifier rvsm, which has no lambda1"),
        ({"sparsifier": {"name": "rgsm", "lambda1": 0.5}}, "repeats seed 1"),
    ],
)
def test_jobs_that_may_not_be_compared_are_refused_with_where_they_differ(
    api: Any, database: Session, second: dict[str, Any], words: str
) -> None:
    first = swept(api, database, "lenet5", 0.5, 1, 40)
    other = submitted(api, seed=1, **second)
    database.get_one(Job, uuid.UUID(other["id"])).last = {"dissected": {"dead": 1, "channels": 2}}
    database.commit()
    answer = api.get(f"/api/v1/figures/sparsity.svg?jobs={first}&jobs={other['id']}")
    assert (answer.status_code, answer.json()["code"]) == (422, "not_comparable")
    assert answer.json()["detail"].startswith(f"Job {other['number']} ")
    assert words in answer.json()["detail"]


def test_networks_of_one_name_that_differ_do_not_share_a_line(api: Any, database: Session) -> None:
    jobs = [
        swept(api, database, {"name": "enresnet", "depth": 8, "members": 2, "noise": noise}, 0.5, seed, 40)
        for seed, noise in ((1, 0.1), (2, 0.2))
    ]
    answer = api.get("/api/v1/figures/sparsity.json", params={"jobs": jobs})
    assert answer.status_code == 422
    assert "/noise" in answer.json()["detail"]


def test_a_sweep_needs_jobs_that_are_there_and_have_a_network(api: Any) -> None:
    job = submitted(api)
    assert api.get("/api/v1/figures/sparsity.svg").status_code == 422
    assert api.get(f"/api/v1/figures/sparsity.svg?jobs={uuid.uuid4()}").status_code == 404
    answer = api.get(f"/api/v1/figures/sparsity.svg?jobs={job['id']}")
    assert (answer.status_code, "has no selected network" in answer.json()["detail"]) == (422, True)


def test_documents_differ_where_their_first_difference_is() -> None:
    one = {"a": {"b": [1, 2], "c": 3}}
    assert differing(one, {"a": {"b": [1, 2], "c": 3}}) == ""
    assert differing(one, {"a": {"b": [1, 2], "c": 4}}) == "/a/c"
    assert differing(one, {"a": {"b": [2, 1], "c": 3}}) == "/a/b"
    assert differing(one, {"a": {"b": [1, 2]}}) == "/a"
