"""The idea that a sparsifier is an optimiser, tried on the shape of a method that is not there yet: RigL.

Evci et al. 2020 (arXiv 1911.11134): every few steps the smallest weights are dropped and as many are grown where the dense
gradient is largest; on such a step the optimiser does not move, and momentum is masked. All of it fits `move`.
"""

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from core import checkpoint
from core.channels import convolutions
from core.optimizers import Optimizer
from core.proximal import largest
from core.sparsifiers.base import SparseOptimizer


class RigL(SparseOptimizer):
    """Drop the smallest, grow where the gradient is largest."""

    def __init__(
        self, base: torch.optim.Optimizer, split: list[nn.Parameter], steps_per_epoch: int, epochs: int
    ) -> None:
        super().__init__(base, steps_per_epoch, epochs)
        for p in split:
            self.state[p]["mask"] = largest(
                torch.rand(p.shape, generator=torch.Generator().manual_seed(0)), p.numel() // 2
            )
            p.data.mul_(self.state[p]["mask"])

    def move(self) -> None:
        end = 0.75 * self.steps_per_epoch * self.epochs
        if self.steps and self.steps % 3 == 0 and self.steps < end:
            for p, state in self.chosen():
                self.rewire(p, state, 0.3 / 2 * (1 + math.cos(math.pi * self.steps / end)))
            return
        for p, state in self.chosen():
            p.grad.mul_(state["mask"])
        self.base.step()
        for p, state in self.chosen():
            p.mul_(state["mask"])

    def rewire(self, p: nn.Parameter, state: dict[str, Tensor], share: float) -> None:
        moved = int(share * int(state["mask"].sum()))
        dropped = largest(p.abs() + state["mask"], int(state["mask"].sum()) - moved)
        grown = largest(p.grad.abs().masked_fill(dropped, -1.0), moved)
        state["mask"] = dropped | grown
        p.mul_(dropped)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8 * 16, 4))


def train(net: nn.Module, optimizer: SparseOptimizer, first: int, last: int) -> None:
    for number in range(first, last):
        x = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(number))

        def closure(x: Tensor = x) -> Tensor:
            optimizer.zero_grad()
            loss = net(x).square().mean()
            loss.backward()
            return loss

        optimizer.step(closure)


def test_rigl_keeps_its_density_and_moves_its_mask() -> None:
    net = network()
    optimizer = RigL(Optimizer().make(net.parameters()), convolutions(net), 5, 8)
    before = [optimizer.state[p]["mask"].clone() for p in convolutions(net)]
    train(net, optimizer, 0, 20)
    for p, mask in zip(convolutions(net), before, strict=True):
        assert int((p != 0).sum()) <= int(mask.sum()) == int(optimizer.state[p]["mask"].sum())
        assert not torch.equal(mask, optimizer.state[p]["mask"])


def test_boolean_masks_survive_a_restart_bit_for_bit(tmp_path: Path) -> None:
    whole, parted = network(), network()
    train(whole, RigL(Optimizer().make(whole.parameters()), convolutions(whole), 5, 8), 0, 20)
    optimizer = RigL(Optimizer().make(parted.parameters()), convolutions(parted), 5, 8)
    train(parted, optimizer, 0, 10)
    saved = checkpoint.save(tmp_path, "x", {"net": parted.state_dict(), "optimizer": optimizer.state_dict()})
    state, again = checkpoint.load(*saved), network()
    optimizer = RigL(Optimizer().make(again.parameters()), convolutions(again), 5, 8)
    again.load_state_dict(state["net"])
    optimizer.load_state_dict(state["optimizer"])
    assert optimizer.state[again[0].weight]["mask"].dtype == torch.bool
    train(again, optimizer, 10, 20)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_a_method_may_evaluate_the_closure_more_than_once() -> None:
    class Twice(SparseOptimizer):
        def step(self, closure):  # type: ignore[no-untyped-def]
            closure()
            return super().step(closure)

    net, calls = network(), []
    optimizer = Twice(Optimizer().make(net.parameters()), 5, 1)

    def closure() -> Tensor:
        calls.append(1)
        optimizer.zero_grad()
        loss = net(torch.ones(1, 3, 8, 8)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert len(calls) == 2
    assert optimizer.steps == 1
