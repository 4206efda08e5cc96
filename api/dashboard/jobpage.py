"""What the job page shows, as plain values: phases, headline numbers, the specification in short, tables. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from api.dashboard import figures, headline, listing, titles
from api.dashboard.figures import Scale, count, percent, span
from api.dashboard.headline import Accuracy
from core.events import PHASES
from store.tables import Attempt, Epoch, Job

PROTOCOLS = ("paper", "strict")
OVERFIT = 0.01
"""The least fall of the validation figure since the chosen epoch that is worth a word."""


@dataclass(frozen=True)
class Phase:
    """A cell of the phase strip. Its state is a job's, or `waiting`, or `off` where the specification leaves it out."""

    name: str
    state: str
    detail: str
    share: float | None = None


def phases(job: Job) -> list[Phase]:
    """The strip."""
    return [_phase(job, name) for name in PHASES]


def _phase(job: Job, name: str) -> Phase:
    if not asked(job.spec, name):
        return Phase(name, "off", "not asked for")
    known = job.phases.get(name, {})
    if known.get("state") == "succeeded":
        return Phase(name, "succeeded", " · ".join(filter(None, (planned(job.spec, name), span(known["seconds"])))))
    if not known or job.state in ("queued", "paused"):
        return Phase(name, "waiting", planned(job.spec, name) or figures.MISSING)
    if job.state == "running":
        here = job.progress if job.progress.get("phase") == name else {}
        return Phase(name, "running", here.get("text") or "starting", listing.share(job) if here else 0.0)
    return Phase(name, job.state, listing.doing(job))


def asked(spec: dict[str, Any], phase: str) -> bool:
    """Whether a job has this phase."""
    switches = {part: spec.get(part) for part in ("train", "compact", "export")}
    switches["audit"] = spec["evaluate"]["audit"] != "off"
    return bool(switches.get(phase, True))


def planned(spec: dict[str, Any], phase: str) -> str:
    """How much there is to do in a phase."""
    attacks = len(spec["evaluate"]["paper"]["attacks"]) + len((spec["evaluate"].get("strict") or {}).get("attacks", ()))
    amount = {
        "train": (spec.get("train", {}).get("epochs", 0), "epoch"),
        "evaluate": (attacks, "attack"),
        "export": (len(spec.get("export", ())), "file"),
    }.get(phase)
    return f"{count(amount[0])} {amount[1]}{'' if amount[0] == 1 else 's'}" if amount else ""


# ---- headline numbers


@dataclass(frozen=True)
class Sizes:
    """What sparsity has made of the network; None where that is not known yet."""

    dead: int | None
    channels: int | None
    weight_sparsity: float | None
    compacted: dict[str, Any] | None
    epoch: int | None
    """The epoch whose network is counted."""

    @property
    def channel_sparsity(self) -> float | None:
        """The share of input channels that are exactly zero."""
        return self.dead / self.channels if self.channels and self.dead is not None else None

    @property
    def parameters(self) -> tuple[str, str] | None:
        """Parameters after compaction, in three figures, and their unit."""
        return figures.scaled(self.compacted["parameters_after"]) if self.compacted else None

    @property
    def kept(self) -> float:
        """The share of the parameters that compaction leaves."""
        assert self.compacted, "asked only where there is one"
        return float(self.compacted["parameters_after"] / max(1, self.compacted["parameters_before"]))

    @property
    def saved(self) -> str:
        """Parameters before, and the change in multiply-accumulates."""
        assert self.compacted, "asked only where there is one"
        number, unit = figures.scaled(self.compacted["parameters_before"])
        saved = 1 - self.compacted["macs_after"] / max(1, self.compacted["macs_before"])
        macs = f"MACs −{percent(saved, 0)} %" if saved else "same MACs"
        return f"of {number} {unit} parameters · {macs}".replace("  ", " ")


def sizes(job: Job, epoch: Epoch | None) -> Sizes:
    """Sparsity of the epoch's network, and of the compacted one."""
    layers = epoch.layers if epoch else []
    channels = sum(layer["total"] for layer in layers)
    dead = channels - sum(layer["alive"] for layer in layers)
    weights = epoch.values.get("weight_sparsity") if epoch else None
    small = job.last.get("compacted")
    return Sizes(dead if layers else None, channels or None, weights, small, epoch.epoch if epoch else None)


def shown_epoch(job: Job) -> int | None:
    """The epoch whose network the page describes: the selected one, else the newest."""
    selected = job.last.get("selected") or {}
    return selected.get("epoch") or job.last.get("epoch")


def overfit(job: Job) -> float | None:
    """How far the validation figure has fallen since the chosen epoch, if that is worth a word.

    A fall counts where two samples of so many images would differ by as much less than once in twenty times.
    """
    selected = job.last.get("selected")
    if not selected or selected["best"] < 0 or selected["epoch"] >= job.last.get("epoch", 0):
        return None
    best, fall = selected["best"], float(selected["best"] - selected["last"])
    chance = 1.96 * (2 * best * (1 - best) / headline.judged_images(job.spec)) ** 0.5
    return fall if fall >= max(OVERFIT, chance) else None


# ---- the specification in short


def about(job: Job) -> str:
    """A sentence on what the job does."""
    spec = job.spec
    if job.kind == "evaluate":
        return f"{titles.stored(spec['network'])} judged on {spec['dataset']['name']}, {titles.threat(spec['threat'])}"
    sparse = titles.method(spec["sparsifier"])
    trained = "trained on clean images" if spec["objective"]["name"] == "natural" else "trained against"
    threat = "" if spec["objective"]["name"] == "natural" else f" {titles.threat(spec['threat'])}"
    return f"{titles.network(spec['model'])} on {spec['dataset']['name']}, {sparse}, {trained}{threat}"


def short(spec: dict[str, Any]) -> list[tuple[str, str]]:
    """The settings that people ask about first."""
    if spec["kind"] == "evaluate":
        return judged(spec)
    train, select = spec["train"], spec["train"]["select"]
    chosen = f"{titles.metric(select['metric'])} on validation" if select else "the last epoch"
    rate = f"{train['optimizer']} · lr {figures.small(train['lr'])} · batch {train['batch_size']}"
    return [
        ("Dataset", f"{spec['dataset']['name']} · {count(spec['dataset']['validation'])} for validation"),
        ("Model", f"{titles.network(spec['model'])}" + noise(spec["model"])),
        ("Objective", objective(spec)),
        ("Sparsifier", titles.settings(spec["sparsifier"], "prox", "beta", "lambda1", "lambda2", "lam", "rho")),
        ("Training", rate),
        ("Schedule", titles.schedule(train)),
        ("Selection", chosen),
        ("Precision", train["precision"] + (" · deterministic" if train["deterministic"] else "")),
    ]


def judged(spec: dict[str, Any]) -> list[tuple[str, str]]:
    """The settings of an evaluation."""
    evaluate, strict = spec["evaluate"], spec["evaluate"].get("strict")
    labels = {name: ", ".join(one["label"] for one in (evaluate[name] or {}).get("attacks", ())) for name in PROTOCOLS}
    return [
        ("Network", spec["network"]["sha256"][:16]),
        ("Dataset", f"{spec['dataset']['name']} · {count(evaluate['images'])} test images"),
        ("Threat", titles.threat(spec["threat"])),
        ("Paper", labels["paper"] or "clean alone"),
        ("Strict", f"{labels['strict']} · {count(strict['images'])} images" if strict else "not asked for"),
    ]


def noise(model: dict[str, Any]) -> str:
    """The noise of a random network."""
    return f" · noise {figures.small(model['noise'])} by {model['noise_std']}" if model.get("noise") else ""


def objective(spec: dict[str, Any]) -> str:
    """What a training step minimises."""
    wanted = spec["objective"]
    name = titles.OBJECTIVES.get(wanted["name"], wanted["name"])
    if wanted["name"] == "natural":
        return f"{name}, clean images"
    return f"{name} {titles.threat(spec['threat'])} · {wanted['steps']} × {titles.radius(wanted.get('step'))}"


def tries(attempts: Sequence[Attempt]) -> str:
    """How many attempts there were, and how the earlier ones ended."""
    outcomes = [attempt.outcome for attempt in attempts[:-1] if attempt.outcome]
    return str(len(attempts)) + (f" ({', '.join(outcomes)} before)" if outcomes else "")


def used(attempts: Sequence[Attempt], now: datetime) -> str:
    """Time spent on devices."""
    return span(sum(((one.ended_at or now) - one.started_at).total_seconds() for one in attempts))


# ---- tables


def scale(found: Sequence[Accuracy]) -> Scale:
    """From a round figure below all intervals to one above."""
    low = min((one.low for one in found), default=0.0)
    high = max((one.high for one in found), default=1.0)
    low, high = int(10 * low) / 10, -int(-10 * high // 1) / 10
    return Scale(low, high if high > low else low + 0.1)


@dataclass(frozen=True)
class AttackRow:
    """A line of the attack table."""

    label: str
    name: str
    eps: str
    steps: str
    draws: int
    accuracy: Accuracy
    seconds: str


def attacks(results: Sequence[dict[str, Any]], protocol: str = "paper") -> list[AttackRow]:
    """The attack table of a protocol, in the order of the specification."""
    return [_attack(body) for body in results if body["protocol"] == protocol]


def _attack(body: dict[str, Any]) -> AttackRow:
    attacked = bool(body["attack"])
    steps = str(body["steps"]) + (f" × {body['restarts']}" if body["restarts"] > 1 else "")
    eps = titles.radius(body["attack"].get("eps", body["eps"])) if attacked else figures.MISSING
    return AttackRow(
        body["label"],
        titles.attack(body),
        eps,
        steps if attacked else figures.MISSING,
        body["draws"],
        headline.judged(body),
        span(body["seconds"]),
    )


@dataclass(frozen=True)
class ExportedRow:
    """What an attack left of the network in an exported file, and of the trained one."""

    file: str
    attack: AttackRow
    trained: Accuracy | None


def exported(
    found: Sequence[dict[str, Any]], trained: Sequence[dict[str, Any]], protocol: str = "paper"
) -> list[ExportedRow]:
    """The files that hold another network, attack by attack, beside the trained one, under one protocol."""
    beside = {body["label"]: headline.judged(body) for body in trained if body["protocol"] == protocol}
    some = [body for body in found if body["protocol"] == protocol]
    return [ExportedRow(body["network"], _attack(body), beside.get(body["label"])) for body in some]


@dataclass(frozen=True)
class CheckRow:
    """A check of the audit, with the places of its thresholds and its measurement on a strip of 0 to 100."""

    name: str
    title: str
    words: str
    verdict: str
    measured: str
    thresholds: str
    images: int
    passes_at: float
    fails_at: float
    at: float
    advice: str


def checks(bodies: Sequence[dict[str, Any]]) -> list[CheckRow]:
    """The checks, worst verdict first."""
    rank = ("failed", "warnings", "passed").index
    return [_check(body) for body in sorted(bodies, key=lambda body: rank(body["verdict"]))]


def _check(body: dict[str, Any]) -> CheckRow:
    value, passes, fails = float(body["value"]), float(body["passes"]), float(body["fails"])
    axis = Scale(0, max(1.35 * fails, 1.1 * value) or 1.0)
    unit, limits = body["unit"], f"passes up to {passes:.3g}"
    if fails > passes:
        limits += f", fails above {fails:.3g}"
    return CheckRow(
        body["check"],
        titles.check(body["check"]),
        body["words"],
        body["verdict"],
        f"{value:.3g}{'' if unit.startswith('%') else ' '}{unit}".replace("%", " %"),
        limits,
        body["images"],
        axis.at(passes),
        axis.at(fails),
        axis.at(value),
        body.get("advice", ""),
    )


def verdict(checked: Sequence[dict[str, Any]], trust: str) -> str:
    """A sentence on the checks so far, for the top of the audit."""
    of = f"{len(checked)} check" + ("s" if len(checked) != 1 else "")
    bad = [body for body in checked if body["verdict"] != "passed"]
    done = "" if trust != "unaudited" else " so far"
    if not bad:
        return f"All of {of}{done} passed."
    return f"{len(bad)} of {of}{done} did not pass."


def verbs(job: Job) -> list[str]:
    """What people can do to a job in its state, as buttons: what ended well is not run again by a slip of the hand."""
    if job.state == "running":
        return ["cancel"] if job.wish == "cancel" else ["resume" if job.wish == "pause" else "pause", "cancel"]
    found = {"queued": ["pause", "cancel"], "paused": ["resume", "cancel"]}
    return found.get(job.state, [] if job.state == "succeeded" else ["requeue"])
