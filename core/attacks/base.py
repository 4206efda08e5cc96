"""What an attack is, and what the base guarantees of every member.

A member gives `steps_from`, a generator of candidates: long attacks can then be watched and stopped between steps. The base's
`search` re-imposes the ball and the box on each, and leaves the network's modes, its parameters' gradients and the global
random generators as they were.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from core.device import kept_rng
from core.family import Plugin
from core.modes import kept_modes
from core.threat import Norm, Radius, Threat

Keep = Literal["best", "last"]


class Attack(Plugin):
    """An adversary that moves images within a ball so that the network errs. Members give `steps_from`."""

    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2")
    """The norms in whose balls this kind of attack can search."""

    label: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")] | None = None
    """The key of its results, unique in its list; by default the name and the number of steps."""
    norm: Norm | None = None
    """Norm of the ball; the threat's if left out."""
    eps: Radius | None = None
    """Radius; the threat's if left out."""
    images: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Attack only the first so many images; all that are evaluated if left out."""

    @abstractmethod
    def steps_from(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """Yields the adversarial images so far, (B, C, H, W), at least once; the last ones count.

        `net` maps pixels to logits; `generator`, on the device of `x`, is the only source of the attack's randomness. Who asks
        about some of the images alone asks `core.counting.about(net, some)`.
        """

    def search(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """`steps_from`, with the guarantees: in the ball and the box, network and global generators left as found."""
        with untouched(net), kept_rng():
            for candidate in self.steps_from(net, x, y, generator):
                sound = torch.where(candidate.isfinite(), candidate.detach(), x)  # NaN would pass for "broken"
                yield self.threat.project(sound, x)

    def perturb(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """The adversarial images, (B, C, H, W): what `search` yields last."""
        *_, last = self.search(net, x, y, generator)
        return last

    def within(self, threat: Threat, keep: Keep = "best") -> Self:
        """These settings with what they leave open filled in; `keep` is the protocol's rule for iterates."""
        eps = threat.eps if self.eps is None else self.eps
        filled = self.model_copy(update={"norm": self.norm or threat.norm, "eps": eps})
        return filled.model_copy(update={"label": self.label or filled.default_label})

    def reading(self, load: Callable[[str], nn.Module]) -> Self:
        """The attack with the stored networks that it needs, to be called before it runs.

        `load` maps the SHA-256 of a model's file to its network, in evaluation mode, on the device of the attack.
        """
        return self

    @property
    def threat(self) -> Threat:
        """The ball, once `within` has filled in its norm and radius."""
        assert self.norm, "within(threat) comes first"
        assert self.eps is not None, "within(threat) comes first"
        return Threat(norm=self.norm, eps=self.eps)

    @property
    def searches(self) -> tuple[Norm, ...]:
        """The norms in whose balls it can search with these settings."""
        return self.norms

    @property
    def needs_noise(self) -> bool:
        """Whether it means something on random networks alone."""
        return False

    @property
    def source_sha256(self) -> str | None:
        """The stored network that it needs, by the SHA-256 of its file; none for most."""
        return None

    @property
    def least_classes(self) -> int:
        """The fewest classes that its loss is made for."""
        return 2

    @property
    def black_box(self) -> bool:
        """Whether it uses logits alone, and no gradient."""
        return False

    @property
    def minimal(self) -> bool:
        """Whether it looks for a small perturbation that fools, and not for the worst one in the ball."""
        return False

    @property
    def default_label(self) -> str:
        """Name and steps."""
        return self.name + (str(self.length) if self.length > 1 else "")

    @property
    def length(self) -> int:
        """Steps of one start."""
        return 1

    @property
    def tries(self) -> int:
        """Number of starts."""
        return 1

    def turns(self, images: int) -> int:
        """How often `steps_from` yields for a batch of so many images."""
        return self.length * self.tries

    @property
    @abstractmethod
    def passes(self) -> float:
        """Cost an image, in forward passes."""


@contextmanager
def untouched(net: nn.Module) -> Iterator[None]:
    """Afterwards every module's mode and every parameter's gradient are what they were before."""
    gradients = [(p, p.grad, p.requires_grad) for p in net.parameters()]
    for p in net.parameters():
        p.grad = None
    try:
        with kept_modes(net):
            yield
    finally:
        for p, gradient, required in gradients:
            p.grad = gradient
            p.requires_grad_(required)
