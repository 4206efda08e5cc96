"""The presets are the thesis's tables, every row is a valid job, and merging changes what it should."""

from pathlib import Path

import pytest

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
    planned = list(table.planned(frozenset({"keep-1", "keep-2"}), 2))
    assert [(one.row, one.seed) for one in planned] == [("keep-1", 1), ("keep-2", 1), ("keep-1", 2), ("keep-2", 2)]
    job = named("lenet-front", planned[3])
    assert (job.name, job.project) == ("lenet-front-keep-2", "lenet-front")
    assert table.digests[job.digest] == planned[3]
