"""Which GPUs a worker offers and which one an attempt sees, with a stand-in for NVIDIA's library."""

from types import SimpleNamespace

import pytest

from worker import devices

UUIDS = ["GPU-aaaa1111", "GPU-bbbb2222", "GPU-cccc3333"]


@pytest.fixture
def machine(servers, monkeypatch) -> None:
    """Three GPUs; NVIDIA's library calls them by their places on the bus."""
    monkeypatch.setattr(devices.pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(devices.pynvml, "nvmlDeviceGetCount", lambda: len(UUIDS))
    monkeypatch.setattr(devices.pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(devices.pynvml, "nvmlDeviceGetMemoryInfo", lambda _: SimpleNamespace(total=2**37))
    monkeypatch.setattr(devices.pynvml, "nvmlDeviceGetName", lambda _: "H")
    monkeypatch.setattr(devices.pynvml, "nvmlDeviceGetUUID", lambda handle: UUIDS[handle])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("inherited", "offered"),
    [
        (None, ["gpu:0", "gpu:1", "gpu:2"]),
        ("0,2", ["gpu:0", "gpu:2"]),
        (" 1 ", ["gpu:1"]),
        ("GPU-bbbb2222,GPU-cccc", ["gpu:1", "gpu:2"]),
        ("", []),
        ("-1", []),
        ("10", []),
    ],
)
def test_only_gpus_that_the_environment_leaves_are_offered(machine, monkeypatch, inherited, offered) -> None:
    if inherited is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", inherited)
    assert [device.name for device in devices.devices()] == ["cpu:0", *offered]


def test_an_attempt_sees_its_gpu_by_a_name_that_does_not_depend_on_any_order(machine, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    assert devices.visible(["gpu:0"]) == "GPU-aaaa1111"
    assert devices.visible(["gpu:2", "gpu:0"]) == "GPU-aaaa1111,GPU-cccc3333"


def test_an_attempt_on_the_cpu_sees_no_gpu(machine) -> None:
    assert devices.visible(["cpu:0"]) == ""
