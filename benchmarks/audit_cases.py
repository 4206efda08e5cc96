"""Does the audit catch what is broken, and leave in peace what is not? Planted flaws, and honest networks, trained for real.

    python benchmarks/audit_cases.py DATA [--seeds N]

One network after the other is trained for some seconds, evaluated and audited, and its outcome is written at once to
results/audit_cpu_DATE.jsonl; what stands there is not done again. The table beside it (.md) is made anew each time.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import torch
from scipy.stats import beta

from benchmarks.planted import CASES, Build, Case, Small, trained
from core.audit import Audit
from core.datasets.base import Splits
from core.evaluate import Evaluation
from core.events import Audited, Checked, Scored
from core.models.enresnet import EnResNet
from core.models.lenet5 import LeNet
from core.models.resnet import ResNet
from core.spec import JobSpec, parse
from worker.devices import cpu_model

RESULTS = Path(__file__).parent / "results" / "audit_cpu_2026-11-24"
ATTACKS = ["fgsm", {"name": "ifgsm", "steps": 20}, {"name": "cw_linf", "steps": 20}]
RADII = {
    "mnist": Fraction(1, 10),
    "fashion_mnist": Fraction(1, 20),
    "fashion_mnist_sample": Fraction(1, 20),
    "cifar10": Fraction(4, 255),
}


@dataclass(frozen=True)
class Network:
    """A network to be made and audited; `steps` of PGD in training, none for natural training."""

    name: str
    planted: bool
    dataset: str
    build: Build
    seed: int
    steps: int = 0
    train_images: int = 6000
    epochs: int = 3
    test_images: int = 128
    random: bool = False

    @property
    def key(self) -> str:
        """What its line is known by."""
        return f"{self.name}, {self.dataset}, {f'PGD-{self.steps}' if self.steps else 'natural'}, seed {self.seed}"

    @property
    def spec(self) -> JobSpec:
        """The evaluation and its audit."""
        model = {"name": "enresnet", "depth": 8, "members": 1} if self.random else {"name": "resnet", "depth": 8}
        judged = {"images": self.test_images, "batch_size": 128, "audit": "full", "paper": {"attacks": ATTACKS}}
        threat = {"eps": str(RADII[self.dataset])}
        return parse(
            {"dataset": {"name": self.dataset}, "model": model, "threat": threat, "seed": self.seed, "evaluate": judged}
        )


def flawed(seeds: range) -> Iterator[Network]:
    """The planted flaws."""
    for seed in seeds:
        yield from (sample(case.name, True, case.flawed, seed, is_random(case)) for case in CASES)


def sample(name: str, planted: bool, build: Build, seed: int, random: bool) -> Network:
    """A network on the shipped sample; random ones cost more, and get half the images."""
    return Network(name, planted, "fashion_mnist_sample", build, seed, test_images=64 if random else 128, random=random)


def is_random(case: Case) -> bool:
    """Whether the network draws noise."""
    return case.name in ("noise_of_2", "random_resizing")


def honest() -> Iterator[Network]:
    """Networks with nothing wrong: naturally and adversarially trained ones, the twins of the flawed, noisy ensembles."""
    yield from (network for seed in (1, 2) for network in plain(seed))
    seen: set[Build] = {Small}
    for case in CASES:
        if case.honest not in seen:
            yield sample(f"twin of {case.name}", False, case.honest, 1, is_random(case))
    small = {"train_images": 1000, "epochs": 2, "test_images": 32}
    for dataset, channels in (("fashion_mnist", 1), ("cifar10", 3)):
        build = partial(EnResNet(depth=8, members=2).build, 10, channels)
        yield Network("En2ResNet8", False, dataset, build, 1, 2, random=True, **small)
    yield Network("ResNet8", False, "cifar10", partial(ResNet(depth=8).build, 10, 3), 1, 2, **small)


def plain(seed: int) -> Iterator[Network]:
    """Small networks, naturally trained and with PGD-3."""
    for steps in (0, 3):
        for dataset, channels, size in (("mnist", 1, 28), ("fashion_mnist", 1, 28), ("cifar10", 3, 32)):
            yield Network("two convolutions", False, dataset, partial(Small, channels, size=size), seed, steps)
        for dataset in ("mnist", "fashion_mnist"):
            yield Network("LeNet-5", False, dataset, partial(LeNet, "6-16-120-84", 10, 1), seed, steps)


def outcome(network: Network, splits: Splits) -> dict[str, Any]:
    """Train, evaluate and audit one network, fully and quickly."""
    spec, began = network.spec, time.monotonic()
    net = trained(
        network.build,
        splits.train.prefix(network.train_images),
        network.epochs,
        network.seed,
        network.steps,
        spec.threat.eps,
    )
    done = time.monotonic()
    scored = [event for event in Evaluation(spec, net, splits, Path(), []).run() if isinstance(event, Scored)]
    judged = time.monotonic()
    checks, verdict = audited(spec, net, splits, scored)
    ended = time.monotonic()
    quick = spec.model_copy(update={"evaluate": spec.evaluate.model_copy(update={"audit": "quick"})})
    return {
        "key": network.key,
        "planted": network.planted,
        "eps": str(spec.threat.eps),
        "images": network.test_images,
        "scores": {one.label: one.accuracy for one in scored},
        "verdict": verdict,
        "quick": audited(quick, net, splits, scored)[1],
        "checks": checks,
        "seconds": [round(done - began, 1), round(judged - done, 1), round(ended - judged, 1)],
        "torch": torch.__version__,
        "cpu": cpu_model(),
    }


def audited(
    spec: JobSpec, net: torch.nn.Module, splits: Splits, scored: list[Scored]
) -> tuple[list[dict[str, Any]], str]:
    """What each check found, and the verdict."""
    events = list(Audit(spec, net, splits.test, scored).run())
    kept = {"check", "value", "passes", "fails", "verdict", "images", "words"}
    checks = [event.model_dump(include=kept) for event in events if isinstance(event, Checked)]
    (end,) = [event for event in events if isinstance(event, Audited)]
    return checks, end.verdict


def bounds(hits: int, of: int) -> tuple[float, float]:
    """Exact 95 % bounds of a share (Clopper and Pearson 1934), in per cent."""
    low = beta.ppf(0.025, hits, of - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, of - hits) if hits < of else 1.0
    return 100 * float(low), 100 * float(high)


def share(what: str, hits: int, of: int) -> str:
    """A count with its bounds, as a row."""
    low, high = bounds(hits, of)
    return f"| {what} | {hits} of {of} | {low:.1f} to {high:.1f} % |"


def table(rows: list[dict[str, Any]]) -> str:
    """The page of results."""
    planted, fair = [r for r in rows if r["planted"]], [r for r in rows if not r["planted"]]
    lines = [
        "# The audit on planted flaws and on honest networks",
        "",
        "`python benchmarks/audit_cases.py DATA`, on one thread of a shared server",
        f"({rows[0]['cpu']}, torch {rows[0]['torch']}). Every network is trained for some seconds (last column: seconds of",
        "training, of evaluation, of the full audit), then evaluated with FGSM, IFGSM-20 and C&W-linf-20, and audited. What is",
        "planted: `benchmarks/planted.py`. What every check measured is in the `.jsonl` beside this page. Intervals: exact, 95 %",
        "(Clopper-Pearson). The cases were chosen by us: the intervals say nothing about flaws of other kinds.",
        "",
        "| | count | interval |",
        "|---|---|---|",
    ]
    for name, level in (("full", "verdict"), ("quick", "quick")):
        lines += [
            share(
                f"caught of planted (verdict not passed), {name}",
                sum(r[level] != "passed" for r in planted),
                len(planted),
            ),
            share(f"of these failed, {name}", sum(r[level] == "failed" for r in planted), len(planted)),
            share(f"accused of honest (failed), {name}", sum(r[level] == "failed" for r in fair), len(fair)),
            share(f"warned of honest, {name}", sum(r[level] == "warnings" for r in fair), len(fair)),
        ]
    for title, group in (("Planted", planted), ("Honest", fair)):
        lines += [
            "",
            f"## {title}",
            "",
            "| network | eps | images | clean | IFGSM | C&W | full | quick | what did not pass, and its figure | seconds |",
        ]
        lines += ["|---|---|---|---|---|---|---|---|---|---|", *(line(row) for row in group)]
    return "\n".join(lines) + "\n"


def line(row: dict[str, Any]) -> str:
    """A network's row."""
    clean, _, ifgsm, cw = (f"{100 * score:.1f}" for score in row["scores"].values())
    found = [f"{c['check']} {c['value']:.3g} ({c['verdict']})" for c in row["checks"] if c["verdict"] != "passed"]
    seconds = ", ".join(f"{s:.0f}" for s in row["seconds"])
    network = (row["key"], row["eps"], str(row["images"]), clean, ifgsm, cw)
    return f"| {' | '.join((*network, row['verdict'], row['quick'], ', '.join(found), seconds))} |"


def main() -> None:
    """What is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the datasets")
    parser.add_argument("--seeds", type=int, default=2, help="of the planted flaws")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    log = RESULTS.with_suffix(".jsonl")
    rows = [json.loads(text) for text in log.read_text().splitlines()] if log.is_file() else []
    asked_for = [*honest(), *flawed(range(1, asked.seeds + 1))]
    for network in sorted(asked_for, key=lambda network: (network.seed, network.random, not network.planted)):
        if network.key in {row["key"] for row in rows}:
            continue
        rows.append(outcome(network, network.spec.dataset.load(asked.data)))
        with log.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
        RESULTS.with_suffix(".md").write_text(table(rows))
        print(network.key, rows[-1]["verdict"], rows[-1]["seconds"], flush=True)


if __name__ == "__main__":
    main()
