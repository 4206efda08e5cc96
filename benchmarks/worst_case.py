"""The strict protocol's usual attacks beside AutoAttack's standard version, image by image, and what only a black box breaks.

    python benchmarks/worst_case.py DATA WORK       # adversarially trained LeNet-5 on Fashion-MNIST, kept in WORK

Claims: no image that AutoAttack breaks is left by `strict`; at most 0.2 points are broken by the black box alone, and the worst
case counts them anyway. Compared, too, is how many forward passes the two lists ask for.
"""

import argparse
from pathlib import Path

import torch

from core.evaluate import Evaluation
from core.events import Scored
from core.exporters.safetensors import Safetensors
from core.run import Place, run
from core.spec import JobSpec, parse

IMAGES = 500
JOB = {
    "name": "LeNet-5 20-50-500, Fashion-MNIST",
    "dataset": {"name": "fashion_mnist", "images": 30_000},
    "threat": {"eps": 0.1},
    "model": {"name": "lenet5", "widths": "20-50-500"},
    "objective": {"name": "pgd", "steps": 5},
    "train": {
        "epochs": 3,
        "batch_size": 64,
        "optimizer": "adam",
        "lr": 2e-3,
        "weight_decay": 0.0,
        "schedule": {"name": "onecycle"},
        "select": None,
    },
    "compact": None,
    "evaluate": {
        "images": IMAGES,
        "batch_size": IMAGES,
        "audit": "off",
        "paper": {"attacks": ["fgsm", {"name": "ifgsm", "steps": 20}]},
        "strict": {"images": IMAGES},
    },
}


def scores(spec: JobSpec, data: Path, work: Path) -> dict[tuple[str, str], Scored]:
    """Every score of the network in `work`, which is trained if it is not there."""
    path = work / "exports" / "0-safetensors.safetensors"
    if not path.is_file():
        quiet = spec.model_copy(update={"evaluate": parse({**JOB, "evaluate": {"images": 1, "audit": "off"}}).evaluate})
        for event in run(quiet, Place(work, data)):
            if event.kind == "epoch_ended":
                print(event.epoch, event.values, flush=True)
    net, found = Safetensors().read(path), {}
    for event in Evaluation(spec, net, spec.dataset.load(data), work, []).run():
        if isinstance(event, Scored):
            print(f"{event.protocol} {event.label}: {100 * event.accuracy:.1f} %, {event.seconds:.0f} s", flush=True)
            found[event.protocol, event.label] = event
    return found


def lost(one: Scored, others: list[Scored]) -> int:
    """Images that `one` breaks and none of the others."""
    stood = [all(other.survived[n] == "1" for other in others) for n in range(one.images)]
    return sum(1 for n in range(one.images) if one.survived[n] == "0" and stood[n])


def main() -> None:
    """Train if need be, attack under both lists, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    usual = parse(JOB)
    official = parse({**JOB, "evaluate": {**JOB["evaluate"], "paper": {}, "strict": {"attacks": ["autoattack"]}}})  # type: ignore[dict-item]
    assert isinstance(usual, JobSpec)
    assert isinstance(official, JobSpec)
    ours, theirs = (scores(spec, asked.data, asked.work) for spec in (usual, official))
    strict, auto = ours["strict", "worst_case"], theirs["strict", "autoattack"]
    print(f"strict {100 * strict.accuracy:.1f} %, AutoAttack standard {100 * auto.accuracy:.1f} %, of {IMAGES} images")
    print(f"broken by AutoAttack alone: {lost(auto, [strict])}; by strict alone: {lost(strict, [auto])}")
    passes = [sum(found["strict", "worst_case"].queries) for found in (ours, theirs)]
    print(f"forward passes asked for by all attacks that count: strict {passes[0]:,}, AutoAttack {passes[1]:,}")
    seeing = [ours["strict", label] for label in ("apgd_ce100", "apgd_t100")]
    print(f"broken by Square and by neither APGD: {lost(ours['strict', 'square5000'], seeing)}")
    above = sum(
        s == "1" and p == "0"
        for key in (("paper", "fgsm"), ("paper", "ifgsm20"))
        for s, p in zip(strict.survived, ours[key].survived, strict=True)
    )
    print(f"images that strict leaves and a paper attack breaks: {above}")


if __name__ == "__main__":
    main()
