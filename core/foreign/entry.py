"""What is checked before a network is judged: that it maps images to logits, and what kind of network it is.

A network that cannot be judged raises `NetworkUnfit`. What only weakens a judgement becomes a check or a notice of the report.
AutoAttack looks for the same faults (Croce and Hein 2020, arXiv 2003.01690; its checks: randomness, probabilities instead of
logits, gradients of zero), and each image must be its own problem, or attacking one would change another.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from core.device import kept_rng
from core.errors import NetworkUnfit
from core.events import Checked
from core.foreign.blackbox import BlackBox
from core.modes import evaluating
from core.noise import Foreign, joint_layers, reseed, silent, stochastic_layers

FEW = 8
"""Images that are passed one by one, and differentiated."""
SAME = 1e-4
"""Two logits are the same up to this share of the largest one: AutoAttack's 1e-4, relative since scales differ."""


@dataclass
class Admitted:
    """A network as it will be judged, and what was found on entry. `net` may wrap the one that was given."""

    name: str
    net: nn.Module
    notices: list[str] = field(default_factory=list)
    checks: list[Checked] = field(default_factory=list)

    @property
    def black_box(self) -> str | None:
        """Why the network is known by its logits alone; None where it can be differentiated."""
        return next((module.why for module in self.net.modules() if isinstance(module, BlackBox)), None)

    @property
    def random(self) -> bool:
        """Whether two passes of the same image differ."""
        return bool(stochastic_layers(self.net))


def admit(net: nn.Module, name: str, x: Tensor, num_classes: int) -> Admitted:
    """Check `net`, in evaluation mode, on images (B, C, H, W) in [0, 1]. Modes and random generators are left as found."""
    found = Admitted(name, net)
    if any(module.training for module in net.modules()):
        found.notices.append("it was in training mode; it is judged in evaluation mode")
    with evaluating(net), kept_rng():
        reseed(net, "entry")
        logits = _logits(net, name, x, num_classes)
        found.net = _differentiable(_own_stream(net, found, x), name, x[:FEW])
        found.checks += [_probabilities(logits), *_independent(found, x)]
    if found.black_box:
        found.notices.append(f"it is known by its logits alone: {found.black_box}")
    return found


@torch.no_grad()
def _logits(net: nn.Module, name: str, x: Tensor, num_classes: int) -> Tensor:
    """One pass, from which nothing but finite fp32 logits of the right shape may come."""
    shape, given = " x ".join(map(str, x.shape)), x.clone()
    takes = f"It must take images of {shape} with pixels in [0, 1] in fp32, and normalise them itself."
    try:
        logits = net(given)
    except Exception as error:  # somebody else's code may raise anything
        words = " ".join(str(error).split())[:300]
        raise NetworkUnfit(name, f"it fails on images of {shape}: {type(error).__name__}: {words}", takes) from error
    right = f"It must return logits of shape {len(x)} x {num_classes}, a torch tensor in fp32."
    if not isinstance(logits, Tensor):
        raise NetworkUnfit(name, f"it returns an object of type {type(logits).__name__}", right)
    if logits.shape != (len(x), num_classes):
        raise NetworkUnfit(name, f"it returns a shape of {' x '.join(map(str, logits.shape))}", right)
    if logits.dtype != torch.float32:
        raise NetworkUnfit(name, f"it returns numbers of type {logits.dtype}", right)
    if not logits.isfinite().all():
        wrong = int((~logits.isfinite()).flatten(1).any(1).sum())
        raise NetworkUnfit(name, f"of {len(x)} images {wrong} have logits that are not finite", takes)
    if not torch.equal(given, x):
        raise NetworkUnfit(name, "it changes the images that it is handed", "Let it work on a copy of them.")
    return logits


@torch.no_grad()
def _own_stream(net: nn.Module, found: Admitted, x: Tensor) -> nn.Module:
    """The network; a random one that has no stream of its own is given one."""
    if stochastic_layers(net):
        found.notices.append("it is random: a pass draws noise")
        return net
    if _apart(net(x), net(x)) <= SAME:
        return net
    drawn, passes = Foreign(net), []
    for _ in range(2):
        reseed(drawn, "entry")
        passes.append(drawn(x))
    found.notices.append("it is random: two passes of the same images differ")
    if _apart(*passes) > SAME:
        found.notices.append(
            "its randomness is not that of torch's generators, so that no figure can be repeated exactly"
        )
    return drawn


def _differentiable(net: nn.Module, name: str, x: Tensor) -> nn.Module:
    """The network, or a black box where its logits lead back to no pixel."""
    pixels = x.detach().clone().requires_grad_()
    reseed(net, "entry")
    if any(isinstance(module, BlackBox) for module in net.modules()):
        return net
    try:
        with torch.enable_grad():
            logits = net(pixels)
            linked = logits.requires_grad
            slope = torch.autograd.grad(logits.sum(), pixels, allow_unused=True)[0] if linked else None
    except RuntimeError as error:
        words = " ".join(str(error).split())[:300]
        remedy = "It must be differentiable in its images: no change in place, no gradient called inside."
        raise NetworkUnfit(name, f"its gradient to the pixels fails: {words}", remedy) from error
    if slope is not None:
        return net
    return BlackBox(net, name, "its logits are cut off from its pixels, by no_grad or detach").to(x.device)


def _probabilities(logits: Tensor) -> Checked:
    """Attacks want logits: where a softmax has rounded to 0 and 1, gradients are gone."""
    shares = (logits >= 0).all(1) & ((logits.sum(1) - 1).abs() < 1e-3)
    value = 100 * float(shares.float().mean())
    words = "The outputs are not probabilities, as it should be."
    if value:
        words = "The outputs look like probabilities. Give the logits before the softmax, which attacks can use better."
    return _checked("logits", value, 0, 100, "% of images", words, len(logits))


@torch.no_grad()
def _independent(found: Admitted, x: Tensor) -> Iterator[Checked]:
    """The logits of an image must be the same alone as in a batch."""
    if isinstance(found.net, Foreign):
        found.notices.append("whether the images of a batch influence one another cannot be told, since it is random")
        return
    if joint_layers(found.net):
        found.notices.append("its noise takes its scale from the whole batch: images influence one another through it")
    with silent(found.net):
        together = found.net(x)[:FEW]
        alone = torch.cat([found.net(image[None]) for image in x[:FEW]])
    apart = _apart(together, alone)
    words = f"The logits of an image are the same alone and in a batch of {len(x)}."
    if apart > SAME:
        words = f"The logits of an image change with the batch it is in ({len(x)} images): it is not a network of one image."
    yield _checked("independent_images", apart, SAME, SAME, "of the largest logit", words, len(together))


def _apart(a: Tensor, b: Tensor) -> float:
    """The largest difference of a logit, as a share of the largest logit."""
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-12))


def _checked(check: str, value: float, passes: float, fails: float, unit: str, words: str, images: int) -> Checked:
    return Checked(
        check=check,
        value=value,
        passes=passes,
        fails=fails,
        unit=unit,
        images=images,
        verdict="passed" if value <= passes else "failed" if value > fails else "warnings",
        words=words,
    )
