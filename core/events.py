"""The typed facts that a run yields. The worker stores them, the command line prints them, a test asserts on them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Phase = Literal["prepare", "train", "compact", "evaluate", "audit", "export"]
PHASES: tuple[Phase, ...] = ("prepare", "train", "compact", "evaluate", "audit", "export")
Verdict = Literal["passed", "warnings", "failed"]
Protocol = Literal["paper", "strict"]
WORST_CASE = "worst_case"
"""The label of the strict number that every attack together leaves, image by image."""
TRAINED = "trained"
"""The network that training has made, compacted if that was asked for: the one a job is known by."""


class Fact(BaseModel):
    """The base of all events: frozen, and without NaN or infinity, which JSON does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PhaseStarted(Fact):
    """A phase of the run begins."""

    kind: Literal["phase_started"] = "phase_started"
    phase: Phase
    epochs: int | None = None
    resumed_at: int | None = None


class PhaseEnded(Fact):
    """A phase of the run is done, after `seconds` in this attempt."""

    kind: Literal["phase_ended"] = "phase_ended"
    phase: Phase
    seconds: float


class Progress(Fact):
    """Where the run is: `done` of `total` units of its phase; `eta` is in seconds to the end of the whole run."""

    kind: Literal["progress"] = "progress"
    phase: Phase
    done: float
    total: float
    text: str
    eta: float | None = None
    values: dict[str, float] = {}


class LayerChannels(Fact):
    """Input channels of one convolution: how many are not exactly zero, of how many."""

    layer: str
    alive: int
    total: int


class CheckpointSaved(Fact):
    """A file from which the run can go on: after `epoch` whole epochs and `batch` batches of the next."""

    kind: Literal["checkpoint_saved"] = "checkpoint_saved"
    phase: Phase
    epoch: int
    batch: int
    path: str
    sha256: str


class EpochEnded(Fact):
    """An epoch is over: its figures, its step-by-step curves, and the input channels alive in the sparse network."""

    kind: Literal["epoch_ended"] = "epoch_ended"
    epoch: int
    epochs: int
    stage: str
    values: dict[str, float]
    layers: list[LayerChannels]
    series: dict[str, list[float]]
    best: bool
    checkpoint: CheckpointSaved


class Selected(Fact):
    """Training chose the network to evaluate: the sparse network after `epoch`, by a validation metric.

    `best` is that epoch's figure, `last` the last epoch's; -1 where no epoch was judged.
    """

    kind: Literal["selected"] = "selected"
    epoch: int
    metric: str
    best: float
    last: float


class Dissected(Fact):
    """The weights of all convolutions of the selected network, whole: how many, how many exactly zero, how many below 1e-3
    in magnitude; the input channels, and the dead among them. The file holds histograms, norms, and one layer's weights."""

    kind: Literal["dissected"] = "dissected"
    weights: int
    zeros: int
    small: int
    channels: int
    dead: int
    layer: str
    layer_weights: int
    layer_zeros: int
    path: str
    sha256: str
    bytes: int


class Compacted(Fact):
    """Dead channels were removed for real; the check compared logits of the masked and of the small network."""

    kind: Literal["compacted"] = "compacted"
    channels_before: int
    channels_after: int
    parameters_before: int
    parameters_after: int
    macs_before: int
    macs_after: int
    bytes_before: int
    bytes_after: int
    latency_before: float
    latency_after: float
    logits_difference: float
    logits_difference_noisy: float | None
    predictions_changed: int
    weight_sparsity: float
    all_weight_sparsity: float
    channel_sparsity: float


class Witnessed(Fact):
    """A file with the adversarial images that a strict number rests on; `sparring verify` scores them again."""

    kind: Literal["witnessed"] = "witnessed"
    network: str = TRAINED
    label: str
    path: str
    sha256: str
    bytes: int


class Scored(Fact):
    """The accuracy that an attack leaves, on a prefix of the test set, under one protocol.

    `network` is `trained`, or the name of an exported file that holds another network. Under `paper` an image is right or
    wrong on what the attack made of it. Under `strict` it must be right on the clean image too, and on a random network the
    accuracy is the mean over the images of how often the worse of both, chosen by `selection_draws`, is right in `draws`
    others; `correct` is then the sum of those shares. `eot` draws were averaged in each gradient of the attack.

    `survived` is one character an image: 1 right (in half of the draws or more), 0 wrong. Of each image, too, `predicted` is
    the class said most often of what was judged (over the judging draws; the true one where it ties; it may be the true one
    of an image that counts as wrong, being said in fewer than half of the draws), `distance` how far that lies from the clean
    image, in the attack's norm, and `queries` how many forward passes the attack has asked of the network about it, of the
    worst case all attacks that count there. Older scores lack these three.

    `low` and `high` bound the accuracy with 95 % confidence over images (Wilson), for this one network. `always` is the share
    of images right in every draw, a diagnostic of random networks, to be read beside the same of the clean images.
    `checkpoint` is a file from which the run goes on behind this attack: kept with the score or not at all, so that no attack
    is scored twice.
    """

    kind: Literal["scored"] = "scored"
    network: str = TRAINED
    protocol: Protocol
    label: str
    attack: dict[str, Any]
    eps: float
    steps: int
    restarts: int
    eot: int = 1
    selection_draws: int = 0
    draws: int
    images: int
    correct: float
    accuracy: float
    low: float
    high: float
    seconds: float
    survived: str
    predicted: list[int] = []
    distance: list[float] = []
    queries: list[int] = []
    always: float | None = None
    checkpoint: CheckpointSaved | None = None


class Checked(Fact):
    """One check of the audit: what was measured, against what, and what it means. `unit` tells how to read `value`.

    `advice` is what to do about it, empty where the check passed. `checkpoint` is a file from which the run goes on behind this
    check: kept with it or not at all, so that no check is made twice.
    """

    kind: Literal["checked"] = "checked"
    check: str
    value: float
    passes: float
    fails: float
    unit: str
    images: int
    verdict: Verdict
    words: str
    advice: str = ""
    checkpoint: CheckpointSaved | None = None


class Audited(Fact):
    """The verdict on the evaluation: the worst of its checks."""

    kind: Literal["audited"] = "audited"
    level: Literal["quick", "full"]
    verdict: Verdict


class Exported(Fact):
    """A file that others can use. `bytes_fp32` is what the same network takes as plain safetensors.

    `logits_difference` is the largest difference of a logit between file and network, on the images compared.
    """

    kind: Literal["exported"] = "exported"
    exporter: str
    path: str
    sha256: str
    bytes: int
    bytes_fp32: int
    logits_difference: float


class Noticed(Fact):
    """Something the reader of the results should know."""

    kind: Literal["noticed"] = "noticed"
    text: str


class Finished(Fact):
    """Everything that was asked for has been done."""

    kind: Literal["finished"] = "finished"


Event = Annotated[
    PhaseStarted
    | PhaseEnded
    | Progress
    | EpochEnded
    | CheckpointSaved
    | Selected
    | Dissected
    | Compacted
    | Witnessed
    | Scored
    | Checked
    | Audited
    | Exported
    | Noticed
    | Finished,
    Field(discriminator="kind"),
]

parse: TypeAdapter[Event] = TypeAdapter(Event)
"""Reads an event back from JSON: `parse.validate_json(text)`."""
