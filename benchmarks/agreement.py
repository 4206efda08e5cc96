"""Do our attacks agree with others'? FGSM and PGD beside torchattacks, C&W in l2 beside Foolbox, closed forms beside us all.

    python -m venv APART && APART/bin/pip install -r requirements/... foolbox       (Foolbox is no dependency of Sparring)
    APART/bin/python benchmarks/agreement.py DATA WORK

DATA holds Fashion-MNIST and CIFAR-10 (`sparring data fetch`); WORK keeps the two networks that are trained first (LeNet-5 with
PGD on Fashion-MNIST, and a ResNet20 on CIFAR-10 for a few minutes only, which is far from converged). Prints Markdown tables
and writes them, with hardware, versions and exact settings, to benchmarks/results/.
"""

import argparse
import datetime
import importlib.util
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
import torchattacks
from torch import Tensor, nn

from core.attacks.base import Attack
from core.attacks.cw_l2 import CwL2
from core.attacks.fgsm import Fgsm
from core.attacks.pgd import Pgd
from core.datasets.base import Split
from core.device import generator, numerics
from core.events import Exported, Scored
from core.exporters.safetensors import Safetensors
from core.run import Place, run
from core.spec import JobSpec, parse
from core.threat import Threat
from worker.devices import cpu_model

HERE = Path(__file__).parent
SHORT = {"schedule": {"name": "onecycle"}, "select": None}
JOBS: dict[str, dict[str, Any]] = {
    "LeNet-5, Fashion-MNIST": {
        "dataset": {"name": "fashion_mnist", "images": 30_000},
        "threat": {"eps": "0.1"},
        "model": {"name": "lenet5", "widths": "20-50-500"},
        "objective": {"name": "pgd", "steps": 5},
        "train": {"epochs": 3, "batch_size": 64, "optimizer": "adam", "lr": 2e-3, "weight_decay": 0.0, **SHORT},
    },
    "ResNet20, CIFAR-10 (not converged)": {
        "dataset": {"name": "cifar10", "images": 6000, "augment": "crop_flip"},
        "model": {"name": "resnet", "depth": 20},
        "objective": {"name": "pgd", "steps": 2},
        "train": {"epochs": 2, "batch_size": 64, "lr": 0.1, **SHORT},
    },
}


def spec_of(job: dict[str, Any], seed: int) -> JobSpec:
    """A job that trains and saves a network, and judges it on 500 clean images."""
    return parse({**job, "seed": seed, "compact": None, "evaluate": {"images": 500, "audit": "off"}})


def trained(spec: JobSpec, data: Path, work: Path) -> nn.Module:
    """The network of the job, from the file of an earlier call if there is one."""
    kept = work / f"{spec.digest[:16]}.safetensors"
    if not kept.exists():
        began = time.monotonic()
        for event in run(spec, Place(work / spec.digest[:16], data)):
            if isinstance(event, Scored):
                print(f"{spec.model.name}: {100 * event.accuracy:.1f} % clean, {time.monotonic() - began:.0f} s", flush=True)
            if isinstance(event, Exported):
                kept.write_bytes(Path(event.path).read_bytes())
    return Safetensors().read(kept).requires_grad_(False)
