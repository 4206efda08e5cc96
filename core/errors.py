"""Errors that a caller can act on. A class's docstring is its message; its fields are the facts in it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar


class Reason(StrEnum):
    """Why a job is in the state it is in: the closed list that the store, the API and the pages share."""

    WAITING = "waiting"
    QUOTA = "quota"
    USER_PAUSED = "user_paused"
    DRAINING = "draining"
    WORKER_LOST = "worker_lost"
    USER = "user"
    DATA = "data"
    OUT_OF_MEMORY = "out_of_memory"
    DIVERGED = "diverged"
    DISK = "disk"
    HOST_OOM = "host_oom"
    HUNG = "hung"
    MACHINE = "machine"
    DEADLINE = "deadline"
    EVALUATION = "evaluation"
    INTERNAL = "internal"


@dataclass(eq=False)
class SparringError(Exception):
    """Something went wrong inside Sparring; the log has the traceback."""

    reason: ClassVar[Reason] = Reason.INTERNAL
    retry: ClassVar[bool] = False

    def __str__(self) -> str:
        return (self.__doc__ or "").format(**vars(self))


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a document: where (JSON pointer, RFC 6901), what, what was given, what would be right."""

    pointer: str
    message: str
    got: Any = None
    expected: str | None = None

    def __str__(self) -> str:
        return f"{self.pointer or '/'}: {self.message}"


@dataclass(eq=False)
class InvalidSpec(SparringError):
    """The job specification is not valid. {listed}"""

    problems: tuple[Problem, ...]
    reason: ClassVar[Reason] = Reason.USER

    @property
    def listed(self) -> str:
        """Every problem in one line."""
        return "; ".join(str(problem) for problem in self.problems)

    def __str__(self) -> str:
        return (self.__doc__ or "").format(listed=self.listed)


@dataclass(eq=False)
class DatasetUnavailable(SparringError):
    """The dataset {dataset} cannot be used: {problem}. {remedy}"""

    dataset: str
    problem: str
    remedy: str
    reason: ClassVar[Reason] = Reason.DATA


@dataclass(eq=False)
class Diverged(SparringError):
    """Training diverged in epoch {epoch}, batch {batch}: the loss is {loss}. A smaller train.lr is the usual remedy."""

    epoch: int
    batch: int
    loss: str
    reason: ClassVar[Reason] = Reason.DIVERGED


@dataclass(eq=False)
class OutOfMemory(SparringError):
    """Not enough memory on {device} during {phase}: {detail}. A smaller batch_size needs less."""

    device: str
    phase: str
    detail: str
    reason: ClassVar[Reason] = Reason.OUT_OF_MEMORY


@dataclass(eq=False)
class CorruptCheckpoint(SparringError):
    """The checkpoint {path} is damaged: {problem}."""

    path: str
    problem: str
    reason: ClassVar[Reason] = Reason.DISK
    retry: ClassVar[bool] = True


@dataclass(eq=False)
class UnreadableArchive(SparringError):
    """{path} is no archive of adversarial images: {problem}."""

    path: str
    problem: str
    reason: ClassVar[Reason] = Reason.USER


@dataclass(eq=False)
class UnreadableModel(SparringError):
    """{path} is no file of a network that Sparring has written: {problem}."""

    path: str
    problem: str
    reason: ClassVar[Reason] = Reason.USER


@dataclass(eq=False)
class Mismatch(SparringError):
    """The network and the images do not belong together: the network has {has}, the images {wants}."""

    has: str
    wants: str
    reason: ClassVar[Reason] = Reason.USER


@dataclass(eq=False)
class NotPaired(SparringError):
    """These results cannot be compared: given {has}, needed {wants}."""

    has: str
    wants: str
    reason: ClassVar[Reason] = Reason.USER


@dataclass(eq=False)
class ExportChanged(SparringError):
    """The {exporter} export does not compute what the network computes: {problem}."""

    exporter: str
    problem: str
    reason: ClassVar[Reason] = Reason.EVALUATION


@dataclass(eq=False)
class NetworkMissing(SparringError):
    """There is no network {network}: {problem}."""

    network: str
    problem: str
    reason: ClassVar[Reason] = Reason.USER


@dataclass(eq=False)
class NetworkUnfit(SparringError):
    """The network {network} cannot be judged: {problem}. {remedy}"""

    network: str
    problem: str
    remedy: str
    reason: ClassVar[Reason] = Reason.USER


@dataclass(eq=False)
class NoGradients(SparringError):
    """The network {network} is known by its logits alone ({why}), so {attack} cannot search: it needs gradients."""

    network: str
    why: str
    attack: str
    reason: ClassVar[Reason] = Reason.USER


@dataclass(eq=False)
class Cancelled(SparringError):
    """The run was cancelled."""

    reason: ClassVar[Reason] = Reason.USER
