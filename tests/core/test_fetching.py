"""A dataset is fetched by one at a time, and what is told of it is so, whoever ended how."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import fetching
from core.datasets.base import Dataset
from core.datasets.fashion_mnist_sample import FashionMnistSample
from core.datasets.mnist import Mnist
from core.errors import DatasetUnavailable
from core.fetching import OnDisk, on_disk
from served import Host, gzipped, hosting, small_digits, sources

FETCHES = """
import sys
from pathlib import Path
from core import fetching
from core.datasets.mnist import Mnist
from served import small_digits, sources
Mnist.sources = sources(small_digits(), sys.argv[1])
list(fetching.fetch(Mnist(), Path(sys.argv[2]), fetching.wait_for(Mnist(), Path(sys.argv[2]))))
"""
"""A process that fetches the small MNIST from an address into a folder."""


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """What serves a small MNIST, which MNIST is for this test."""
    with hosting() as found:
        found.files |= gzipped(small_digits())
        monkeypatch.setattr(Mnist, "sources", sources(small_digits(), found.url))
        yield found


def fetched(dataset: Dataset, root: Path) -> list[OnDisk]:
    return list(fetching.fetch(dataset, root, fetching.wait_for(dataset, root)))


def test_the_shipped_sample_is_always_there(tmp_path: Path) -> None:
    now = on_disk(FashionMnistSample(), tmp_path / "nowhere")
    assert now.state == "present"
    assert now.bytes > 1_000_000
    (only,) = fetched(FashionMnistSample(), tmp_path)
    assert only.state == "present"


def test_what_is_absent_is_fetched_and_then_present_and_not_fetched_again(tmp_path: Path, host: Host) -> None:
    assert on_disk(Mnist(), tmp_path) == OnDisk(state="absent")
    told = fetched(Mnist(), tmp_path)
    assert [one.state for one in told] == ["fetching"] * (len(told) - 1) + ["present"]
    assert {one.file for one in told if one.file} == set(host.files)
    assert all(one.bytes <= (one.total or 0) for one in told if one.file)
    size = sum(len(data) for data in small_digits().values())
    assert (told[-1].bytes, told[-1].error) == (size, None)
    assert on_disk(Mnist(), tmp_path) == told[-1]
    asked = len(host.asked)
    (only,) = fetched(Mnist(), tmp_path)
    assert (only.state, len(host.asked)) == ("present", asked)


def test_files_that_were_put_there_are_present(tmp_path: Path, host: Host) -> None:
    for name, data in small_digits().items():
        path = tmp_path / "MNIST/raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert on_disk(Mnist(), tmp_path).state == "present"


def test_a_failure_is_told_until_the_files_are_there(tmp_path: Path, host: Host) -> None:
    served = dict(host.files)
    host.files.pop("t10k-labels-idx1-ubyte.gz")
    with pytest.raises(DatasetUnavailable):
        fetched(Mnist(), tmp_path)
    now = on_disk(Mnist(), tmp_path)
    assert now.state == "failed"
    assert "t10k-labels-idx1-ubyte.gz cannot be fetched (HTTP Error 404" in (now.error or "")
    assert now.at
    time.sleep(0.02)
    (tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte").write_bytes(small_digits()["t10k-labels-idx1-ubyte"])
    assert on_disk(Mnist(), tmp_path).state == "present", "somebody has put them there"
    host.files |= served
    assert fetched(Mnist(), tmp_path)[-1].error is None


def test_a_damaged_file_that_cannot_be_fetched_again_is_a_failure(tmp_path: Path, host: Host) -> None:
    fetched(Mnist(), tmp_path)
    (tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte").write_bytes(b"x")
    assert on_disk(Mnist(), tmp_path).state == "present", "bytes are not looked at"
    served = dict(host.files)
    host.files.clear()
    time.sleep(0.02)
    with pytest.raises(DatasetUnavailable):
        fetched(Mnist(), tmp_path)
    assert on_disk(Mnist(), tmp_path).state == "failed"
    host.files |= served
    assert fetched(Mnist(), tmp_path)[-1].state == "present"
    Mnist().check(tmp_path)


def test_who_comes_second_waits_and_downloads_nothing(tmp_path: Path, host: Host) -> None:
    host.open.clear()
    threads = [threading.Thread(target=fetched, args=(Mnist(), tmp_path)) for _ in range(2)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 10
    while not host.asked:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert on_disk(Mnist(), tmp_path).state == "fetching"
    assert fetching.take(Mnist(), tmp_path) is None
    host.open.set()
    for thread in threads:
        thread.join()
    assert sorted(host.asked) == sorted(host.files)
    assert on_disk(Mnist(), tmp_path).state == "present"


def test_progress_is_noted_while_it_goes(tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "SECONDS_BETWEEN_NOTES", 0.0)
    steps = fetching.fetch(Mnist(), tmp_path, fetching.wait_for(Mnist(), tmp_path))
    first, second = next(steps), next(steps)
    assert (first.file, second.file) == (None, "train-images-idx3-ubyte.gz")
    assert on_disk(Mnist(), tmp_path) == second
    assert 0 < second.bytes <= (second.total or 0)
    steps.close()
    assert on_disk(Mnist(), tmp_path).state == "failed"


def test_a_process_that_dies_leaves_a_fetch_that_was_interrupted_and_another_one_goes_on(
    tmp_path: Path, host: Host, root: Path
) -> None:
    host.open.clear()
    environment = os.environ | {"PYTHONPATH": f"{root}:{root / 'tests'}"}
    dying = subprocess.Popen([sys.executable, "-c", FETCHES, host.url, str(tmp_path)], env=environment)
    until = time.monotonic() + 60
    while not host.asked:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert on_disk(Mnist(), tmp_path).state == "fetching"
    dying.kill()
    dying.wait()
    now = on_disk(Mnist(), tmp_path)
    assert (now.state, (now.error or "").partition(":")[0]) == ("failed", "interrupted")
    host.open.set()
    assert fetched(Mnist(), tmp_path)[-1].state == "present"


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / fetching.NOTES).write_text("no folder")
    with pytest.raises(DatasetUnavailable, match="mnist.lock cannot be written.*must be able to write there"):
        fetching.take(Mnist(), tmp_path)
