"""Where and how exactly a run computes: keyed random streams, determinism, precision.

Randomness is never a state to be carried but a key to be named: `seed_of(job_seed, "train", epoch, batch)`. So a resumed
run draws what the uninterrupted one would have drawn, and the judge of an attack can never replay the attack's noise.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

Key = int | str
Precision = Literal["fp32", "bf16"]


def seed_of(*key: Key) -> int:
    """A 63-bit seed from a key: equal keys give equal streams, different keys unrelated ones."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(device: torch.device | str, *key: Key) -> torch.Generator:
    """A fresh random stream on `device` that belongs to `key`."""
    stream = torch.Generator(device=device)
    stream.manual_seed(seed_of(*key))
    return stream


def is_there(device: str) -> bool:
    """Whether this machine has a device."""
    return not device.startswith("cuda") or torch.cuda.is_available()


@contextmanager
def kept_rng() -> Iterator[None]:
    """Whatever is drawn inside, the global random generators go on as if nothing had been."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield


@contextmanager
def numerics(deterministic: bool) -> Iterator[None]:
    """fp32 without TF32 and, if asked, only deterministic kernels; the process's own settings come back afterwards.

    Fresh memory is not filled, as torch's deterministic mode does by default to expose reads of it: that took a tenth of
    the training time on a CPU, and no run reads what it has not written (the test of bit-for-bit resumption would see it).
    """
    memory = cast(Any, torch.utils.deterministic)  # its stubs leave the setting out
    before = (
        torch.backends.cudnn.allow_tf32,
        torch.backends.cuda.matmul.allow_tf32,
        torch.are_deterministic_algorithms_enabled(),
        memory.fill_uninitialized_memory,
    )
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.use_deterministic_algorithms(deterministic)
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.backends.cuda.matmul.allow_tf32 = before[1]
        torch.use_deterministic_algorithms(before[2])
        memory.fill_uninitialized_memory = before[3]


class Autocast(nn.Module):
    """A network computed in `precision`, with pixels in and logits out in fp32 whatever happens inside.

    Images, perturbations and steps therefore stay fp32, and no loss is ever taken of a bf16 logit.
    """

    def __init__(self, net: nn.Module, precision: Precision) -> None:
        super().__init__()
        self.net, self.precision = net, precision

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) pixels to (B, classes) logits."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            logits: Tensor = self.net(x)
        return logits.float()
