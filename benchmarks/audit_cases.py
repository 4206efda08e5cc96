"""Does the audit catch what is broken, and leave in peace what is not? Planted flaws, and honest networks, trained for real.

    python benchmarks/audit_cases.py DATA [--seeds N]

One network after the other is trained for some seconds, evaluated and audited, and its outcome is written at once to
results/audit_cpu_DATE.jsonl; what stands there is not done again. The table beside it (.md) is made anew each time.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from scipy.stats import beta

from benchmarks.planted import CASES, Build, Case, Small, trained
from core.audit import Audit
from core.audit.strength import protocol
from core.datasets.base import Splits
from core.evaluate import Evaluation
from core.events import Audited, Checked, Scored
from core.models.enresnet import EnResNet
from core.models.lenet5 import LeNet
from core.models.resnet import ResNet
from core.spec import JobSpec, parse
from worker.devices import cpu_model

RESULTS = Path(__file__).parent / "results" / "audit_cpu_2026-11-24"
PAPER: dict[str, Any] = {
    "paper": {"attacks": ["fgsm", {"name": "ifgsm", "steps": 20}, {"name": "cw_linf", "steps": 20}]}
}
STRICT: dict[str, Any] = {"strict": {}}
STRICT_IF_RANDOM: dict[str, Any] = {
    "strict": {
        "selection_draws": 16,
        "judging_draws": 32,
        "attacks": [
            {"name": "apgd_ce", "steps": 50},
            {"name": "apgd_t", "steps": 50, "targets": 3},
            {"name": "square", "queries": 500},
        ],
    }
}
"""The strict protocol's own attacks with half the steps, a third of the targets and a tenth of the queries."""
STRICTLY = (
    "quantised_input",
    "thermometer_input",
    "detached_branch",
    "batchnorm_in_training",
    "winners_take_all",
    "noise_of_2",
)
"""The flaws that are audited under the strict protocol too."""
NOISE_PASSED = (
    "",
    "The planted case that passed, noise of coefficient 2 under `strict`, is a flaw of weak evaluations: an attack that takes",
    "a single draw a gradient is lost in the noise. The strict protocol averages its gradients, and its evaluation is then not",
    "weak: the audit judges the evaluation, and finds nothing to say against it. 32 images and one seed show no more than that.",
)
RADII = {
    "mnist": Fraction(1, 10),
    "fashion_mnist": Fraction(1, 20),
    "fashion_mnist_sample": Fraction(1, 20),
    "cifar10": Fraction(4, 255),
}


@dataclass(frozen=True)
class Network:
    """A network to be made and audited; `steps` of PGD in training, but for `natural` first epochs, none for natural training."""

    name: str
    planted: bool
    dataset: str
    build: Build
    seed: int
    steps: int = 0
    train_images: int = 6000
    epochs: int = 3
    natural: int = 0
    test_images: int = 128
    random: bool = False
    strict: bool = False
    eps: Fraction | None = None
    """The usual radius of the dataset where None."""

    @property
    def key(self) -> str:
        """What its line is known by."""
        how = f"PGD-{self.steps}" if self.steps else "natural"
        return f"{self.name}, {self.dataset}, {how}, seed {self.seed}{', strict' if self.strict else ''}"

    @property
    def spec(self) -> JobSpec:
        """The evaluation and its audit."""
        model = {"name": "enresnet", "depth": 8, "members": 1} if self.random else {"name": "resnet", "depth": 8}
        strict = STRICT_IF_RANDOM if self.random else STRICT
        judged = {"images": self.test_images, "batch_size": 128, "audit": "full", **(strict if self.strict else PAPER)}
        threat = {"eps": str(self.eps or RADII[self.dataset])}
        return parse(
            {"dataset": {"name": self.dataset}, "model": model, "threat": threat, "seed": self.seed, "evaluate": judged}
        )


def flawed(seeds: range) -> Iterator[Network]:
    """The planted flaws; of the first seed some under the strict protocol too."""
    for seed in seeds:
        yield from (sample(case.name, True, case.flawed, seed, is_random(case)) for case in CASES)
    for case in CASES:
        if case.name in STRICTLY:
            yield strictly(sample(case.name, True, case.flawed, seeds[0], is_random(case)))


def sample(name: str, planted: bool, build: Build, seed: int, random: bool) -> Network:
    """A network on the shipped sample; random ones cost more, and get half the images."""
    return Network(name, planted, "fashion_mnist_sample", build, seed, test_images=64 if random else 128, random=random)


def strictly(network: Network) -> Network:
    """The same network under the strict protocol, which costs more: on 64 images, random ones on 32."""
    return replace(network, strict=True, test_images=32 if network.random else 64)


def is_random(case: Case) -> bool:
    """Whether the network draws noise."""
    return case.name in ("noise_of_2", "random_resizing")


def honest() -> Iterator[Network]:
    """Networks with nothing wrong: naturally and adversarially trained ones, the twins of the flawed, noisy ensembles."""
    yield from (network for seed in (1, 2) for network in plain(seed))
    yield from fallen()
    yield from deep()
    seen: set[Build] = {Small}
    for case in CASES:
        if case.honest not in seen:
            twin = sample(f"twin of {case.name}", False, case.honest, 1, is_random(case))
            yield from (twin, strictly(twin)) if twin.random else (twin,)
    for network in plain(1):
        if network.name == "two convolutions":
            yield strictly(network)


def plain(seed: int) -> Iterator[Network]:
    """Small networks, naturally trained and with PGD-3."""
    for steps in (0, 3):
        for dataset, channels, size in (("mnist", 1, 28), ("fashion_mnist", 1, 28), ("cifar10", 3, 32)):
            yield Network("two convolutions", False, dataset, partial(Small, channels, size=size), seed, steps)
        for dataset in ("mnist", "fashion_mnist"):
            yield Network("LeNet-5", False, dataset, partial(LeNet, "6-16-120-84", 10, 1), seed, steps)


def fallen() -> Iterator[Network]:
    """Naturally trained networks at radii that leave next to nothing: a floor is no flaw."""
    radii = {"mnist": Fraction(3, 10), "fashion_mnist": Fraction(1, 10), "cifar10": Fraction(8, 255)}
    for network in plain(3):
        if network.name == "two convolutions" and not network.steps:
            yield replace(network, name="two convolutions, far radius", eps=radii[network.dataset])


def deep() -> Iterator[Network]:
    """Residual networks, naturally trained first: what they learn from a few attacked images alone is next to nothing."""
    for dataset, channels, images in (("fashion_mnist", 1, 3000), ("cifar10", 3, 5000)):
        build = partial(EnResNet(depth=8, members=2).build, 10, channels)
        yield Network("En2ResNet8", False, dataset, build, 1, 2, images, 5, 4, test_images=64, random=True)
    yield Network("ResNet8", False, "cifar10", partial(ResNet(depth=8).build, 10, 3), 1, 2, 5000, 8, 6, test_images=128)


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
        network.natural,
    )
    done = time.monotonic()
    with TemporaryDirectory() as work:
        evaluation = Evaluation(spec, net, splits, Path(work), [])
        scored = [event for event in evaluation.run() if isinstance(event, Scored)]
    scored = [one for one in scored if one.protocol == protocol(spec)]
    judged = time.monotonic()
    checks, verdict = audited(spec, net, splits, scored, evaluation.frozen)
    ended = time.monotonic()
    quick = spec.model_copy(update={"evaluate": spec.evaluate.model_copy(update={"audit": "quick"})})
    return {
        "key": network.key,
        "planted": network.planted,
        "strict": network.strict,
        "eps": str(spec.threat.eps),
        "images": network.test_images,
        "scores": {one.label: one.accuracy for one in scored},
        "verdict": verdict,
        "quick": audited(quick, net, splits, scored, evaluation.frozen)[1],
        "checks": checks,
        "seconds": [round(done - began, 1), round(judged - done, 1), round(ended - judged, 1)],
        "torch": torch.__version__,
        "cpu": cpu_model(),
    }


def audited(
    spec: JobSpec, net: torch.nn.Module, splits: Splits, scored: list[Scored], frozen: list[float] | None
) -> tuple[list[dict[str, Any]], str]:
    """What each check found, and the verdict."""
    events = list(Audit(spec, net, splits, scored, frozen).run())
    kept = {"check", "value", "passes", "fails", "verdict", "images", "words"}
    checks = [event.model_dump(include=kept) for event in events if isinstance(event, Checked)]
    (end,) = [event for event in events if isinstance(event, Audited)]
    return checks, end.verdict


def bounds(hits: int, of: int) -> tuple[float, float]:
    """Exact 95 % bounds of a share (Clopper and Pearson 1934), in per cent."""
    low = beta.ppf(0.025, hits, of - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, of - hits) if hits < of else 1.0
    return 100 * float(low), 100 * float(high)


def share(hits: int, of: int) -> str:
    """A count with its bounds, as two cells."""
    low, high = bounds(hits, of)
    return f"{hits} of {of} | {low:.1f} to {high:.1f} %"


def table(rows: list[dict[str, Any]]) -> str:
    """The page of results."""
    lines = [
        "# The audit on planted flaws and on honest networks",
        "",
        "`python benchmarks/audit_cases.py DATA`, on one thread of a shared server",
        f"({rows[0]['cpu']}, torch {rows[0]['torch']}). Every network is trained for some seconds up to minutes, then",
        "evaluated and audited, on three datasets, of one of them also on the shipped sample. Last column: seconds of training,",
        "of evaluation, of the full audit. What is planted: `benchmarks/planted.py`. What every check measured is in the",
        "`.jsonl` beside this page. Intervals: exact, 95 % (Clopper-Pearson). The cases were chosen by us: the intervals say",
        "nothing about flaws of other kinds. Strict rows judge networks that have a paper row too: the two groups are not to be",
        "pooled.",
        "",
        "Evaluated under `paper`: FGSM, IFGSM-20, C&W-linf-20. Under `strict`, the rows that say so: the protocol's own attacks",
        "(APGD with 100 steps, targeted APGD with 9 targets, Square with 5,000 queries). Of random networks, with a smaller",
        "budget: 50 steps, 3 targets, 500 queries, 16 draws to select by and 32 to judge by, `eot: auto`. *attacked* is the",
        "lowest accuracy under an attack, of strict ones the worst case.",
        "",
        "| verdicts | full | interval | quick | interval |",
        "|---|---|---|---|---|",
    ]
    for words, strict in (("paper", False), ("strict", True)):
        lines += counts(words, of(rows, strict=strict))
    lines += passed(rows)
    for strict, name in ((False, "paper"), (True, "strict")):
        for planted, title in ((True, "Planted"), (False, "Honest")):
            lines += ["", f"## {title}, {name}", "", *shown(of(rows, strict=strict, planted=planted))]
    return "\n".join(lines) + "\n"


def passed(rows: list[dict[str, Any]]) -> Iterator[str]:
    """What is to be said of the planted case that passes under `strict`, if it does."""
    strict = of(rows, planted=True, strict=True)
    if any(row["key"].startswith("noise_of_2,") and row["verdict"] == "passed" for row in strict):
        yield from NOISE_PASSED


def of(rows: list[dict[str, Any]], **facts: bool) -> list[dict[str, Any]]:
    """The rows of which these facts hold."""
    return [row for row in rows if all(row[key] == value for key, value in facts.items())]


def counts(words: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    """Of how many planted and honest networks the audit said what."""
    told = (
        ("caught of planted (not passed)", True, ("warnings", "failed")),
        ("of these failed", True, ("failed",)),
        ("accused of honest (failed)", False, ("failed",)),
        ("warned of honest", False, ("warnings",)),
    )
    for what, planted, verdicts in told:
        asked = of(rows, planted=planted)
        cells = [share(sum(row[level] in verdicts for row in asked), len(asked)) for level in ("verdict", "quick")]
        yield f"| {what}, {words} | {' | '.join(cells)} |"


def shown(rows: list[dict[str, Any]]) -> Iterator[str]:
    """A table of networks."""
    yield "| network | eps | images | clean | attacked | full | quick | what did not pass, and its figure | seconds |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        found = [f"{c['check']} {c['value']:.3g} ({c['verdict']})" for c in row["checks"] if c["verdict"] != "passed"]
        scores = [f"{100 * score:.1f}" for score in (row["scores"]["clean"], min(row["scores"].values()))]
        network = [row["key"], row["eps"], str(row["images"]), *scores, row["verdict"], row["quick"]]
        yield f"| {' | '.join([*network, ', '.join(found), ', '.join(f'{s:.0f}' for s in row['seconds'])])} |"


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
    for network in sorted(
        asked_for, key=lambda network: (network.strict, network.seed, network.random, network.planted)
    ):
        if network.key in {row["key"] for row in rows}:
            continue
        rows.append(outcome(network, network.spec.dataset.load(asked.data)))
        with log.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
        RESULTS.with_suffix(".md").write_text(table(rows))
        print(network.key, rows[-1]["verdict"], rows[-1]["seconds"], flush=True)


if __name__ == "__main__":
    main()
