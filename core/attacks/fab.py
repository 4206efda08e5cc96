"""FAB-T: looks for the nearest image beyond the linearised boundary to one wrong class after the other.

Croce and Hein 2020 (arXiv 1907.02044), algorithm 1, in the targeted form and with the settings of AutoAttack (arXiv 2003.01690,
section 4): with x_i the iterate and d_i, d_0 the smallest moves onto the plane where the linearised z_t - z_y is 0, of x_i and
of the clean image within the box,

    a       = min(|d_i| / (|d_i| + |d_0|), alpha_max)
    x_i+1   = (1 - a) (x_i + eta d_i) + a (x_0 + eta d_0)      in the box
    x_i+1   <- x_0 + beta (x_i+1 - x_0)                        where it fools

The search knows no ball. What it meets outside is no candidate here, and of what it meets inside the worst is kept, where the
authors keep the nearest. Like AutoAttack's, it starts at the image and ends without the paper's search along the last line.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from core.ascent import PerImageLoss, gradient
from core.attacks.hyperplane import onto_hyperplane
from core.attacks.runs import Runs
from core.attacks.targets import ahead_of_truth, wrong_class

ALPHA_MAX, ETA, BETA = 0.1, 1.05, 0.9


class Fab(Runs):
    """Fast adaptive boundary attack, targeted: 9 targets of 100 steps (Croce and Hein 2020, arXiv 1907.02044)."""

    name: Literal["fab"] = "fab"
    steps: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Steps towards each target."""
    targets: Annotated[int, Field(ge=1, le=999)] = 9
    """Wrong classes that are aimed at, the likeliest first; all of them where there are fewer."""

    @classmethod
    def cheap(cls) -> dict[str, object]:
        """A few steps towards two classes."""
        return {"steps": 5, "targets": 2}

    def run(
        self, number: int, net: nn.Module, x: Tensor, y: Tensor, clean: Tensor, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The iterates towards one target that lie in the ball; in place of the others, the clean images."""
        target = wrong_class(clean, y, number)
        if target is None:
            return
        point, eps = x, float(self.threat.eps)
        for _ in range(self.steps):
            point = self._step(net, point, x, y, ahead_of_truth(target))
            with torch.no_grad():
                logits = torch.as_tensor(net(point))
            inside = self.threat.distance(point, x) <= eps
            yield torch.where(inside.view(-1, 1, 1, 1), point, x), torch.where(inside[:, None], logits, clean)
            fooled = (logits.argmax(1) != y).view(-1, 1, 1, 1)
            point = torch.where(fooled, x + BETA * (point - x), point)

    def _step(self, net: nn.Module, point: Tensor, x: Tensor, y: Tensor, difference: PerImageLoss) -> Tensor:
        """x_i+1 before the step back. (B, C, H, W)."""
        pixels, ahead, _ = gradient(net, point, y, difference)
        w, norm = pixels.flatten(1), self.threat.norm
        from_point = onto_hyperplane(point.flatten(1), w, ahead, norm).view(x.shape)
        from_image = onto_hyperplane(x.flatten(1), w, ahead + (w * (x - point).flatten(1)).sum(1), norm).view(x.shape)
        here, there = (self.threat.distance(d, torch.zeros_like(d)).clamp_min(1e-8) for d in (from_point, from_image))
        a = (here / (here + there)).clamp_max(ALPHA_MAX).view(-1, 1, 1, 1)
        return ((1 - a) * (point + ETA * from_point) + a * (x + ETA * from_image)).clamp(0, 1)

    @property
    def minimal(self) -> bool:
        """It looks for the nearest."""
        return True

    @property
    def length(self) -> int:
        """Steps."""
        return self.steps

    @property
    def tries(self) -> int:
        """Targets."""
        return self.targets

    @property
    def visits(self) -> int:
        """One a step."""
        return self.steps

    @property
    def passes(self) -> float:
        """One for the clean image, 3 a step; as if no image fell before the last target."""
        return 1.0 + 3 * self.steps * self.targets
