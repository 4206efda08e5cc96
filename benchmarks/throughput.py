"""How many images a second adversarial training takes here: PGD-10 with RGSM on the whole of CIFAR-10, 50 batches.

    python benchmarks/throughput.py DATA [--precision fp32] [--batches 50] [--threads 2]

DATA holds CIFAR-10's binary files (`sparring data fetch cifar10 --to DATA`). Prints a Markdown table and writes it, with the
hardware, the versions and the exact specification, to benchmarks/results/. The first batches warm up and are not counted.
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch

from core.errors import Cancelled
from core.run import Place, run
from core.spec import JobSpec, parse
from worker.devices import cpu_model

HERE = Path(__file__).parent
WARM_UP = 3
MODELS: dict[str, dict[str, Any]] = {
    "ResNet20": {"name": "resnet", "depth": 20},
    "En2ResNet20": {"name": "enresnet", "depth": 20, "members": 2},
}


def spec_of(model: dict[str, Any], precision: str) -> JobSpec:
    """The thesis's training of one network: batch 128, PGD with 10 steps of 2/255, RGSM, crop and flip."""
    return parse(
        {
            "dataset": {"name": "cifar10"},
            "model": model,
            "objective": {"name": "pgd", "steps": 10, "step": "2/255"},
            "sparsifier": {"name": "rgsm", "lambda1": 5e-2, "lambda2": 1e-5},
            "train": {"epochs": 200, "batch_size": 128, "precision": precision, "select": None},
        }
    )


def images_a_second(spec: JobSpec, data: Path, device: str, batches: int) -> float:
    """Train until `batches` batches have been timed after the warm-up, then leave."""
    ends: list[float] = []

    def stop() -> Literal["cancel"] | None:
        ends.append(time.perf_counter())
        return "cancel" if len(ends) == WARM_UP + batches else None

    with TemporaryDirectory() as work, contextlib.suppress(Cancelled):
        for _ in run(spec, Place(Path(work), data, device), stop=stop):
            pass
    return batches * spec.train.batch_size / (ends[-1] - ends[WARM_UP - 1])


def main() -> None:
    """Both networks, a table, a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--precision", choices=["fp32", "bf16"], action="append")
    parser.add_argument("--batches", type=int, default=50)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    lines = ["| network | precision | batches | images a second |", "|---|---|---|---|"]
    for name, model in MODELS.items():
        for precision in asked.precision or ["fp32", "bf16"]:
            speed = images_a_second(spec_of(model, precision), asked.data, asked.device, asked.batches)
            lines.append(f"| {name} | {precision} | {asked.batches} | {speed:.0f} |")
            print(lines[-1], flush=True)
    report(lines, asked)


def report(lines: list[str], asked: argparse.Namespace) -> None:
    """Write the result beside what it depends on."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    hardware = torch.cuda.get_device_name(0) if asked.device.startswith("cuda") else cpu_model()
    kind = "gpu" if asked.device.startswith("cuda") else "cpu"
    text = [
        "# Images a second in adversarial training",
        "",
        "Whole CIFAR-10, batch 128, PGD-10 (23 forward passes an image), RGSM; after a warm-up of 3 batches.",
        "",
        *lines,
        "",
        f"- {today}, {hardware}, {asked.threads} threads, load {os.getloadavg()[0]:.1f} at the end",
        f"- Python {platform.python_version()}, torch {torch.__version__}",
        f"- `python benchmarks/throughput.py DATA --batches {asked.batches} --threads {asked.threads}`",
        "- specification of the second network in fp32:",
        "",
        "```json",
        json.dumps(spec_of(MODELS["En2ResNet20"], "fp32").json_dict()),
        "```",
        "",
    ]
    path = HERE / "results" / f"throughput_{kind}_{today}.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(text))
    print(f"written to {path}")


if __name__ == "__main__":
    main()
