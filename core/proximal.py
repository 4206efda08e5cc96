"""Closed-form proximal operators and projections: each states the minimisation that it solves.

`w` is any tensor; `lam` is the weight of the penalty against (1/2)||u - w||^2, so a method with a coupling beta calls with
lam/beta. Groups are named by the axes that a group's norm runs over: `INPUT_CHANNELS` of a convolution weight
(out, in, kh, kw) are the slices w[:, c], whose norm runs over the axes 0, 2 and 3.

Each operator is a pure function of a tensor, without autograd. Where a tie makes the minimiser ambiguous, the sparser one
is returned.
"""

import math

import torch
from torch import Tensor

Axes = tuple[int, ...]
INPUT_CHANNELS: Axes = (0, 2, 3)
FILTERS: Axes = (1, 2, 3)
COLUMNS: Axes = (0,)
ELEMENTS: Axes = ()


def group_norms(w: Tensor, axes: Axes) -> Tensor:
    """The l2 norm of each group, with the reduced axes kept as 1 so that it broadcasts over `w`."""
    return torch.linalg.vector_norm(w, dim=axes, keepdim=True) if axes else w.abs()


def soft(w: Tensor, lam: float) -> Tensor:
    """argmin_u lam ||u||_1 + (1/2)||u - w||^2: shrink every entry by lam."""
    return w.sign() * (w.abs() - lam).clamp_min(0)


def hard(w: Tensor, lam: float) -> Tensor:
    """argmin_u lam ||u||_0 + (1/2)||u - w||^2: keep what exceeds sqrt(2 lam)."""
    return w * (w.abs() > math.sqrt(2 * lam))


def transformed_l1(w: Tensor, lam: float, a: float = 1.0) -> Tensor:
    """argmin_u lam sum_i (a + 1)|u_i| / (a + |u_i|) + (1/2)||u - w||^2.

    Zhang and Xin 2018 (arXiv 1411.5735), theorem 3.1; the thesis's Lemma 14. Between l1 (a to infinity) and l0 (a to 0).
    The arccos argument is clamped: above the threshold it lies in [-1, 1] but for rounding. Computed in double precision:
    for large a the terms nearly cancel.
    """
    low = lam <= a * a / (2 * (a + 1))
    threshold = lam * (a + 1) / a if low else math.sqrt(2 * lam * (a + 1)) - a / 2
    size = w.double().abs()
    phi = torch.arccos((1 - 27 * lam * a * (a + 1) / (2 * (a + size) ** 3)).clamp(-1, 1))
    shrunk = 2 / 3 * (a + size) * torch.cos(phi / 3) - 2 * a / 3 + size / 3
    return torch.where(size > threshold, w.sign() * shrunk, 0.0).to(w.dtype) if lam else w.clone()


def group_soft(w: Tensor, lam: float, axes: Axes) -> Tensor:
    """argmin_u lam sum_g ||u_g||_2 + (1/2)||u - w||^2: shrink every group's norm by lam (thesis, eq. 4.4)."""
    norms = group_norms(w, axes)
    return w * torch.where(norms > lam, 1 - lam / norms, 0.0)


def group_hard(w: Tensor, lam: float, axes: Axes) -> Tensor:
    """argmin_u lam sum_g [u_g != 0] + (1/2)||u - w||^2: keep the groups with a norm above sqrt(2 lam) (thesis, eq. 4.6)."""
    return w * (group_norms(w, axes) > math.sqrt(2 * lam))


def group_transformed_l1(w: Tensor, lam: float, a: float, axes: Axes) -> Tensor:
    """argmin_u lam sum_g (a + 1)||u_g|| / (a + ||u_g||) + (1/2)||u - w||^2: `transformed_l1` of every group's norm.

    The penalty does not turn with u_g, so the minimiser lies on the ray of w_g, and only its length is to be found.
    """
    norms = group_norms(w, axes)
    return w * torch.where(norms > 0, transformed_l1(norms, lam, a) / norms, 0.0)


def keep_largest(w: Tensor, sparsity: float, axes: Axes = ELEMENTS) -> Tensor:
    """argmin_u ||u - w||^2 over the u in which round(sparsity * groups) groups are zero: keep the groups of largest norm.

    The kept number is exact, ties included; at least one group stays.
    """
    norms = group_norms(w, axes)
    return w * largest(norms, max(1, norms.numel() - round(sparsity * norms.numel())))


def largest(norms: Tensor, count: int) -> Tensor:
    """Mask of the `count` largest entries, exactly that many, of the shape of `norms`."""
    mask = torch.zeros(norms.numel(), dtype=torch.bool, device=norms.device)
    mask[norms.flatten().topk(min(count, norms.numel())).indices] = True
    return mask.view(norms.shape)


def keep_some(u: Tensor, w: Tensor, axes: Axes, least: int) -> Tensor:
    """`u` with the `least` largest groups of `w` put back, unshrunk, where they are zero in `u`.

    Not a proximal operator: a rule that keeps a layer from dying whole, which no penalty forbids. The operators above kill
    the smallest groups first, so nothing changes where at least `least` groups of `u` survive.
    """
    norms = group_norms(w, axes)
    return torch.where(largest(norms, least) & (group_norms(u, axes) == 0), w, u) if least else u
