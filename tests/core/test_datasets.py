"""Official formats, fixed splits, checked files, downloads with a checksum, and augmentation."""

import gzip
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from core.datasets.base import Dataset, File, Source, random_crop
from core.datasets.cifar10 import Cifar10
from core.datasets.cifar100 import Cifar100
from core.datasets.fashion_mnist import FashionMnist
from core.datasets.fashion_mnist_sample import FashionMnistSample
from core.datasets.mnist import Mnist, read_idx
from core.device import generator
from core.errors import DatasetUnavailable
from served import hosting, idx, sha, small_digits, sources


@pytest.fixture
def digits() -> dict[str, bytes]:
    """Four IDX files in MNIST's form: 40 + 10 images."""
    return small_digits()


@pytest.fixture
def small_mnist(digits: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> type[Dataset]:
    """MNIST with files of forty images."""
    monkeypatch.setattr(Mnist, "sources", sources(digits, "https://example.invalid/mnist"))
    return Mnist


@pytest.fixture
def host() -> Iterator[tuple[str, dict[str, bytes]]]:
    """A web server and what it serves."""
    with hosting() as found:
        yield found.url, found.files


def packed(files: dict[str, bytes]) -> bytes:
    """A tar.gz archive."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for name, data in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return written.getvalue()


def put(root: Path, files: dict[str, bytes]) -> None:
    (root / "MNIST/raw").mkdir(parents=True)
    for name, data in files.items():
        (root / "MNIST/raw" / name).write_bytes(data)


def test_the_shipped_sample_is_class_balanced_and_needs_no_folder(tmp_path: Path) -> None:
    splits = FashionMnistSample().load(tmp_path / "nowhere")
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [6000, 1000, 1000]
    labels = torch.cat([splits.train.y, splits.validation.y])
    assert labels.bincount().tolist() == [700] * 10
    assert splits.test.y.bincount().tolist() == [100] * 10
    assert splits.train.x.dtype == torch.uint8
    assert splits.train.x.shape[1:] == (1, 28, 28)


def test_the_sample_is_small(root: Path) -> None:
    files = (root / "core/datasets/sample").glob("*.gz")
    assert sum(path.stat().st_size for path in files) < 4_000_000


def test_mnist_files_are_read(tmp_path: Path, digits, small_mnist) -> None:
    put(tmp_path, digits)
    splits = small_mnist(validation=8).load(tmp_path)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [32, 8, 10]
    raw = np.frombuffer(digits["t10k-images-idx3-ubyte"], np.uint8, offset=16).reshape(10, 1, 28, 28)
    assert np.array_equal(splits.test.x.numpy(), raw)
    assert splits.test.y.tolist() == list(range(10))


def test_gzipped_idx_files_are_read_too(tmp_path: Path) -> None:
    array = np.arange(24).reshape(2, 3, 4)
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(idx(array)))
    assert np.array_equal(read_idx(path).numpy(), array)


def test_cifar10_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, names = np.random.default_rng(1), [file.path for file in Cifar10.sources[0].files]
    rows = {name: rng.integers(0, 256, (4, 3073), dtype=np.uint8) for name in names}
    for name, row in rows.items():
        row[:, 0] %= 10
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(row.tobytes())
    files = tuple(File(name, sha(row.tobytes())) for name, row in rows.items())
    monkeypatch.setattr(Cifar10, "sources", (Source("https://example.invalid/cifar-10-binary.tar.gz", files),))
    splits = Cifar10(validation=5).load(tmp_path)
    assert len(splits.train) == 15
    assert np.array_equal(splits.test.x.numpy(), rows[names[5]][:, 1:].reshape(4, 3, 32, 32))
    assert splits.test.y.tolist() == rows[names[5]][:, 0].tolist()


@pytest.fixture
def small_cifar100(monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """CIFAR-100 with files of twelve and five rows: a coarse label, a fine label, 3,072 pixels."""
    rng = np.random.default_rng(2)
    rows = {
        f"cifar-100-binary/{name}.bin": rng.integers(0, 256, (n, 3074), dtype=np.uint8)
        for name, n in (("train", 12), ("test", 5))
    }
    for row in rows.values():
        row[:, :2] %= np.array([20, 100], np.uint8)
    files = tuple(File(name, sha(row.tobytes())) for name, row in rows.items())
    monkeypatch.setattr(Cifar100, "sources", (Source(Cifar100.sources[0].url, files),))
    return rows


def test_cifar100_is_fetched_and_its_fine_labels_read(tmp_path: Path, small_cifar100, host) -> None:
    place, served = host
    served["cifar-100-binary.tar.gz"] = packed({name: row.tobytes() for name, row in small_cifar100.items()})
    list(Cifar100().fetch(tmp_path, place))
    splits = Cifar100(validation=4).load(tmp_path)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [8, 4, 5]
    rows = small_cifar100["cifar-100-binary/test.bin"]
    assert splits.test.y.tolist() == rows[:, 1].tolist()
    assert np.array_equal(splits.test.x.numpy(), rows[:, 2:].reshape(5, 3, 32, 32))
    labels = torch.cat([splits.train.y, splits.validation.y]).sort().values
    assert labels.tolist() == sorted(small_cifar100["cifar-100-binary/train.bin"][:, 1].tolist())


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: bytes([data[0] ^ 1]) + data[1:]])
def test_a_damaged_cifar100_is_refused(tmp_path: Path, small_cifar100, host, damage) -> None:
    place, served = host
    content = {name: damage(row.tobytes()) for name, row in small_cifar100.items()}
    served["cifar-100-binary.tar.gz"] = packed(content)
    with pytest.raises(DatasetUnavailable, match="train.bin with a wrong SHA-256"):
        list(Cifar100().fetch(tmp_path, place))
    for name, data in content.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    with pytest.raises(DatasetUnavailable, match="train.bin is damaged.*sparring data fetch cifar100"):
        Cifar100().load(tmp_path)


def test_the_split_is_the_same_for_every_seed_and_another_for_another_split_seed(tmp_path: Path) -> None:
    one, same, other = (FashionMnistSample(split_seed=seed).load(tmp_path).validation for seed in (0, 0, 1))
    assert torch.equal(one.x, same.x)
    assert not torch.equal(one.x, other.x)


def test_fewer_images_are_a_prefix_of_more(tmp_path: Path) -> None:
    few, many = (FashionMnistSample(images=n).load(tmp_path).train for n in (10, 100))
    assert torch.equal(few.x, many.x[:10])


def test_a_missing_file_is_named_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetUnavailable, match="train-images-idx3-ubyte is missing.*sparring data fetch fashion_mnist"
    ):
        FashionMnist().load(tmp_path)


def test_a_damaged_file_is_named(tmp_path: Path, digits, small_mnist) -> None:
    put(tmp_path, digits)
    path = tmp_path / "MNIST/raw/train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DatasetUnavailable, match="train-labels-idx1-ubyte is damaged"):
        small_mnist().load(tmp_path)


def test_files_are_fetched_checked_and_not_fetched_again(tmp_path: Path, digits, small_mnist, host) -> None:
    place, served = host
    served.update({f"{name}.gz": gzip.compress(data) for name, data in digits.items()})
    seen = list(small_mnist().fetch(tmp_path, place))
    assert {name for name, _, _ in seen} == set(served)
    assert all(done <= size for _, done, size in seen)
    assert len(small_mnist(validation=8).load(tmp_path).train) == 32
    served.clear()
    assert list(small_mnist().fetch(tmp_path, place)) == []


def test_an_archive_is_fetched_and_unpacked_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host) -> None:
    place, served = host
    content = {file.path: bytes(range(9)) for file in Cifar10.sources[0].files}
    served["cifar-10-binary.tar.gz"] = packed({**content, "../outside": b"no"})
    files = tuple(File(name, sha(data)) for name, data in content.items())
    monkeypatch.setattr(Cifar10, "sources", (Source(Cifar10.sources[0].url, files),))
    list(Cifar10().fetch(tmp_path / "data", place))
    Cifar10().check(tmp_path / "data")
    assert not (tmp_path / "outside").exists()


def test_a_download_with_a_wrong_checksum_is_not_kept(tmp_path: Path, digits, small_mnist, host) -> None:
    place, served = host
    served.update({f"{name}.gz": gzip.compress(data + b"!") for name, data in digits.items()})
    with pytest.raises(DatasetUnavailable, match="with a wrong SHA-256"):
        list(small_mnist().fetch(tmp_path, place))
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("served_instead", [b"<html>not here</html>", gzip.compress(b"x" * 5000)[:-9], b""])
def test_a_mirror_that_gives_something_else_is_a_clear_error(
    tmp_path: Path, digits, small_mnist, host, served_instead: bytes
) -> None:
    place, served = host
    served.update({f"{name}.gz": served_instead for name in digits})
    with pytest.raises(DatasetUnavailable, match="--mirror"):
        list(small_mnist().fetch(tmp_path, place))


@pytest.mark.parametrize("mirror", ["http://127.0.0.1:9/nobody", "no-address"])
def test_an_address_that_does_not_answer_is_a_clear_error(tmp_path: Path, small_mnist, host, mirror: str) -> None:
    for place in (host[0], mirror):
        with pytest.raises(DatasetUnavailable, match="cannot be fetched.*--mirror"):
            list(small_mnist().fetch(tmp_path, place))


def test_of_the_shipped_sample_nothing_is_fetched(tmp_path: Path) -> None:
    assert list(FashionMnistSample().fetch(tmp_path)) == []


def test_a_crop_shifts_by_up_to_four_and_fills_with_zeros() -> None:
    x = torch.arange(1, 65, dtype=torch.uint8).view(1, 1, 8, 8).repeat(200, 1, 1, 1)
    cropped = random_crop(x, generator("cpu", 0))
    padded = torch.nn.functional.pad(x[0, 0], [4] * 4)
    every = {padded[i : i + 8, j : j + 8].contiguous().numpy().tobytes() for i in range(9) for j in range(9)}
    found = {image[0].contiguous().numpy().tobytes() for image in cropped}
    assert found <= every
    assert len(found) > 60


def test_a_flip_mirrors_about_half_of_the_images(tmp_path: Path) -> None:
    train = FashionMnistSample().load(tmp_path).train
    indices = torch.arange(400)
    x, _ = train.chosen(indices, "flip", generator("cpu", 1))
    plain, _ = train.chosen(indices, "none", generator("cpu", 1))
    mirrored = (x == plain.flip(3)).flatten(1).all(1)
    same = (x == plain).flatten(1).all(1)
    assert bool((mirrored | same).all())
    assert 150 < int(mirrored.sum()) < 250


def test_pixels_come_in_the_unit_interval_and_channels_last(tmp_path: Path) -> None:
    x, y = FashionMnistSample().load(tmp_path).test.batch(0, 16)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert (x.min(), x.max()) == (0.0, 1.0)
    assert y.shape == (16,)
