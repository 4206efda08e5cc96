"""What this machine can run jobs on, read without torch: the CPU, and the GPUs through NVIDIA's management library."""

import os
import platform
from pathlib import Path

import pynvml

from store.settings import settings
from store.workers import Device


def devices() -> list[Device]:
    """The CPU with its slots, then every GPU with one."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cpu = Device("cpu:0", "cpu", cpu_model(), memory, settings().cpu_slots)
    return [cpu, *_gpus()]


def threads() -> int:
    """Threads for a job on the CPU: the cores that this process may use, shared among the slots."""
    return max(1, len(os.sched_getaffinity(0)) // max(1, settings().cpu_slots))


def _gpus() -> list[Device]:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    found = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        memory = int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
        found.append(Device(f"gpu:{index}", "gpu", str(pynvml.nvmlDeviceGetName(handle)), memory, 1))
    return found


def cpu_model() -> str:
    """The processor as its maker calls it, or else its architecture."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
