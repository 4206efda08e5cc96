"""Runs the rows of presets that have not been run, one after the other, and keeps each run's event log at once.

    python benchmarks/rows.py DATA [PRESET ...]      # `make rows DATA=...`; stop it whenever you like, go on later

In the order of the presets (by default all that two cores can do): first one seed of every row, then five of the rows that took
less than five minutes. What has a log (presets/results/PRESET/ROW.CONFIGURATION.seedN.jsonl) is not run again; a log under
way ends in .part and is locked, so that several of these may run at a time. Nothing is committed.
"""

import argparse
import datetime
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from core import eventlog
from core.errors import SparringError
from core.presets import Planned, Preset
from core.run import Place, run
from sparring.documents import read_yaml
from worker.devices import cpu_model

PRESETS = Path(__file__).parent.parent / "presets"
TWO_CORES = ("fashion-robust", "cifar-short", "thesis-4.1", "admm-lenet", "lenet-front", "mnist-eps03")
"""Presets made for two cores: alone there, no run is meant to take longer than twenty minutes."""
QUICK, SEEDS = 300.0, 5


def wanted(presets: dict[str, Preset], results: Path) -> Iterator[tuple[str, Planned]]:
    """Every row once, then four more times those that were quick; without those that have a log, in whatever folder."""
    for name, preset in presets.items():
        yield from ((name, one) for one in preset.planned(1) if one.spec.digest not in eventlog.kept(results))
    for name, preset in presets.items():
        for one in preset.planned(SEEDS):
            logs = eventlog.kept(results)
            first = logs.get(one.spec.model_copy(update={"seed": 1}).digest)
            if one.spec.digest not in logs and first and seconds(first) < QUICK:
                yield name, one


def seconds(log: Path) -> float:
    """How long the run of a log took, all phases together."""
    events = [json.loads(line) for line in log.read_text().splitlines()[1:]]
    return sum(event["seconds"] for event in events if event["kind"] == "phase_ended")


def keep(path: Path, one: Planned, data: Path, device: str) -> bool:
    """Run a row into its log; False if somebody else is at it, or was a moment ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if path.is_file():
            part.unlink(missing_ok=True)
            return False
        file.truncate(0)  # what a killed run left
        with TemporaryDirectory() as work:
            eventlog.write(file, one, machine(device), run(one.spec, Place(Path(work), data, device)))
        part.rename(path)
    return True


def machine(device: str) -> dict[str, Any]:
    """What computed it, and when."""
    model = torch.cuda.get_device_name(0) if device.startswith("cuda") else cpu_model()
    versions = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    return versions | {"device": device, "model": model, "date": datetime.datetime.now(datetime.UTC).date().isoformat()}


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the datasets")
    parser.add_argument("presets", nargs="*", help="; ".join(TWO_CORES))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    names = asked.presets or TWO_CORES
    presets = {name: Preset.model_validate(read_yaml((PRESETS / f"{name}.yaml").read_text())) for name in names}
    for name, one in wanted(presets, PRESETS / "results"):
        path, began = eventlog.place(PRESETS / "results", name, one), time.monotonic()
        try:
            done = keep(path, one, asked.data, asked.device)
            print(f"{path.stem}: {f'{time.monotonic() - began:.0f} s' if done else 'somebody is at it'}", flush=True)
        except SparringError as error:
            print(f"{path.stem}: {error}", flush=True)


if __name__ == "__main__":
    main()
