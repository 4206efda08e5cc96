"""The numbers by which a job is known: robust and clean accuracy, each with its protocol, its interval and its images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from api.dashboard import titles
from core.events import WORST_CASE
from core.intervals import wilson

ITERATED = ("ifgsm", "pgd")
"""The attacks whose accuracy stands for robustness, where a job has one of them."""


@dataclass(frozen=True)
class Accuracy:
    """The share of images that a network gets right, with what it takes to read it."""

    share: float
    low: float
    high: float
    images: int
    protocol: str
    """`paper` or `strict` on test images; `validation` before those are attacked."""
    label: str
    """Under what: IFGSM-20, no attack."""

    @property
    def provisional(self) -> bool:
        """Whether a figure of the test set is still to come."""
        return self.protocol == "validation"


def strict(results: Sequence[dict[str, Any]]) -> Accuracy | None:
    """What all attacks of the strict protocol together leave, image by image."""
    found = [one for one in results if (one["protocol"], one["label"]) == ("strict", WORST_CASE)]
    return judged(found[0]) if found else None


def robust(results: Sequence[dict[str, Any]], last: dict[str, Any], spec: dict[str, Any]) -> Accuracy | None:
    """Of the paper's protocol: the lowest accuracy under IFGSM or PGD; under any attack on the most images, where a job asks
    for neither."""
    asked = {attack["name"] for attack in spec["evaluate"]["paper"]["attacks"]}
    ball = (spec["threat"]["norm"], spec["threat"]["eps"])
    attacked = [
        one for one in results if one["attack"] and one["protocol"] == "paper" and _ball(one["attack"], ball) == ball
    ]
    iterated = [one for one in attacked if one["attack"]["name"] in ITERATED]
    if asked.isdisjoint(ITERATED) and attacked:
        most = max(one["images"] for one in attacked)
        iterated = [one for one in attacked if one["images"] == most]
    if iterated:
        return judged(min(iterated, key=lambda one: float(one["accuracy"])))
    if strict(results):  # the test set has spoken, under the other protocol
        return None
    select = selection(spec) or {"metric": "clean"}
    return None if select["metric"] == "clean" else validated(select["metric"], last, spec)


def _ball(attack: dict[str, Any], other: tuple[str, Any]) -> tuple[str, Any]:
    """Norm and radius of an attack; those of `other` where it does not say them."""
    return attack.get("norm") or other[0], other[1] if attack.get("eps") is None else attack["eps"]


def clean(
    results: Sequence[dict[str, Any]], last: dict[str, Any], spec: dict[str, Any], protocol: str = "paper"
) -> Accuracy | None:
    """The accuracy without an attack."""
    found = [one for one in results if (one["protocol"], one["label"]) == (protocol, "clean")]
    return judged(found[0]) if found else validated("clean", last, spec)


def judged(body: dict[str, Any]) -> Accuracy:
    """The accuracy in a result."""
    return Accuracy(body["accuracy"], body["low"], body["high"], body["images"], body["protocol"], titles.stepped(body))


def selection(spec: dict[str, Any]) -> dict[str, Any] | None:
    """How a training chooses its epoch; None where it takes the last, or nothing is trained."""
    found: dict[str, Any] | None = spec.get("train", {}).get("select")
    return found


def judged_images(spec: dict[str, Any]) -> int:
    """How many validation images judge an epoch."""
    every = int(spec["dataset"]["validation"])
    return max(1, min(every, (selection(spec) or {}).get("images") or every))


def validated(metric: str, last: dict[str, Any], spec: dict[str, Any]) -> Accuracy | None:
    """The newest accuracy on the validation split, if there is one. Its interval is that of one noise draw."""
    share = last.get(f"validation_{metric}")
    if share is None:
        return None
    images = judged_images(spec)
    label = "no attack" if metric == "clean" else titles.metric(metric)
    low, high = wilson(round(share * images), images)
    return Accuracy(share, low, high, images, "validation", label)
