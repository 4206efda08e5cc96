"""What a network's convolution weights look like: histograms, channel norms, one layer whole.

The thesis (Dinh), Figures 1.2, 4.1, 4.2 and 4.5. Some hundred kilobytes that outlive the network, of which nothing is left
once compaction has cut its dead channels out. It differs from the thesis in two ways: exact zeros are counted apart, so
that they do not bury the others in a sparse network's histogram; and the layer shown whole is not a random one but the
last convolution with a kernel beyond 1x1, of an ensemble its first member's, which is the same in every network of a kind.
"""

import re
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from core.proximal import INPUT_CHANNELS, group_norms

BINS = 401
"""Odd, so that the middle one lies around zero."""
SMALL = 1e-3
"""Below this magnitude the thesis counts a weight as nearly zero (Figure 1.2)."""
MOST = 64
"""Most filters, and input channels of each, of the layer that is shown whole (Figure 4.1 has 64 x 64 x 3 x 3)."""


class Part(BaseModel):
    """The base of what an anatomy is made of."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Histogram(Part):
    """How often values occur: `counts` of those that are not exactly zero, in equal bins over [-limit, limit]."""

    n: int
    """All values, zeros included."""
    zeros: int
    small: int
    """Below `SMALL` in magnitude, zeros included."""
    limit: float
    """The largest magnitude; 1 where all are zero."""
    counts: list[int]

    @classmethod
    def of(cls, values: Tensor) -> "Histogram":
        """The histogram of a tensor of any shape."""
        w = values.detach().cpu().numpy().ravel()
        nonzero = w[w != 0]
        limit = float(np.abs(w).max(initial=0)) or 1.0
        counts, _ = np.histogram(nonzero, BINS, (-limit, limit))
        small = int((np.abs(w) < SMALL).sum())
        return cls(n=w.size, zeros=w.size - nonzero.size, small=small, limit=limit, counts=counts.tolist())

    @property
    def edges(self) -> list[float]:
        """The ends of the bins: one more than there are bins."""
        return [float(edge) for edge in np.linspace(-self.limit, self.limit, len(self.counts) + 1)]


class Layer(Part):
    """One convolution: its shape (out, in, height, width), its weights, the l2 norm of each input channel w[:, c]."""

    name: str
    shape: list[int]
    weights: Histogram
    norms: list[float]


class Picture(Part):
    """The weights of one layer, (out, in, height, width), of which at most `MOST` by `MOST` filters."""

    layer: str
    values: list[list[list[list[float]]]]


class Anatomy(Part):
    """The weights of all convolutions together, of each, and one layer whole."""

    weights: Histogram
    layers: list[Layer]
    picture: Picture

    @property
    def norms(self) -> list[float]:
        """The norms of all input channels, layer by layer."""
        return [norm for layer in self.layers for norm in layer.norms]

    def layer(self, name: str) -> Layer:
        """One layer by its name."""
        return next(layer for layer in self.layers if layer.name == name)


@torch.no_grad()
def dissect(net: nn.Module) -> Anatomy:
    """The anatomy of a network that has convolutions. Figures are rounded to six digits; what is not zero stays so."""
    found = {name: m.get_parameter("weight") for name, m in net.named_modules() if isinstance(m, nn.Conv2d)}
    shown = _shown(found)
    return Anatomy(
        weights=Histogram.of(torch.cat([w.flatten() for w in found.values()])),
        layers=[_layer(name, w) for name, w in found.items()],
        picture=Picture(layer=shown, values=_rounded(found[shown][:MOST, :MOST].tolist())),
    )


def _layer(name: str, w: Tensor) -> Layer:
    norms = group_norms(w.double(), INPUT_CHANNELS).flatten()
    return Layer(name=name, shape=list(w.shape), weights=Histogram.of(w), norms=_rounded(norms.tolist()))


def _shown(found: dict[str, nn.Parameter]) -> str:
    """The last convolution of the first member with a kernel beyond 1x1; the last one where there is none."""
    first = [name for name in found if not re.match(r"members\.(?!0\.)", name)]
    return max(enumerate(first), key=lambda one: (found[one[1]][0, 0].numel() > 1, one[0]))[1]


def _rounded(values: Any) -> Any:
    """Six significant digits of a number, or of the numbers in nested lists."""
    return [_rounded(value) for value in values] if isinstance(values, list) else float(f"{values:.6g}")
