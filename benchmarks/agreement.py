"""Do our attacks agree with others'? FGSM and PGD beside torchattacks, C&W in l2 beside Foolbox, closed forms beside ours.

    python -m venv APART && APART/bin/pip install -r requirements/torch.txt -r requirements/server.txt foolbox
    APART/bin/pip install --no-deps -r requirements/torchattacks.txt
    APART/bin/python benchmarks/agreement.py DATA WORK [--threads 1]

Foolbox is no dependency of Sparring, so it has an environment of its own. DATA holds Fashion-MNIST and CIFAR-10 (`sparring data
fetch`); WORK keeps the two networks that are trained first: LeNet-5 with PGD on Fashion-MNIST, and a ResNet20 on CIFAR-10, for a
few minutes only and so far from converged. Prints Markdown tables and writes them, with hardware, versions and exact
settings, to benchmarks/results/.
"""

import argparse
import datetime
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torchattacks
from torch import Tensor, nn

from core.accuracy import Trial
from core.attacks.base import Attack
from core.attacks.cw_l2 import CwL2
from core.attacks.fgsm import Fgsm
from core.attacks.ifgsm import Ifgsm
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
SEED, IMAGES, STEPS = 1, 1000, 20
ALLOWED_POINTS, ALLOWED_SHARE = 0.3, 0.05
NEAREST = {"LeNet-5, Fashion-MNIST": 100, "ResNet20, CIFAR-10 (not converged)": 32}
"""Images of C&W."""
CW = CwL2(steps=200, lr=0.01, c=1.0, search_steps=6)
"""Foolbox gets the same: binary_search_steps, steps, stepsize, initial_const; no early abort."""
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
                print(f"{spec.model.name}, {time.monotonic() - began:.0f} s: {event.accuracy} clean", flush=True)
            if isinstance(event, Exported):
                kept.write_bytes(Path(event.path).read_bytes())
    return Safetensors().read(kept).requires_grad_(False)


# ---- FGSM and PGD beside torchattacks


def pairs(net: nn.Module, eps: Fraction) -> Iterator[tuple[str, Attack, Any]]:
    """Our attack and theirs, with equal settings."""
    step, radius, l2 = eps / 4, float(eps), Fraction(1, 2)
    yield "FGSM", Fgsm(), torchattacks.FGSM(net, radius)
    for start in (False, True):
        name = f"PGD-{STEPS}, {'random start' if start else 'from the image'}"
        ours = Pgd(steps=STEPS, step=step, random_start=start)
        yield f"{name}, l_inf", ours, torchattacks.PGD(net, radius, float(step), STEPS, start)
        ours = Pgd(norm="l2", eps=l2, steps=STEPS, step=l2 / 4, random_start=start)
        yield f"{name}, l2", ours, torchattacks.PGDL2(net, float(l2), float(l2) / 4, STEPS, start)


def beside_torchattacks(name: str, spec: JobSpec, net: nn.Module, images: Split) -> Iterator[str]:
    """A row for each attack: accuracies on the same images, and how many images the two judge differently."""
    for label, attack, theirs in pairs(net, spec.threat.eps):
        attack = attack.within(spec.threat, "last")
        trial = Trial(net, images, attack, 100, ("agreement", label, SEED))
        for _ in trial:
            pass
        ours = trial.right[0]
        torch.manual_seed(SEED)
        batches = [images.batch(start, 100) for start in range(0, len(images), 100)]
        other = torch.cat([net(theirs(x, y)).argmax(1) == y for x, y in batches])
        apart = 100 * float(ours.float().mean() - other.float().mean())
        yield (
            f"| {name} | {label} | {float(attack.threat.eps):.4g} | {100 * float(ours.float().mean()):.1f} "
            f"| {100 * float(other.float().mean()):.1f} | {apart:+.1f} | {int((ours != other).sum())} "
            f"| {'yes' if abs(apart) <= ALLOWED_POINTS + 1e-6 else 'NO'} |"
        )


# ---- C&W beside Foolbox


def beside_foolbox(name: str, net: nn.Module, images: Split) -> Iterator[str]:
    """A row: median distances of the images that the network gets right."""
    x, y = images.batch(0, NEAREST[name])
    right = net(x).argmax(1) == y
    x, y = x[right], y[right]
    began = time.monotonic()
    _, ours = CW.nearest(net, x, y)
    between = time.monotonic()
    theirs = by_foolbox(net, x, y)
    ended = time.monotonic()
    medians = ours.median(), theirs.median()
    apart = float(medians[0] / medians[1] - 1)
    edges = 100 * float(((x == 0) | (x == 1)).float().mean())
    yield (
        f"| {name} | {len(x)} | {edges:.0f} % | {medians[0]:.4f} | {medians[1]:.4f} | {100 * apart:+.1f} % "
        f"| {int((ours < theirs).sum())} | {int(ours.isinf().sum())}, {int(theirs.isinf().sum())} "
        f"| {between - began:.0f}, {ended - between:.0f} | {'yes' if abs(apart) <= ALLOWED_SHARE else 'NO'} |"
    )


def by_foolbox(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Foolbox's distances, infinite where it found nothing. (B,)."""
    import foolbox

    attack = foolbox.attacks.L2CarliniWagnerAttack(
        binary_search_steps=CW.search_steps, steps=CW.steps, stepsize=CW.lr, initial_const=CW.c, abort_early=False
    )
    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    found, _, success = attack(model, x, y, epsilons=None)
    return torch.where(success, (found - x).flatten(1).norm(dim=1), torch.inf)


# ---- closed forms


def on_a_linear_network() -> Iterator[str]:
    """Rows: the largest difference to what is known, over 100 images of two classes, none within 0.2 of the box's edge."""
    torch.manual_seed(SEED)
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 2)).requires_grad_(False)
    x = torch.rand(100, 3, 8, 8) * 0.6 + 0.2
    y = net(x).argmax(1)
    g = (net[1].weight[1 - y] - net[1].weight[y]).view_as(x)
    unit = g / g.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    logits = net(x)
    margin = (logits.gather(1, y[:, None]) - logits.gather(1, 1 - y[:, None])).flatten()
    for attack, eps in ((Fgsm(), "0.03"), (Ifgsm(), "0.03"), (Pgd(), "0.03"), (Fgsm(), "0.5"), (Ifgsm(), "0.5")):
        threat = Threat(norm="linf" if eps == "0.03" else "l2", eps=Fraction(eps))
        best = x + float(threat.eps) * (g.sign() if threat.norm == "linf" else unit)
        moved = attack.within(threat).perturb(net, x, y, generator("cpu", SEED))
        yield f"| {attack.name}, {threat.norm}, eps {eps} | {(moved - best).abs().max():.1e} in a pixel |"
    _, distance = CwL2().nearest(net, x, y)
    shares = distance / (margin / g.flatten(1).norm(dim=1))
    yield f"| cw_l2, default settings | distance times {shares.min():.5f} to {shares.max():.5f} of the shortest, median {shares.median():.5f} |"


def main() -> None:
    """Train, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    if not find_spec("foolbox"):
        sys.exit(
            "agreement.py compares with Foolbox, which this environment lacks: see the top of the script for how to make one"
        )
    torch.set_num_threads(asked.threads)
    asked.work.mkdir(exist_ok=True)
    tables: dict[str, list[str]] = {
        "torchattacks": [],
        "foolbox": [],
        "clean": [],
        "linear": list(on_a_linear_network()),
    }
    with numerics(False):
        for name, job in JOBS.items():
            spec = spec_of(job, SEED)
            net = trained(spec, asked.data, asked.work)
            images = spec.dataset.load(asked.data).test.prefix(IMAGES)
            clean = float((net(images.batch(0, IMAGES)[0]).argmax(1) == images.y).float().mean())
            tables["clean"].append(f"{name} {100 * clean:.1f} %")
            for kind, rows in (
                ("torchattacks", beside_torchattacks(name, spec, net, images)),
                ("foolbox", beside_foolbox(name, net, images)),
            ):
                for row in rows:
                    print(row, flush=True)
                    tables[kind].append(row)
    report(tables, asked.threads)


def report(tables: dict[str, list[str]], threads: int) -> None:
    """Write the result beside what it depends on."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    text = [
        "# Our attacks beside those of others",
        "",
        f"Claim: with equal settings, FGSM and PGD leave the accuracy that torchattacks' leave, within {ALLOWED_POINTS} points on the same",
        f"{IMAGES} test images; C&W in l2 finds distances whose median lies within {100 * ALLOWED_SHARE:.0f} % of Foolbox's; on a linear network",
        "the optimum is hit.",
        "",
        f"Clean accuracy on those images: {', '.join(tables['clean'])}. The second network was trained for minutes; it is not",
        "converged, and its accuracies say nothing but whether two programs agree.",
        "",
        "## FGSM and PGD, torchattacks",
        "",
        f"Cross-entropy, last iterate; PGD takes {STEPS} steps of eps / 4. In per cent:",
        "",
        "| network | attack | eps | ours | torchattacks | difference | images judged differently | within the claim |",
        "|---|---|---|---|---|---|---|---|",
        *tables["torchattacks"],
        "",
        "## C&W in l2, Foolbox",
        "",
        f"Both: {CW.search_steps} weights from {CW.c:g}, {CW.steps} steps of Adam at {CW.lr:g}, confidence 0, no early abort; of the first",
        "test images those that the network gets right.",
        "",
        "| network | images | pixels at 0 or 1 | our median | Foolbox's | difference | ours nearer | not found: ours, theirs | s: ours, theirs "
        "| within the claim |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *tables["foolbox"],
        "",
        "## Closed forms",
        "",
        "A linear network of two classes on 100 images of 3 x 8 x 8, default settings:",
        "",
        "| attack | difference to the optimum |",
        "|---|---|",
        *tables["linear"],
        "",
        f"- {today}, {cpu_model()}, {threads} thread(s), shared with other work (load {os.getloadavg()[0]:.1f} at the end); seed {SEED}",
        f"- Python {platform.python_version()}, torch {torch.__version__}, torchattacks {torchattacks.__version__}, foolbox {version('foolbox')}",
        f"- `python benchmarks/agreement.py DATA WORK --threads {threads}`",
    ]
    for name, job in JOBS.items():
        text += [f"- specification of {name}:", "", "```json", json.dumps(spec_of(job, SEED).json_dict()), "```", ""]
    path = HERE / "results" / f"agreement_cpu_{today}.md"
    path.write_text("\n".join(text))
    print(f"written to {path}")


if __name__ == "__main__":
    main()
