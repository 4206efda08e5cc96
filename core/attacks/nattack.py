"""NAttack: a black box that learns the mean of a Gaussian of adversarial images.

Li et al. 2019 (arXiv 1905.00441), algorithm 1, with the settings of its code: in arctanh space, candidates are
tanh(arctanh(2x - 1) + mu + sigma z) mapped back to [0, 1] and clipped to the ball; the reward is minus half the clipped
log-probability margin, standardised over the population; mu moves by evolution strategies:

    mu <- mu + lr / (population sigma) * sum_i reward_i z_i

At `checks` evenly spaced iterations the mean candidate is judged by one forward pass, and the latest that was misjudged is
the result; without any, the last mean is. The code calls an image broken at its first misjudged check, which on a random
network becomes more likely with every check: here the evaluation's judge decides, with noise of its own, and the search on
a random network goes on to the end. Otherwise it ends where all its images are found.
A few images are attacked together, `population` candidates each. Unlike the code, the "other" class's maximum is
taken for each candidate (the code takes the first one's), and mu starts at zero. Under batch-wide noise the candidates of
one forward pass influence one another.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from core.ascent import margin
from core.attacks.base import Attack
from core.noise import stochastic_layers

CHUNK = 512
"""Candidates a forward pass: as many images are attacked together as bring no more than these."""


class NAttack(Attack):
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

    @model_validator(mode="after")
    def _checks_within_iterations(self) -> "NAttack":
        if self.checks > self.iterations:
            raise ValueError(f"checks must be at most iterations ({self.iterations})")
        return self

    @classmethod
    def cheap(cls) -> dict[str, object]:
        """A small population, a few moves."""
        return {"population": 20, "iterations": 10, "checks": 5}

    def steps_from(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """A few images after the other: those done, and the state of those under attack."""
        result = x.clone()
        for start in range(0, len(x), self.together):
            some = slice(start, start + self.together)
            for attacked in self._attack(net, x[some], y[some], generator):
                result[some] = attacked
                yield result

    def _attack(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """After each move, the images that were found to fool the network, and the mean candidates of the others."""
        centre = torch.atanh((2 * x - 1).clamp(-1 + 1e-6, 1 - 1e-6))
        mean, found = torch.zeros_like(x), x.clone()
        certain = not stochastic_layers(net)
        fooled = self._wrong(net, x, y) & certain
        for iteration in range(self.iterations):
            if certain and fooled.all():
                yield found
                continue
            mean = mean + self._move(net, x, y, centre + mean, generator)
            candidate = self._image(centre + mean, x)
            if (iteration + 1) * self.checks // self.iterations > iteration * self.checks // self.iterations:
                wrong = self._wrong(net, candidate, y)
                found = torch.where(wrong.view(-1, 1, 1, 1), candidate, found)
                fooled |= wrong
            yield torch.where(fooled.view(-1, 1, 1, 1), found, candidate)

    def _image(self, z: Tensor, x: Tensor) -> Tensor:
        return self.threat.project((torch.tanh(z) + 1) / 2, x)

    @torch.no_grad()
    def _move(self, net: nn.Module, x: Tensor, y: Tensor, z: Tensor, generator: torch.Generator) -> Tensor:
        """lr / (population sigma) * sum_i reward_i z_i of a population around `z`. (B, C, H, W)."""
        b, n = len(x), self.population
        noise = torch.randn(b, n, *x.shape[1:], generator=generator, device=x.device)
        images = self._image(z[:, None] + self.sigma * noise, x[:, None])
        logits = net(images.flatten(0, 1)).log_softmax(1)
        reward = -0.5 * (-margin(logits, y.repeat_interleave(n))).clamp(0, 1000).view(b, n)
        reward = (reward - reward.mean(1, keepdim=True)) / (reward.std(1, keepdim=True) + 1e-7)
        return self.lr / (n * self.sigma) * torch.einsum("bn,bnchw->bchw", reward, noise)

    @torch.no_grad()
    def _wrong(self, net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return torch.as_tensor(net(x).argmax(1) != y)

    @property
    def black_box(self) -> bool:
        """Logits alone."""
        return True

    @property
    def together(self) -> int:
        """Images attacked at once."""
        return max(1, CHUNK // self.population)

    def turns(self, images: int) -> int:
        """One a move and a group of images."""
        return self.iterations * -(-images // self.together)

    @property
    def length(self) -> int:
        """Moves."""
        return self.iterations

    @property
    def passes(self) -> float:
        """The population at each iteration, and the checks."""
        return float(self.iterations * self.population + self.checks)
