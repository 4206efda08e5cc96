"""The smallest move of an image onto a hyperplane within the box [0, 1], in l_inf or l2.

    argmin over d of |d|_p   subject to   <w, d> = -excess   and   0 <= t + d <= 1

Croce and Hein 2020 (arXiv 1907.02044), section 2.2, with excess = <w, t> - b. In either norm each pixel moves against the sign
of its weight (or along it) until it meets the box, and what the moves gain, the sum of a_i min(level, r_i), has to reach
|excess|. That sum is piecewise linear in the level, so sorting the r_i finds it exactly.
"""

import torch
from torch import Tensor

from core.threat import Norm

TINY = 1e-8
"""A weight below this share of the largest one moves nothing in l2: its reach would overflow."""


def onto_hyperplane(t: Tensor, w: Tensor, excess: Tensor, norm: Norm) -> Tensor:
    """The move d, (B, n), of points `t` in the box, for weights `w`, (B, n) and (B, n), and `excess`, (B,).

    Where the box does not reach the plane, the move to its nearest corner. A pixel of weight 0 stays.
    """
    largest = w.abs().amax(1).clamp_min(1e-30)
    w = w * (torch.where(excess < 0, -1.0, 1.0) / largest)[:, None]
    needed, size = excess.abs() / largest, w.abs()
    room = torch.where(w > 0, t, 1 - t)
    if norm == "linf":
        moves = torch.minimum(level(size, room, needed), room)
    else:
        reach = torch.where(size > TINY, room / size, 0.0)
        moves = size * torch.minimum(level(size.square(), reach, needed), reach)
    return -w.sign() * moves


def level(a: Tensor, r: Tensor, needed: Tensor) -> Tensor:
    """The least level with sum_i a_i min(level, r_i) = needed, (B, 1), of a and r from 0 on, (B, n); beyond all r if none."""
    r, order = r.sort(1)
    a = a.gather(1, order)
    before = (a * r).cumsum(1) - a * r  # what those before each one give at most
    rest = a.flip(1).cumsum(1).flip(1)  # the weight of each one and all after it
    at = torch.searchsorted(before + rest * r, needed[:, None].contiguous()).clamp_max(a.shape[1] - 1)
    return (needed[:, None] - before.gather(1, at)) / rest.gather(1, at).clamp_min(1e-30)
