"""What this machine can run jobs on, read without torch: the CPU, and the GPUs through NVIDIA's management library."""

import os
import platform
from pathlib import Path
from typing import NamedTuple

import pynvml

from store.settings import settings
from store.workers import Device


def devices() -> list[Device]:
    """The CPU and then every GPU, with their slots; of GPUs only what our own CUDA_VISIBLE_DEVICES leaves."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cpu = Device("cpu:0", "cpu", cpu_model(), memory, settings().cpu_slots)
    return [cpu, *(gpu.device for gpu in _gpus())]


def threads() -> int:
    """Threads for a job on the CPU: the cores that this process may use, shared among the slots."""
    return max(1, len(os.sched_getaffinity(0)) // max(1, settings().cpu_slots))


def visible(names: list[str]) -> str:
    """The value of CUDA_VISIBLE_DEVICES with which a process sees those devices alone; the CPU is seen always."""
    return ",".join(gpu.uuid for gpu in _gpus() if gpu.device.name in names)


class _Gpu(NamedTuple):
    uuid: str
    device: Device


def _gpus() -> list[_Gpu]:
    """The GPUs that we may use, numbered in the order of the PCI bus, as NVIDIA's library does."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    found = [_gpu(index) for index in range(pynvml.nvmlDeviceGetCount())]
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return found
    names = [name.strip() for name in allowed.split(",")]
    return [gpu for index, gpu in enumerate(found) if _is_named(index, gpu.uuid, names)]


def _gpu(index: int) -> _Gpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
    device = Device(f"gpu:{index}", "gpu", str(pynvml.nvmlDeviceGetName(handle)), memory, settings().gpu_slots)
    return _Gpu(str(pynvml.nvmlDeviceGetUUID(handle)), device)


def _is_named(index: int, uuid: str, names: list[str]) -> bool:
    """Whether CUDA_VISIBLE_DEVICES names a GPU, by its number or by the beginning of its UUID."""
    return any(name == str(index) or (name.startswith("GPU-") and uuid.startswith(name)) for name in names)


def cpu_model() -> str:
    """The processor as its maker calls it, or else its architecture."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
