"""What an evaluation found, image by image and radius by radius, from its scores: pure functions of their bodies."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.archives import Worst
from core.events import WORST_CASE

Body = dict[str, Any]
NOT_THE_ATTACK = {"eps", "label", "step", "images"}
"""Settings in which two scores of one attack may differ, and the part of an attack made of one: a step follows the radius."""


@dataclass(frozen=True)
class Sample:
    """An image, under each attack by `protocol/label`: whether it was right, which class the network said, how far it was moved,
    how often the attack asked; and its worst candidate, where one is archived."""

    n: int
    right: dict[str, bool]
    predicted: dict[str, int]
    distance: dict[str, float]
    queries: dict[str, int]
    worst: Worst | None

    def broken_by(self, key: str) -> bool:
        """Whether it is right clean, and wrong under the attack `protocol/label`."""
        clean = key.partition("/")[0] + "/clean"
        return self.right.get(clean, False) and not self.right.get(key, True)

    @property
    def broken(self) -> bool:
        """Whether an attack broke it in the worst case of the strict protocol."""
        return self.broken_by(f"strict/{WORST_CASE}")


def samples(told: Sequence[Body], worst: Sequence[Worst], first: int = 0) -> Iterator[Sample]:
    """Every image that an attack has seen, in order from the `first` on, from the outcomes under each attack."""
    named = {key_of(one): one for one in told}
    for n in range(first, max((len(one.get("survived", "")) for one in told), default=0)):
        right = {key: mark == "1" for key, mark in _each(named, "survived", n).items()}
        predicted, distance, queries = (_each(named, name, n) for name in ("predicted", "distance", "queries"))
        yield Sample(n, right, predicted, distance, queries, worst[n] if n < len(worst) else None)


def key_of(one: Body) -> str:
    """The name of an attack under its protocol."""
    return f"{one['protocol']}/{one['label']}"


def _each(named: Mapping[str, Body], name: str, n: int) -> dict[str, Any]:
    return {key: one[name][n] for key, one in named.items() if n < len(one.get(name, ()))}


@dataclass(frozen=True)
class Point:
    """Accuracy at a radius, with its 95 % interval over images."""

    eps: float
    label: str
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """One attack under one protocol at several radii, on the same number of images."""

    protocol: str
    attack: str
    norm: str
    steps: int
    restarts: int
    eot: int
    draws: int
    images: int
    points: list[Point]


def curves(scores: Sequence[Body]) -> list[Curve]:
    """The attacks that were scored at two radii or more; the clean accuracy is the point at 0 where it is of as many images."""
    groups: dict[str, list[Body]] = {}
    for one in scores:
        if one["attack"]:
            groups.setdefault(_attack(one), []).append(one)
    several = [group for group in groups.values() if len({one["eps"] for one in group}) > 1]
    return [_curve(group, [*_clean(scores, group[0]), *group]) for group in several]


def _attack(one: Body) -> str:
    """What makes two scores those of one attack."""
    about = (one.get(key) for key in ("protocol", "images", "draws", "eot"))
    return json.dumps([_settings(one["attack"]), *about], sort_keys=True)


def _settings(attack: Body) -> Body:
    """An attack's own settings, without those that follow the radius, its part's neither."""
    kept = {key: value for key, value in attack.items() if key not in NOT_THE_ATTACK}
    return {key: _settings(value) if isinstance(value, dict) else value for key, value in kept.items()}


def _name(attack: Body) -> str:
    """Which attack it is; one made of another bears both names, one of another library that library's."""
    part = attack.get("attack")
    return f"{attack['name']}-{_name(part)}" if isinstance(part, dict) else str(part or attack["name"])


def _clean(scores: Sequence[Body], attacked: Body) -> Iterator[Body]:
    for one in scores:
        same = all(one[key] == attacked[key] for key in ("protocol", "images"))
        if same and one["label"] == "clean" and attacked["eps"] > 0:
            yield one


def _curve(group: Sequence[Body], points: Sequence[Body]) -> Curve:
    first = group[0]
    same = {key: first[key] for key in ("protocol", "steps", "restarts", "draws", "images")}
    drawn = [Point(**{key: one[key] for key in ("eps", "label", "accuracy", "low", "high")}) for one in points]
    settings = first["attack"]
    return Curve(
        **same,
        attack=_name(settings),
        norm=settings.get("norm", "linf"),
        eot=first.get("eot", 1),
        points=sorted(drawn, key=lambda point: point.eps),
    )
