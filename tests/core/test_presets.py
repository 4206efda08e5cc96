"""The presets are the thesis's tables, every row is a valid job, and merging changes what it should."""

from pathlib import Path

import pytest

from core import eventlog
from core.channels import convolutions
from core.errors import InvalidSpec
from core.presets import Preset, merged, named
from sparring.documents import read_yaml

FOLDER = Path(__file__).parents[2] / "presets"
TABLES = {
    path.stem: Preset.model_validate(read_yaml(path.read_text()))
    for path in sorted(FOLDER.glob("*.yaml"))
    if "rows:" in path.read_text()
}
CHANNELS = {"r20": 675, "en2": 1350, "en5": 3375, "r38": 1347, "resnet18": 3843, "vgg16": 3715}


def test_every_numeric_table_of_the_thesis_is_there() -> None:
    wanted = {f"thesis-{number}" for number in ("3.1", "3.2", *(f"4.{n}" for n in range(1, 9)))}
    assert wanted <= TABLES.keys()


@pytest.mark.parametrize("name", TABLES)
def test_every_row_is_a_valid_job_and_has_every_number_that_was_reported(name: str) -> None:
    table = TABLES[name]
    assert len({row.id for row in table.rows}) == len(table.rows)
    for (row, configuration), job in table.jobs.items():
        assert job.seed == 1
        labels = {"clean", *(attack.label or attack.default_label for attack in job.evaluate.paper.attacks)}
        reported = next(one for one in table.rows if one.id == row).reported
        for key in reported:
            metric = table.columns[key].metric
            assert metric in labels or metric.endswith("_sparsity"), (row, configuration, key)
        assert reported.keys() <= table.columns.keys()


A4, A5 = ("A1", "A2", "A3", "A4"), ("A1", "A2", "A3", "A4", "A5")
PUBLISHED = {
    "thesis-3.1": (("A1", "sp"), "93.82 0 / 93.7 35.68 / 93.07 63.34 / 92.54 86.89"),
    "thesis-3.2": (("A1", "sp"), "95.07 0 / 94.84 47.08 / 94.89 93.70"),
    "thesis-4.1": (("A1", "sp"), "99.1 0 / 98.74 71.43"),
    "thesis-4.2": (("A1", "sp"), "94.97 0 / 94.74 45.8 / 93.94 0 / 93.68 69.0"),
    "thesis-4.3": (("A1", "sp"), "93.96 0 / 90.91 50 / 90.27 60 / 71.88 70 / 93.30 64 / 93.62 70"),
    "thesis-4.4": (
        (*A4, "sp"),
        (
            "76.07 51.24 47.25 59.30 0 / 70.26 46.68 43.79 55.59 80.91 / 73.45 49.48 45.79 57.72 56.88 / "
            "74.08 50.64 46.67 57.24 39.92 / 80.34 57.11 50.02 66.77 0 / 72.81 51.98 46.62 63.10 89.86 / "
            "77.78 55.48 49.26 65.56 70.55 / 78.47 56.13 49.54 65.57 56.34"
        ),
    ),
    "thesis-4.5": (
        (*A5, "sp"),
        (
            "76.07 51.24 47.25 59.30 45.88 0 / 75.91 51.52 47.14 58.77 45.02 8.00 / 71.84 48.23 45.21 57.09 43.84 25.33 / "
            "80.34 57.11 50.02 66.77 49.35 0 / 78.28 56.53 49.58 66.56 49.11 41.48 / 75.87 54.65 47.77 65.41 46.77 56.74 / "
            "81.41 58.21 51.60 66.48 50.21 0 / 81.46 58.34 51.35 66.84 50.07 19.76 / 80.53 57.38 50.63 66.52 48.23 53.36"
        ),
    ),
    "thesis-4.6": (
        (*A4, "sp"),
        (
            "80.34 57.11 50.02 66.77 0 / 78.28 56.53 49.58 66.56 41.48 / 76.30 54.65 47.77 65.41 56.74 / "
            "78.03 54.09 49.81 61.72 0 / 77.92 53.51 49.35 60.32 17.67 / 72.95 49.78 46.48 57.92 43.80"
        ),
    ),
    "thesis-4.8": (
        (*A4, "sp"),
        (
            "46.02 24.77 23.23 32.42 0 / 45.74 25.34 23.55 33.53 7.11 / 44.34 24.46 23.12 32.38 18.37 / "
            "50.68 30.20 26.25 40.06 0 / 50.56 30.33 26.23 39.85 16.89 / 47.24 28.77 25.01 38.24 39.23"
        ),
    ),
}
"""The thesis's tables once more, as they are printed: columns, then the rows in order."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_numbers_are_those_of_the_thesis(name: str) -> None:
    columns, rows = PUBLISHED[name]
    printed = [dict(zip(columns, map(float, row.split()), strict=True)) for row in rows.split(" / ")]
    assert [row.reported for row in TABLES[name].rows if row.reported] == printed


def test_the_two_halves_of_table_4_7_are_those_of_the_thesis() -> None:
    found = {row.id: row.reported for row in TABLES["thesis-4.7"].rows if row.reported}
    assert found == {
        "rvsm": {"A1": 70.26, "A2": 46.68, "A3": 43.79, "A4": 55.59, "w": 80.91},
        "admm-unstructured": {"A1": 71.55, "A2": 47.37, "A3": 44.30, "A4": 55.79, "w": 10.92},
        "rgsm": {"A1": 71.84, "A2": 48.23, "A3": 45.21, "A4": 57.09, "sp": 25.33},
        "admm-channel": {"A1": 63.99, "A2": 42.06, "A3": 39.75, "A4": 51.90, "sp": 4.44},
    }


def test_a_fair_admm_is_asked_for_the_zeros_that_its_rival_reached() -> None:
    job = TABLES["thesis-4.7"].jobs["admm-channel-fair", "rho1e-2"]
    sizes = [w.shape[1] for w in convolutions(job.model.create(10, 3, 0))]
    assert sum(round(share * size) for share, size in zip(job.sparsifier.sparsity, sizes, strict=True)) == 171


def test_a_fair_admm_on_fashion_mnist_has_the_zeros_that_the_logs_of_its_rivals_show() -> None:
    found = {
        (one.row, one.seed): one.values
        for one in eventlog.outcomes(eventlog.kept(FOLDER / "results"), TABLES["fashion-robust"])
    }
    jobs = TABLES["fashion-robust"].jobs
    assert 100 * jobs["admm-unstructured", "rho1e-2"].sparsifier.sparsity == pytest.approx(
        found["rvsm", 1]["weight_sparsity"], abs=0.005
    )
    assert round(0.6 * 20) == round(found["rgsm", 1]["channel_sparsity"] / 100 * 21)
    assert jobs["admm-channel", "rho1e-2"].sparsifier.sparsity == (0.0, 0.6)


def test_an_epoch_was_selected_somewhere_where_a_number_was_reported() -> None:
    for name in (one for one in TABLES if one.startswith("thesis")):
        for key, column in TABLES[name].columns.items():
            assert column.selected_on or not any(key in row.reported for row in TABLES[name].rows), (name, key)


@pytest.mark.parametrize("name", TABLES)
def test_an_attack_is_at_the_radius_that_its_column_says(name: str) -> None:
    table = TABLES[name]
    for job in table.jobs.values():
        radius = {attack.label or attack.default_label: attack.eps for attack in job.evaluate.paper.attacks}
        for column in table.columns.values():
            if column.eps is not None and column.metric in radius:
                assert radius[column.metric] == column.eps


@pytest.mark.parametrize("name", [f"thesis-{n}" for n in ("4.2", "4.5", "4.6", "4.7", "4.8")])
def test_published_shares_of_channels_are_whole_numbers_of_them(name: str) -> None:
    """All but 39.23 % in Table 4.8, which the table's remarks name."""
    for row in TABLES[name].rows:
        share = row.reported.get("sp")
        if share is None or "sp" not in TABLES[name].columns or share == 39.23:
            continue
        total = CHANNELS[row.id.split("-")[0]] if row.id.split("-")[0] in CHANNELS else CHANNELS["r20"]
        decimals = len(repr(share).partition(".")[2])
        assert round(100 * round(share * total / 100) / total, decimals) == share, (row.id, share)


def test_the_same_network_has_the_same_published_numbers_in_every_table_but_where_a_note_says_so() -> None:
    seen: dict[str, tuple[str, dict[str, float]]] = {}
    for name in ("thesis-4.4", "thesis-4.5", "thesis-4.6", "thesis-4.7"):
        for row in TABLES[name].rows:
            digest = (
                TABLES[name]
                .jobs[row.id, next(iter(row.configurations))]
                .model_copy(update={"evaluate": TABLES["thesis-4.5"].jobs["r20-dense", "published"].evaluate})
            )
            before = seen.setdefault(digest.digest, (name, row.reported))[1]
            same = {
                key for key in before.keys() & row.reported.keys() if key != "sp" and before[key] != row.reported[key]
            }
            assert not same or row.note, (name, row.id, same)


def test_members_are_replaced_whole_and_other_settings_key_by_key() -> None:
    base = {"model": {"name": "resnet", "depth": 20}, "train": {"epochs": 3, "lr": 0.1}}
    assert merged(base, {"model": {"name": "lenet5"}}) == {"model": {"name": "lenet5"}, "train": base["train"]}
    assert merged(base, {"model": {"depth": 8}})["model"] == {"name": "resnet", "depth": 8}
    assert merged(base, {"train": {"lr": 0.2}})["train"] == {"epochs": 3, "lr": 0.2}
    assert base["train"]["lr"] == 0.1


def test_a_mistake_in_a_row_is_named_with_its_row_and_configuration() -> None:
    table = TABLES["thesis-4.1"]
    broken = table.model_copy(update={"rows": (table.rows[0].model_copy(update={"spec": {"model": "lenet6"}}),)})
    with pytest.raises(InvalidSpec, match="/rows/base/published/model"):
        list(Preset.model_validate(broken.model_dump()).jobs)


def test_seeds_come_one_after_the_other_and_a_job_is_found_by_what_it_computes() -> None:
    table = TABLES["lenet-front"]
    planned = list(table.planned(2, frozenset({"keep-1", "keep-2"})))
    assert [(one.row, one.seed) for one in planned] == [("keep-1", 1), ("keep-2", 1), ("keep-1", 2), ("keep-2", 2)]
    job = named("lenet-front", planned[3])
    assert (job.name, job.project) == ("lenet-front-keep-2", "lenet-front")
    assert table.digests[job.digest] == planned[3]
