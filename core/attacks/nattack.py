"""NAttack: a black box that learns the mean of a Gaussian of adversarial images.

Li et al. 2019 (arXiv 1905.00441), algorithm 1, with the settings of its code: in the tanh space of the images, candidates are
those at mu + sigma z, clipped to the ball; the reward is minus half the clipped log-probability margin, standardised over the
population; mu moves by evolution strategies:

    mu <- mu + lr / (population sigma) * sum_i reward_i z_i

At `checks` evenly spaced iterations the mean candidate is judged by `looks` forward passes; the latest that all of them
misjudged is the result; without any, the last mean is. The code calls an image broken at its first misjudged check,
which on a random network becomes more likely with every check: here the evaluation's judge decides, with noise of its
own, and the search on a random network goes on to the end. Otherwise it ends where all its images are found.
A few images are attacked together, `population` candidates each. Unlike the code, the "other" class's maximum is taken for each
candidate (the code takes the first one's), mu starts at zero, and pixels of exactly 0 or 1 can move, which stay in the
code within 1e-6 of where they are (core/attacks/tanh_space.py).
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from core.ascent import margin
from core.attacks.queries import Queries
from core.attacks.tanh_space import TanhSpace
from core.noise import stochastic_layers


class NAttack(Queries):
    """NAttack (Li et al. 2019, arXiv 1905.00441): evolution strategies on the mean of a Gaussian; uses logits alone."""

    name: Literal["nattack"] = "nattack"
    population: Annotated[int, Field(ge=2, le=10_000)] = 300
    """Candidates an iteration."""
    iterations: Annotated[int, Field(ge=1, le=10_000)] = 400
    """Moves of the mean."""
    sigma: Annotated[float, Field(gt=0, le=10)] = 0.1
    """Standard deviation of the Gaussian, in arctanh space."""
    lr: Annotated[float, Field(gt=0, le=10)] = 0.02
    """Rate of the mean (the code: 0.008, and 0.02 for random networks)."""
    checks: Annotated[int, Field(ge=1, le=10_000)] = 40
    """How often the mean candidate is judged; the latest that was misjudged is the result."""
    looks: Annotated[int, Field(ge=1, le=1000)] = 1
    """Forward passes of a check, all of which must err: more than 1 means something on random networks alone."""

    @model_validator(mode="after")
    def _checks_within_iterations(self) -> "NAttack":
        if self.checks > self.iterations:
            raise ValueError(f"checks must be at most iterations ({self.iterations})")
        return self

    @classmethod
    def cheap(cls) -> dict[str, object]:
        """A small population, a few moves."""
        return {"population": 20, "iterations": 10, "checks": 5}

    def steps_together(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """After each move, the images that were found to fool the network, and the mean candidates of the others."""
        space = TanhSpace(x)
        mean, found = torch.zeros_like(x), x.clone()
        certain = not stochastic_layers(net)
        fooled = self._wrong(net, x, y) & certain
        for iteration in range(self.iterations):
            if certain and fooled.all():
                yield found
                continue
            mean = mean + self._move(net, x, y, mean, generator)
            candidate = self.threat.project(space.image(mean), x)
            if (iteration + 1) * self.checks // self.iterations > iteration * self.checks // self.iterations:
                wrong = self._wrong(net, candidate, y)
                found = torch.where(wrong.view(-1, 1, 1, 1), candidate, found)
                fooled |= wrong
            yield torch.where(fooled.view(-1, 1, 1, 1), found, candidate)

    @torch.no_grad()
    def _move(self, net: nn.Module, x: Tensor, y: Tensor, mean: Tensor, generator: torch.Generator) -> Tensor:
        """lr / (population sigma) * sum_i reward_i z_i of a population around `mean`. (B, C, H, W)."""
        b, n = len(x), self.population
        noise = torch.randn(b, n, *x.shape[1:], generator=generator, device=x.device)
        images = TanhSpace(x[:, None]).image(mean[:, None] + self.sigma * noise).flatten(0, 1)
        logits = net(self.threat.project(images, x.repeat_interleave(n, 0))).log_softmax(1)
        reward = -0.5 * (-margin(logits, y.repeat_interleave(n))).clamp(0, 1000).view(b, n)
        reward = (reward - reward.mean(1, keepdim=True)) / (reward.std(1, keepdim=True) + 1e-7)
        return self.lr / (n * self.sigma) * torch.einsum("bn,bnchw->bchw", reward, noise)

    @torch.no_grad()
    def _wrong(self, net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return torch.stack([torch.as_tensor(net(x)).argmax(1) != y for _ in range(self.looks)]).all(0)

    @property
    def asked(self) -> int:
        """The population."""
        return self.population

    @property
    def length(self) -> int:
        """Moves."""
        return self.iterations

    @property
    def passes(self) -> float:
        """The population at each iteration, and the checks."""
        return float(self.iterations * self.population + self.checks * self.looks)
