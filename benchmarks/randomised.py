"""What the strict protocol's rules change on a random network: averaged gradients, frozen noise scale, separate draws.

    python benchmarks/randomised.py DATA WORK        # trains En2ResNet20 shortly on CIFAR-10 in WORK, or takes what lies there

Every figure is of the same network and the same images; differences are paired by image. The null control compares the
clean images with themselves under other draws: it must hold zero.
"""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from core.accuracy import Trial
from core.attacks.base import Attack
from core.attacks.pgd import Pgd
from core.candidates import Candidates
from core.datasets.base import Split
from core.eot import draws_needed
from core.exporters.safetensors import Safetensors
from core.noise import Expectation, frozen, reseed
from core.run import Place, run
from core.spec import JobSpec, parse

IMAGES, SIZE, SELECT, JUDGE, STEPS, EOT = 256, 128, 32, 64, 20, 10
JOB = {
    "name": "En2ResNet20, short",
    "dataset": {"name": "cifar10", "images": 10_000, "augment": "crop_flip"},
    "model": {"name": "enresnet", "depth": 20, "members": 2},
    "objective": {"name": "pgd", "steps": 3},
    "train": {"epochs": 4, "lr": 0.1, "schedule": {"name": "onecycle"}, "select": None},
    "evaluate": {"images": 1000, "audit": "off"},
}


class Shares(NamedTuple):
    """For each image: the share of the judging draws in which it is right, and the candidates behind them."""

    right: Tensor
    candidates: Candidates


def trained(spec: JobSpec, data: Path, work: Path) -> nn.Module:
    """The network of an earlier call, or a new one."""
    path = work / "exports" / "0-safetensors.safetensors"
    if not path.is_file():
        for event in run(spec, Place(work, data)):
            if event.kind in ("epoch_ended", "scored"):
                print(event.kind, event.model_dump(include={"epoch", "values", "label", "accuracy"}), flush=True)
    return Safetensors().read(path)


def attacked(net: nn.Module, images: Split, eot: int, name: str, attack: Attack | None) -> Shares:
    """Images attacked through averages of `eot` gradients, judged by 64 draws, with 32 others to choose by."""
    seen = Expectation(net, eot)
    trial = Trial(net, images, attack, SIZE, ("benchmark", name), JUDGE, seen, SELECT, keep=IMAGES)
    for _ in trial:
        pass
    made = Candidates.judged(trial.kept, trial.selected, trial.right, 1, trial.predicted, trial.distance, trial.queries)
    print(f"{name}: {100 * float(made.right.mean()):.2f} %", flush=True)
    return Shares(made.right, made)


def points(share: Tensor) -> str:
    """A mean in per cent."""
    return f"{100 * float(share.double().mean()):.2f}"


def difference(one: Tensor, other: Tensor) -> str:
    """The mean difference of paired images in points, with its 95 % interval."""
    each = (one - other).double()
    half = 1.96 * float(each.std()) / math.sqrt(len(each))
    return f"{100 * float(each.mean()):+.2f} ± {100 * half:.2f}"


def report(net: nn.Module, train: Split, images: Split, spec: JobSpec) -> Iterator[str]:
    """The lines of the table."""
    reseed(net, "benchmark", "context")
    alone = frozen(net, [train.batch(start * SIZE, SIZE)[0] for start in range(8)])
    reseed(alone, "benchmark", "eot")
    *_, (needed, cosine) = draws_needed(alone, *images.batch(0, 64))
    yield f"Draws that `eot: auto` takes here: {needed} (cosine of two independent averages: {cosine:.2f})."
    yield ""
    attack = Pgd(steps=STEPS).within(spec.threat)
    clean, again = (attacked(alone, images, 1, f"clean, frozen, {turn}", None) for turn in ("first", "second"))
    joint = attacked(net, images, 1, "clean, batch-wide", None)
    single = attacked(alone, images, 1, "PGD-20, one draw a gradient, frozen", attack)
    many = attacked(alone, images, EOT, f"PGD-20, {EOT} draws a gradient, frozen", attack)
    wide = attacked(net, images, 1, "PGD-20, one draw a gradient, batch-wide", attack)
    wide_many = attacked(net, images, EOT, f"PGD-20, {EOT} draws a gradient, batch-wide", attack)
    yield "| what | % | difference, paired |"
    yield "|---|---|---|"
    yield f"| clean, frozen | {points(clean.right)} | |"
    yield f"| clean again, other draws (null control) | {points(again.right)} | {difference(again.right, clean.right)} |"
    yield f"| clean, batch-wide noise scale | {points(joint.right)} | {difference(joint.right, clean.right)} |"
    yield f"| PGD-20, one draw a gradient, frozen | {points(single.right)} | |"
    yield f"| PGD-20, {EOT} draws a gradient, frozen | {points(many.right)} | {difference(many.right, single.right)} |"
    yield f"| PGD-20, one draw, batch-wide (the papers' way) | {points(wide.right)} | {difference(wide.right, single.right)} |"
    yield f"| PGD-20, {EOT} draws, batch-wide | {points(wide_many.right)} | {difference(wide_many.right, many.right)} |"
    yield from choosing(clean, [single, many])


def choosing(clean: Shares, attacks: list[Shares]) -> Iterator[str]:
    """What the draws that choose the worst candidate change."""
    start, every = clean.candidates, [one.candidates for one in attacks]
    strict = start
    for one in every:
        strict = strict.or_worse(one)
    same = [one._replace(wrong=1 - one.right) for one in (start, *every)]
    greedy = same[0]
    for one in same[1:]:
        greedy = greedy.or_worse(one)
    yield f"| worst of clean and both frozen, chosen by 32 other draws (strict) | {points(strict.right)} | |"
    yield f"| the same, chosen by the judging draws | {points(greedy.right)} | {difference(greedy.right, strict.right)} |"
    yield f"| right in all 64 draws, strict's worst (diagnostic) | {points(strict.always)} | |"
    yield f"| right in all 64 draws, clean images (diagnostic) | {points(start.always)} | |"


def main() -> None:
    """Train if need be, attack, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    spec = parse(JOB)
    assert isinstance(spec, JobSpec)
    net = trained(spec, asked.data, asked.work)
    splits = spec.dataset.load(asked.data)
    print("\n".join(report(net, splits.train, splits.test.prefix(IMAGES), spec)))


if __name__ == "__main__":
    main()
