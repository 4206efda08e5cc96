"""The names of things as people write them: methods, networks, attacks, checks, reasons."""

from typing import Any

from api.dashboard.figures import count, small
from core.errors import Reason
from core.events import WORST_CASE

METHODS = {
    "dense": "dense",
    "rgsm": "RGSM",
    "rvsm": "RVSM",
    "admm": "ADMM",
    "rigl": "RigL",
    "rmda": "RMDA",
    "grda": "gRDA",
    "proxsgd": "ProxSGD",
    "proxssi": "ProxSSI",
    "slimming": "Slimming",
    "l1_filter": "ℓ1 filter",
}
MARKED = ("dense", "rgsm", "rvsm", "admm", "rigl", "rmda")
"""Methods with a colour and a marker of their own (static/tokens.css, templates/bits.html)."""
ATTACKS = {
    "fgsm": "FGSM",
    "ifgsm": "IFGSM",
    "pgd": "PGD",
    "cw_linf": "C&W ℓ∞",
    "cw_reference": "C&W as published",
    "cw_l2": "C&W ℓ2",
    "nattack": "NAttack",
    "spsa": "SPSA",
    "eot": "EOT",
    "transfer": "Transfer",
    "apgd_ce": "APGD-CE",
    "apgd_dlr": "APGD-DLR",
    "apgd_t": "APGD-T",
    "fab": "FAB-T",
    "square": "Square",
    "autoattack": "AutoAttack",
}
NORMS = {"linf": "ℓ∞", "l2": "ℓ2", "l1": "ℓ1"}
OBJECTIVES = {"natural": "natural", "pgd": "PGD", "trades": "TRADES"}
REASONS = {
    Reason.WAITING: "It waits for a free slot.",
    Reason.QUOTA: "The quota is used up.",
    Reason.USER_PAUSED: "A person paused it.",
    Reason.DRAINING: "Its worker is leaving; it goes on elsewhere from its last checkpoint.",
    Reason.WORKER_LOST: "Its worker was lost.",
    Reason.USER: "A person ended it.",
    Reason.DATA: "The dataset cannot be used.",
    Reason.OUT_OF_MEMORY: "The device has too little memory.",
    Reason.DIVERGED: "Training diverged.",
    Reason.DISK: "The disk is full or damaged.",
    Reason.HOST_OOM: "The machine ran out of memory.",
    Reason.HUNG: "Nothing moved for too long.",
    Reason.MACHINE: "The machine failed.",
    Reason.DEADLINE: "It took longer than it may.",
    Reason.EVALUATION: "The evaluation found something wrong.",
    Reason.INTERNAL: "Something went wrong inside Sparring.",
}
CHECKS = {
    "eps_0": "A radius of 0 changes nothing",
    "eps_0.5": "A radius of 0.5 leaves no more than chance",
    "twice_the_steps": "Twice the steps find hardly more",
    "zero_gradients": "Gradients are not exactly zero",
    "black_box_only": "Black box is not stronger than white box",
    "noise_free_twin": "The twin without noise transfers no better",
    "repeatable": "An image gets the same logits again, in any company",
    "loss_rising": "The loss has stopped rising",
    "binarisation": "A planted adversarial example is found",
    "eot_gradients": "Gradients averaged over draws agree",
    "fixed_noise": "Fixed noise transfers no better",
}


def method(sparsifier: dict[str, Any]) -> str:
    """A sparsifier; the published ADMM, which is none, is called what it is."""
    if sparsifier.get("mode") == "thesis":
        return "ADMM as published"
    return METHODS.get(sparsifier["name"], str(sparsifier["name"]))


def network(model: dict[str, Any]) -> str:
    """A model with what tells it from its siblings: EnResNet20×2."""
    match model["name"]:
        case "enresnet":
            return f"EnResNet{model['depth']}×{model['members']}"
        case "resnet":
            return f"ResNet{model['depth']}"
        case "lenet5":
            return "LeNet-5"
        case "resnet18":
            return "ResNet18"
        case "vgg16":
            return "VGG16"
    return str(model["name"])


def stored(network: dict[str, Any]) -> str:
    """A network in a file, by the start of its SHA-256."""
    return f"network {network['sha256'][:12]}"


def attack(body: dict[str, Any]) -> str:
    """The attack of a result, without its steps."""
    settings = body["attack"]
    if settings:
        return _attack(settings)
    return "worst case" if body.get("label") == WORST_CASE else "no attack"


def _attack(settings: dict[str, Any]) -> str:
    """A class of a library by its own name; an attack made of another one as EOT PGD; a loss if it is not the usual one."""
    name, inside, loss = settings["name"], settings.get("attack"), settings.get("loss", "ce")
    if isinstance(inside, dict):
        return f"{ATTACKS.get(name, name)} {_attack(inside)}"
    found = ATTACKS.get(name, str(inside or name))
    return found if loss == "ce" else f"{found} {loss}"


def stepped(body: dict[str, Any]) -> str:
    """The attack of a result with its steps: IFGSM-20."""
    return attack(body) + (f"-{body['steps']}" if body["steps"] > 1 else "")


def metric(name: str) -> str:
    """A selection metric: pgd20 as PGD-20."""
    return f"PGD-{name[3:]}" if name.startswith("pgd") and name[3:].isdecimal() else name


def check(name: str) -> str:
    """A check of the audit."""
    return CHECKS.get(name, name.replace("_", " "))


def reason(name: str | None) -> str:
    """Why a job is in its state, as a sentence."""
    return REASONS.get(Reason(name), "") if name else ""


def threat(settings: dict[str, Any]) -> str:
    """The adversary's ball: ℓ∞ 8/255."""
    return f"{NORMS.get(settings['norm'], settings['norm'])} {radius(settings['eps'])}"


def radius(eps: float | str | None) -> str:
    """A radius as it was written: a fraction stays one."""
    return eps if isinstance(eps, str) else small(eps) if eps is not None else "–"


def schedule(train: dict[str, Any]) -> str:
    """Epochs and the course of the rate."""
    course = train["schedule"]
    if course["name"] == "multistep":
        drops = ", ".join(map(str, (e for e in course["milestones"] if e < train["epochs"])))
        factor = f"÷{small(1 / course['gamma'])}" if course["gamma"] else "to 0"
        return f"{count(train['epochs'])} epochs · {factor} at {drops}" if drops else f"{count(train['epochs'])} epochs"
    return f"{count(train['epochs'])} epochs · {course['name']}"


def settings(plugin: dict[str, Any], *wanted: str) -> str:
    """A plug-in's name and the settings that it has of those wanted: rgsm · beta 1 · lambda1 0.05."""
    parts = [f"{key} {_value(plugin[key])}" for key in wanted if plugin.get(key) is not None]
    return " · ".join([str(plugin["name"]), *parts])


def _value(value: Any) -> str:
    return small(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
