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

from core.attacks.base import Attack
from core.attacks.cw_l2 import CwL2
from core.attacks.fgsm import Fgsm
from core.attacks.ifgsm import Ifgsm
from core.attacks.pgd import Pgd
from core.attacks.torchattacks import Contiguous
from core.datasets.base import Split
from core.device import generator, numerics
from core.events import Exported, Scored
from core.exporters.safetensors import Safetensors
from core.run import Place, run
from core.spec import JobSpec, parse
from core.threat import Threat
from worker.devices import cpu_model

HERE = Path(__file__).parent
SEED, BATCH, STEPS = 1, 100, 10
ALLOWED_POINTS, ALLOWED_SHARE = 0.3, 0.05
LENET, RESNET = "LeNet-5, Fashion-MNIST", "ResNet20, CIFAR-10 (not converged)"
IMAGES = {LENET: 1000, RESNET: 500}
NEAREST = {LENET: 100, RESNET: 48}
"""Images of C&W, as many as the network gets right of them."""
CW = CwL2(steps=100, lr=0.02, c=1.0, search_steps=5)
"""Foolbox gets the same: binary_search_steps, steps, stepsize, initial_const; no early abort."""
TORCHATTACKS_HEAD = (
    "| network | images | attack | eps | ours | theirs | difference | images judged differently | claim holds |"
)
FOOLBOX_HEAD = (
    "| network | images | number | pixels at 0 or 1 | our median | theirs | difference | ours nearer "
    "| not found: ours, theirs | seconds: ours, theirs | claim holds |"
)
SHORT = {"schedule": {"name": "onecycle"}, "select": None}
JOBS: dict[str, dict[str, Any]] = {
    LENET: {
        "dataset": {"name": "fashion_mnist", "images": 30_000},
        "threat": {"eps": "0.1"},
        "model": {"name": "lenet5", "widths": "20-50-500"},
        "objective": {"name": "pgd", "steps": 5},
        "train": {"epochs": 3, "batch_size": 64, "optimizer": "adam", "lr": 2e-3, "weight_decay": 0.0, **SHORT},
    },
    RESNET: {
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
    yield "FGSM, l_inf", Fgsm(), torchattacks.FGSM(net, radius)
    for start, name in ((False, "from the image"), (True, "from a random start")):
        ours = Pgd(steps=STEPS, step=step, random_start=start)
        yield f"PGD-{STEPS} {name}, l_inf", ours, torchattacks.PGD(net, radius, float(step), STEPS, start)
    ours = Pgd(norm="l2", eps=l2, steps=STEPS, step=l2 / 4, random_start=False)
    yield f"PGD-{STEPS} from the image, l2", ours, torchattacks.PGDL2(net, float(l2), float(l2) / 4, STEPS, False)


def beside_torchattacks(name: str, spec: JobSpec, net: nn.Module, images: Split) -> Iterator[str]:
    """A row for each attack: accuracies on the same images, and how many images the two judge differently.

    Both draw their random starts from a stream of the same seed, so they start at the same points.
    """
    for label, attack, theirs in pairs(Contiguous(net).eval(), spec.threat.eps):
        attack = attack.within(spec.threat, "last")
        loaded = (images.batch(start, BATCH) for start in range(0, len(images), BATCH))
        batches = [(x.contiguous(), y) for x, y in loaded]
        stream = torch.Generator().manual_seed(SEED)
        ours = torch.cat([net(attack.perturb(net, x, y, stream)).argmax(1) == y for x, y in batches])
        torch.manual_seed(SEED)
        other = torch.cat([net(theirs(x, y)).argmax(1) == y for x, y in batches])
        shares = percent(ours), percent(other)
        apart, differ = shares[0] - shares[1], int((ours != other).sum())
        cells = [f"{float(attack.threat.eps):.4g}", f"{shares[0]:.1f}", f"{shares[1]:.1f}", f"{apart:+.1f}", differ]
        yield row(name, len(images), label, *cells, held(apart, ALLOWED_POINTS))


def percent(right: Tensor) -> float:
    """Accuracy in per cent. (n,)."""
    return 100 * float(right.double().mean())


def row(*cells: object) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def held(apart: float, allowed: float) -> str:
    """Whether a claim holds."""
    return "yes" if abs(apart) <= allowed + 1e-9 else "NO"


# ---- C&W beside Foolbox


def beside_foolbox(name: str, net: nn.Module, images: Split) -> Iterator[str]:
    """Rows: median distances of images that the network gets right, as they are, and with pixels squeezed into [0.1, 0.9].

    Squeezed, both attacks move in the same space. As they are, Foolbox's hardly moves pixels of exactly 0 or 1, and ours does.
    """
    x, y = images.batch(0, NEAREST[name])
    for kind, some in (("as they are", x), ("squeezed", 0.1 + 0.8 * x)):
        right = net(some).argmax(1) == y
        yield row(name, kind, *nearest(net, some[right], y[right], kind == "squeezed"))


def nearest(net: nn.Module, x: Tensor, y: Tensor, same: bool) -> list[object]:
    """The cells of a row; in the same space neither may be better by more than is allowed, else ours may."""
    began = time.monotonic()
    ours = CW.nearest(net, x, y)[1]
    between = time.monotonic()
    theirs = by_foolbox(net, x, y)
    seconds = f"{between - began:.0f}, {time.monotonic() - between:.0f}"
    medians = float(ours.median()), float(theirs.median())
    apart = medians[0] / medians[1] - 1
    edges = f"{100 * float(((x == 0) | (x == 1)).float().mean()):.0f} %"
    lost = f"{int(ours.isinf().sum())}, {int(theirs.isinf().sum())}"
    verdict = held(apart if same else max(apart, 0.0), ALLOWED_SHARE)
    shown = [f"{medians[0]:.4f}", f"{medians[1]:.4f}", f"{100 * apart:+.1f} %"]
    return [len(x), edges, *shown, int((ours < theirs).sum()), lost, seconds, verdict]


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
    logits = net(x)
    y = logits.argmax(1)
    g = (net[1].weight[1 - y] - net[1].weight[y]).view_as(x)
    length = g.flatten(1).norm(dim=1)
    for attack, norm, eps in (
        (Fgsm(), "linf", "0.03"),
        (Ifgsm(), "linf", "0.03"),
        (Pgd(), "linf", "0.03"),
        (Fgsm(), "l2", "0.2"),
        (Ifgsm(), "l2", "0.2"),
    ):
        best = x + float(eps) * (g.sign() if norm == "linf" else g / length.view(-1, 1, 1, 1))
        threat = Threat.model_validate({"norm": norm, "eps": eps})
        moved = attack.within(threat).perturb(net, x, y, generator("cpu", SEED))
        yield row(attack.within(threat).label, norm, eps, f"at most {float((moved - best).abs().max()):.1e} in a pixel")
    shortest = (logits.gather(1, y[:, None]) - logits.gather(1, 1 - y[:, None])).flatten() / length
    shares = CwL2().nearest(net, x, y)[1] / shortest
    found = f"{shares.min():.4f} to {shares.max():.4f} times the shortest distance, median {shares.median():.4f}"
    yield row("cw_l2, default settings", "l2", "", found)


def main() -> None:
    """Train, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    if not find_spec("foolbox"):
        sys.exit(
            "This environment lacks Foolbox, which agreement.py compares with; the top of the script says how to make one."
        )
    torch.set_num_threads(asked.threads)
    asked.work.mkdir(exist_ok=True)
    with numerics(False):
        tables = compared(asked.data, asked.work)
    report(tables, asked.threads)


def compared(data: Path, work: Path) -> dict[str, list[str]]:
    """The rows of all tables, printed as they come."""
    tables: dict[str, list[str]] = {"clean": [], "torchattacks": [], "foolbox": [], "linear": []}

    def add(table: str, rows: Iterator[str]) -> None:
        for one in rows:
            print(one, flush=True)
            tables[table].append(one)

    add("linear", on_a_linear_network())
    for name, job in JOBS.items():
        spec = spec_of(job, SEED)
        net = trained(spec, data, work)
        images = spec.dataset.load(data).test.prefix(IMAGES[name])
        clean = (
            torch.cat([net(images.batch(at, BATCH)[0]).argmax(1) for at in range(0, len(images), BATCH)]) == images.y
        )
        add("clean", iter([f"{name} {percent(clean):.1f} %"]))
        add("torchattacks", beside_torchattacks(name, spec, net, images))
        add("foolbox", beside_foolbox(name, net, images))
    return tables


def report(tables: dict[str, list[str]], threads: int) -> None:
    """Write the result beside what it depends on."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    load = f"shared with other work (load {os.getloadavg()[0]:.1f} at the end)"
    versions = f"torch {torch.__version__}, torchattacks {version('torchattacks')}, foolbox {version('foolbox')}"
    text = [
        "# Our attacks beside those of others",
        "",
        "Claims, with equal settings: FGSM and PGD leave the accuracy that torchattacks' leave, within",
        f"{ALLOWED_POINTS} points on the same test images. The median distance of C&W in l2 lies within",
        f"{100 * ALLOWED_SHARE:.0f} % of Foolbox's where both move in the same space,",
        f"and is at most {100 * ALLOWED_SHARE:.0f} % longer elsewhere. On a linear",
        "network the gradient attacks hit the optimum, and C&W comes within 1 % of it in the median.",
        "",
        f"Clean accuracy on those images: {'; '.join(tables['clean'])}. The second network was trained for minutes:",
        "its accuracies say whether two programs agree, and nothing else.",
        "",
        "## FGSM and PGD beside torchattacks",
        "",
        f"Cross-entropy, last iterate; PGD takes {STEPS} steps of eps / 4; batches of {BATCH}; random starts are the same",
        "points. In per cent:",
        "",
        TORCHATTACKS_HEAD,
        "|" + 9 * "---|",
        *tables["torchattacks"],
        "",
        "## C&W in l2 beside Foolbox",
        "",
        f"Both: {CW.search_steps} weights from {CW.c:g}, {CW.steps} steps of Adam at {CW.lr:g}, confidence 0, no early abort;",
        "of the first test images those that the network gets right, as they are, and squeezed into [0.1, 0.9].",
        "Pixels of exactly 0 or 1 hardly move in Foolbox's tanh space, where they start within 1e-6 of its ends; ours",
        "leaves them room. Squeezed, both move in the same space.",
        "",
        FOOLBOX_HEAD,
        "|" + 11 * "---|",
        *tables["foolbox"],
        "",
        "## Closed forms",
        "",
        "A linear network of two classes on 100 images of 3 x 8 x 8, default settings, the best candidate returned:",
        "",
        row("attack", "norm", "eps", "difference to the optimum"),
        "|" + 4 * "---|",
        *tables["linear"],
        "",
        f"- {today}, {cpu_model()}, {threads} thread(s), {load}; seed {SEED}",
        f"- Python {platform.python_version()}, {versions}",
        f"- `python benchmarks/agreement.py DATA WORK --threads {threads}`",
        "",
    ]
    for name, job in JOBS.items():
        text += [f"Specification of {name}:", "", "```json", json.dumps(spec_of(job, SEED).json_dict()), "```", ""]
    path = HERE / "results" / f"agreement_cpu_{today}.md"
    path.write_text("\n".join(text))
    print(f"written to {path}")


if __name__ == "__main__":
    main()
