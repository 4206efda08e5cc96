"""How a network is trained, as settings: epochs, batches, optimiser, schedule, precision, and which epoch is chosen."""

from typing import Annotated, Literal

from pydantic import Field

from core.family import Settings
from core.optimizers import Optimizer
from core.schedules import Multistep, Schedule

Epochs = Annotated[int, Field(ge=1, le=100_000)]
Batch = Annotated[int, Field(ge=1, le=65_536)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class Select(Settings):
    """Which epoch's sparse network is evaluated: the best on the validation split."""

    split: Literal["validation"] = "validation"
    """Never the test set."""
    metric: Annotated[str, Field(pattern=r"^(clean|pgd[1-9][0-9]{0,3})$")] = "pgd20"
    """Accuracy on clean images, or under PGD of so many steps from a random start."""
    every: Epochs = 1
    """Epochs between two candidates; the last epoch is always one."""
    from_epoch: Epochs = 1
    """The first epoch that may be chosen."""
    draws: Annotated[int, Field(ge=1, le=1000)] = 1
    """Noise draws averaged by the judge, for random networks."""
    images: Count | None = None
    """A prefix of the validation split; all of it if left out."""
    sparsity_at_least: Annotated[float, Field(ge=0, le=1)] | None = None
    """Only networks with this share of dead input channels (or zero weights, where no channel dies) are chosen."""


class Train(Optimizer):
    """How the network is trained."""

    epochs: Epochs = 200
    """Passes over the training images."""
    batch_size: Batch = 128
    """Images a step; the incomplete last batch of an epoch is left out."""
    schedule: Schedule = Multistep()
    """The learning rate's course."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 computes the network in bfloat16 in training and selection; perturbations, losses and weights stay fp32."""
    deterministic: bool = False
    """Only kernels that give the same bits every time (same machine, same thread count)."""
    select: Select | None = Select()
    """How the epoch to evaluate is chosen; null takes the last."""
