"""The wire shapes of evaluations: scores by protocol, images one by one, accuracy against the radius, the audit."""

from typing import Any

from pydantic import Field

from api.schemas import ArtifactOut, JobOut, Wire


class Evaluation(Wire):
    """What a job found about a network. Numbers of two protocols are kept apart: they do not compare."""

    job: JobOut
    network: dict[str, Any] | None
    """The stored network that was judged; null where it is the one that the job has trained."""
    dataset: dict[str, Any]
    threat: dict[str, Any]
    protocols: dict[str, list[dict[str, Any]]]
    """The scores of the network under each protocol, in order, without the outcome of every image."""
    exported: dict[str, dict[str, list[dict[str, Any]]]]
    """The same of each exported file that holds another network."""
    archives: list[ArtifactOut]
    """The adversarial images that the strict numbers rest on: `sparring verify` scores them again."""
    trust: str


class WorstOut(Wire):
    """The worst candidate of an image under the strict protocol."""

    label: int
    """The image's class."""
    by: str | None
    """The attack that made it, as `protocol/label`; null where no attack was worse than the clean image."""
    right: float
    """The share of the judging draws in which the network was right: 0 or 1 without noise."""
    distance: float
    """How far it lies from the clean image, in the threat's norm."""


class SampleOut(Wire):
    """An image of the test set, by its place in it."""

    n: int
    right: dict[str, bool]
    """Whether the network was right on it, by `protocol/label`; on a random network, in half of the draws or more."""
    predicted: dict[str, int]
    """The class said most often of what was judged. On a random network it may be the true one of an image that counts as
    wrong, being said in fewer than half of the draws. Older scores have none."""
    distance: dict[str, float]
    """How far that lies from the clean image, in the attack's norm."""
    queries: dict[str, int]
    """How many forward passes the attack asked of the network about it; of the worst case, all that count there."""
    broken: bool
    """Right clean, and wrong in the worst case of the strict protocol."""
    worst: WorstOut | None
    """Null where the strict protocol has not been run on it."""


class Samples(Wire):
    """Some images, in order."""

    items: list[SampleOut]
    next_cursor: str | None
    """Give it as `cursor` to go on; null at the end."""


class OutcomesOut(Wire):
    """What became of all images under one attack, in the order of the test set. Older scores know only which survived."""

    protocol: str
    label: str
    survived: str = ""
    """One character an image: 1 right, 0 wrong."""
    predicted: list[int] = Field(default_factory=list)
    distance: list[float] = Field(default_factory=list)
    queries: list[int] = Field(default_factory=list)


class Outcomes(Wire):
    """The attacks on one network, in the order of the specification."""

    items: list[OutcomesOut]


class PointOut(Wire):
    """Accuracy at a radius, with its 95 % interval over images."""

    eps: float
    label: str
    accuracy: float
    low: float
    high: float


class CurveOut(Wire):
    """One attack under one protocol at several radii, on the same number of images."""

    protocol: str
    attack: str
    norm: str
    steps: int
    restarts: int
    eot: int
    draws: int
    images: int
    points: list[PointOut]


class Curves(Wire):
    """The attacks that were scored at two radii or more."""

    items: list[CurveOut]


class AuditOut(Wire):
    """Whether the evaluation itself can be believed."""

    asked: str
    """off, quick or full."""
    verdict: str
    """The worst verdict of any check; `unaudited` before the audit has ended."""
    checks: list[dict[str, Any]]
