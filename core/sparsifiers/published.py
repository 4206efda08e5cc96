"""What the code behind the thesis's Table 4.7 calls ADMM. It is no ADMM; it repeats that table and is never to be ranked.

Its main program, batch by batch, with L the number of convolutions:

    Z <- P(W + U)        U <- U + W - Z        L times: W <- W - lr rho (W - Z + U)        then the wrapped step

Its faults, kept here on purpose (each is pinned by a test): Z and U start anew with every epoch; they are updated with every
batch; the pull is repeated once for each layer, so that rho is in effect L times as large; and the network that is judged is
W, which nothing ever projects, so it has hardly a zero. P is not the projection that it is meant to be, either:
`signed_percentile` and `flagged_percentile` below.
"""

import torch
from torch import Tensor, nn

from core.proximal import INPUT_CHANNELS, group_norms
from core.sparsifiers.base import SparseOptimizer


def signed_percentile(w: Tensor, share: float) -> Tensor:
    """Zero what is smaller in size than the percentile of the *signed* weights: of symmetric ones asked to lose 80 %, 60 %
    go; of 60 %, 20 %; of 50 %, none."""
    return w * (w.abs() >= torch.quantile(w.double().flatten(), share).to(w.dtype))


def flagged_percentile(w: Tensor, share: float) -> Tensor:
    """Zero input channels by a percentile of norms that is taken anew for each channel, after the norms of the channels
    before it were overwritten with 1, kept, or 0, zeroed. Where norms lie above 1, half of the channels stay, asked to lose
    80 %; only where all lie below 1, so that no 1 falls among them, does a fifth."""
    norms = group_norms(w, INPUT_CHANNELS).square().add(1e-8).sqrt().double()  # (1, C, 1, 1)
    for c in range(norms.shape[1]):
        norms[:, c] = (norms[:, c] > torch.quantile(norms.flatten(), share)).double()
    return w * norms.to(w.dtype)


class Published(SparseOptimizer):
    """The published loop: Z and U of some parameters in the state, with its faults."""

    def __init__(
        self,
        base: torch.optim.Optimizer,
        steps_per_epoch: int,
        epochs: int,
        split: dict[nn.Parameter, float],
        channels: bool,
        rho: float,
    ) -> None:
        super().__init__(base, steps_per_epoch, epochs)
        self.split, self.rho = split, rho
        self.project = flagged_percentile if channels else signed_percentile
        self.restart()

    def restart(self) -> None:
        """Z = P(W) and U = 0."""
        for p, share in self.split.items():
            self.state[p].update(Z=self.project(p.data, share), U=torch.zeros_like(p.data))

    def before(self) -> None:
        """New Z and U; the pull, on the weights, as many times as there are layers."""
        if self.steps % self.steps_per_epoch == 0:
            self.restart()
        rates = {p: group["lr"] for group in self.param_groups for p in group["params"]}
        for p, state in self.chosen():
            state["Z"] = self.project(p + state["U"], self.split[p])
            state["U"] = state["U"] + p - state["Z"]
            for _ in self.split:
                p.sub_(p - state["Z"] + state["U"], alpha=rates[p] * self.rho)

    def end_epoch(self) -> None:
        """Note how far W is from Z, relative to W."""
        gap = sum(float((p - state["Z"]).square().sum()) for p, state in self.chosen())
        size = sum(float(p.square().sum()) for p, _ in self.chosen())
        self.figures["gap"] = (gap / size) ** 0.5 if size else 0.0
