"""Images without a box: pixels written as hyperbolic tangents, in which attacks may move without bounds.

Carlini and Wagner 2017 (arXiv 1608.04644, section V-D): a pixel is (tanh(w) + 1) / 2. At a pixel of 0 or 1, w is infinite, and
implementations stop at |tanh| = 1 - 1e-6, where a step of w changes nothing: such pixels, most of MNIST's, hardly
ever move. Here the tangent begins no nearer than `ROOM` to its ends, and what is added is its change since the beginning:

    image(w) = clip(x + (tanh(w_0 + w) - tanh(w_0)) / 2, 0, 1),  tanh(w_0) = clip(2x - 1, -1 + ROOM, 1 - ROOM)

Away from the edges that is the same; at them every pixel can move, and w = 0 is the image to the bit.
"""

import torch
from torch import Tensor

ROOM = 0.1
"""Distance of the starting tangents from their ends, -1 and 1."""


class TanhSpace:
    """The space of shifts w around images x, (B, C, H, W) or any shape that fits."""

    def __init__(self, x: Tensor) -> None:
        self.x = x
        self.centre = torch.atanh((2 * x - 1).clamp(-1 + ROOM, 1 - ROOM))
        self.start = torch.tanh(self.centre)

    def image(self, w: Tensor) -> Tensor:
        """The images at w, in the box."""
        return torch.clamp(self.x + (torch.tanh(self.centre + w) - self.start) / 2, 0.0, 1.0)

    def slope(self, w: Tensor) -> Tensor:
        """d image / d w of each pixel, as if the box did not clip: a pixel beyond the edge can come back."""
        return (1 - torch.tanh(self.centre + w).square()) / 2
