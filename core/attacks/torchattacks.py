"""Any attack of the library torchattacks (Kim 2020, arXiv 2010.01950) by the name of its class.

The library's attacks reset the global random generators, switch modules to training mode and leave gradients behind; the
base undoes all three.

The radius is the threat's, and so is the norm of classes that take one (APGD, APGDT, AutoAttack, FAB, Square). Classes of one
norm are refused in a ball of the other: PGDL2 and PGDRSL2 search in l2, the rest of those that take a radius in l_inf, and a
radius of one norm says nothing in the other. Classes without a radius (CW, DeepFool, the elastic nets, SparseFool, JSMA,
OnePixel, Pixle, GN) know no ball and run under any threat: what they find is projected into its ball, and counts if
it still fools there. So CW under l_inf, or with a perturbation longer than eps, is weaker than an attack made for the ball.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, get_args

import torch
import torchattacks
from pydantic import AfterValidator, Field, WithJsonSchema, model_validator
from torch import Tensor, nn

from core.attacks.base import Attack
from core.threat import Norm


def _plain(value: Any) -> Any:
    number = isinstance(value, int | float) and abs(value) <= 1e6
    text = isinstance(value, str) and len(value) <= 100 and value.isascii() and value.isprintable()
    if not number and not text:
        raise ValueError("give true, false, a number within a million, or a text of at most 100 plain characters")
    return value


Setting = Annotated[Any, AfterValidator(_plain), WithJsonSchema({"type": ["boolean", "number", "string"]})]
BLACK_BOXES = {"OnePixel", "Pixle", "SPSA", "Square"}
IN_L2 = {"PGDL2", "PGDRSL2"}
"""Classes whose one norm is l2."""
MINIMAL = {"CW", "DeepFool", "EADEN", "EADL1", "FAB", "JSMA", "OnePixel", "Pixle", "SparseFool"}
"""Classes that look for a small change."""
RADII = ("eps", "max_epsilon")
"""What classes call the radius."""
NORMS = {"linf": "Linf", "l2": "L2"}
"""What they call the norms."""
OURS = {"model", "norm", *RADII}
"""Arguments that the threat decides."""
LEFT_OUT = {"MultiAttack", "LGV", "VANILA", "AttackWrapper", "Attack"}
CLASSES: dict[str, Callable[..., Any]] = {
    name: kind
    for name, kind in vars(torchattacks).items()
    if inspect.isclass(kind) and issubclass(kind, torchattacks.attack.Attack) and name not in LEFT_OUT
}


class Contiguous(nn.Module):
    """A network whose gradients to the pixels lie as the library's `view` expects them, whatever its own layout."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) pixels to (B, classes) logits."""
        if x.requires_grad:
            x.register_hook(torch.Tensor.contiguous)  # type: ignore[no-untyped-call]
        return torch.as_tensor(self.net(x))


class Torchattacks(Attack):
    """An attack of the library torchattacks, by class name, with the settings of its constructor."""

    name: Literal["torchattacks"] = "torchattacks"
    attack: str = "PGD"
    """Name of the class: PGD, APGD, DIFGSM, Square ..."""
    settings: dict[str, Setting] = Field(default_factory=dict)
    """Arguments of its constructor; the model, the radius and the norm are given."""

    @model_validator(mode="after")
    def _known(self) -> "Torchattacks":
        if self.attack not in CLASSES:
            raise ValueError(f"torchattacks has no attack {self.attack!r}; it has {', '.join(sorted(CLASSES))}")
        unknown = self.settings.keys() - (self._accepted() - OURS)
        if unknown:
            accepted = ", ".join(sorted(self._accepted() - OURS)) or "nothing else"
            raise ValueError(f"{self.attack} does not take {', '.join(sorted(unknown))}; it takes {accepted}")
        steps = self.settings.get("steps", 1)
        if type(steps) is not int or steps < 1:
            raise ValueError(f"settings.steps must be a whole number from 1, not {steps!r}")
        return self

    def _accepted(self) -> set[str]:
        return set(inspect.signature(CLASSES[self.attack]).parameters) - {"device"}

    @classmethod
    def cheap(cls) -> dict[str, object]:
        """A few steps of PGD."""
        return {"attack": "PGD", "settings": {"steps": 5}}

    def steps_from(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """The library's result, in one step; its global generators are seeded from `generator`."""
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator, device=x.device)))
        given = dict.fromkeys(RADII, float(self.threat.eps)) | {"norm": NORMS[self.threat.norm]}
        arguments = self.settings | {key: value for key, value in given.items() if key in self._accepted()}
        yield CLASSES[self.attack](Contiguous(net), **arguments)(x.contiguous(), y)

    @property
    def searches(self) -> tuple[Norm, ...]:
        """The norm of a class that takes a radius; any for the others."""
        if "norm" in self._accepted() or not self._accepted() & set(RADII):
            return get_args(Norm)
        return ("l2",) if self.attack in IN_L2 else ("linf",)

    @property
    def black_box(self) -> bool:
        """Whether the class is one of those that use logits alone."""
        return self.attack in BLACK_BOXES

    @property
    def minimal(self) -> bool:
        """Whether the class is one of those that look for a small change."""
        return self.attack in MINIMAL

    @property
    def default_label(self) -> str:
        """The class and its steps."""
        return self.attack.lower() + (str(self.length) if self.length > 1 else "")

    @property
    def length(self) -> int:
        """The library's steps."""
        known = inspect.signature(CLASSES[self.attack]).parameters.get("steps")
        return int(self.settings.get("steps", known.default if known else 1))

    def turns(self, images: int) -> int:
        """All at once: such an attack can be neither watched nor stopped within a batch."""
        return 1

    @property
    def passes(self) -> float:
        """A guess, 2 a step: the library does not count."""
        return 2.0 * self.length
