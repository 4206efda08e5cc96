"""The wire shapes of comparisons: which methods by which score; what each got, and what may be said of each pair."""

import uuid
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from api.schemas import Printable, Wire

MOST_METHODS, MOST_SEEDS = 6, 20
"""Six methods are 15 pairs. 45 pairs of 20 seeds and 10,000 images take half a minute: that would keep others waiting."""
Outcome = Literal["right_or_wrong", "shares", "right_in_half"]


def _as_text(value: Any) -> Any:
    return str(value) if type(value) is int else value


JobName = Annotated[
    Printable, BeforeValidator(_as_text, json_schema_input_type=int | str), Field(min_length=1, max_length=100)
]


class MethodAsked(Wire):
    """A method, by the jobs that are its seeds; or one network, by its job."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[Printable, Field(min_length=1, max_length=100)] | None = None
    """What it is called in the answer; after its jobs if left out."""
    jobs: Annotated[list[JobName], Field(min_length=1, max_length=MOST_SEEDS)]
    """Jobs by id or number; the id of a group stands for all its jobs."""


class ComparisonAsked(Wire):
    """What is to be compared, and by which number."""

    model_config = ConfigDict(extra="forbid")

    methods: Annotated[list[MethodAsked], Field(min_length=2, max_length=MOST_METHODS)]
    """One job each: networks, compared by McNemar's test. Three jobs or more each: methods, by a bootstrap."""
    score: Annotated[Printable, Field(max_length=200)] = "strict/worst_case"
    """The same for all: a protocol and an attack's label."""


class JobScored(Wire):
    """What one job got."""

    id: uuid.UUID
    number: int
    name: str
    seed: int
    """The seed of the training that made its network."""
    trust: str
    """What the audit says of its evaluation."""
    draws: int
    """Noise draws by which an image was judged."""
    accuracy: float
    low: float
    high: float
    """With `low`, the 95 % interval over images (Wilson), for this network."""


class MethodScored(Wire):
    """What a method got over its seeds."""

    name: str
    n: int
    """Seeds."""
    mean: float
    std: float | None
    """The sample standard deviation; null for one seed."""
    low: float | None
    """With `high`, the 95 % interval of the mean over seeds (Student's t); null for one seed, which has none."""
    high: float | None
    jobs: list[JobScored]


class PairCompared(Wire):
    """Two of them on the same images: the first minus the second, in percentage points."""

    one: str
    other: str
    test: Literal["mcnemar", "bootstrap"]
    images: int
    difference: float
    low: float
    """With `high`, the 95 % interval of the difference, this pair alone."""
    high: float
    p: float
    """Of this pair alone."""
    p_holm: float
    """Holm's correction for all pairs of the answer; what `better` goes by."""
    better: str | None
    """The one that may be called better; null where neither may."""
    why: str
    """Why, or why not, in words."""


class Comparison(Wire):
    """Methods, or networks, by one score on the same images."""

    score: str
    dataset: str
    threat: dict[str, Any]
    attack: dict[str, Any]
    """The attack's settings; empty for clean images and for the worst case of several attacks."""
    images: int
    """The first ones of the test set."""
    outcome: Outcome
    """What of each image is compared: right or wrong; the share of judging draws in which it is right; whether that is half
    of them or more."""
    words: str
    """The same as a sentence, with what it means for the difference."""
    methods: list[MethodScored]
    pairs: list[PairCompared]
