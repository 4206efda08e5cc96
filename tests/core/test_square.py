"""The Square attack: its budget, its schedule, its patterns, and that it needs no gradient."""

from fractions import Fraction

import pytest
import torch
import torchattacks
from torch import Tensor, nn

from core.attacks.square import Square, bumps, window
from core.device import generator
from core.threat import Threat

EPS = Fraction(1, 10)


class Counting(nn.Module):
    """A linear network that counts how often it saw each of the images, known by a mark, and wants no gradient of any."""

    def __init__(self, images: int, weight: float = 0.1) -> None:
        super().__init__()
        self.seen, self.weight = torch.zeros(images), weight

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, 10, 10) to logits (m, -m, 0): m falls with the brightness of the left half, and rises with the right's."""
        assert not torch.is_grad_enabled()
        assert not x.requires_grad
        self.seen += torch.bincount(self.image(x), minlength=len(self.seen))
        m = 0.5 - self.weight * (x[..., :5].sum((1, 2, 3)) - x[..., 5:].sum((1, 2, 3)))
        return torch.stack([m, -m, 0 * m], 1)

    def image(self, x: Tensor) -> Tensor:
        """Which image each is, told by its mean before any attack: they are 0.1, 0.3, 0.5 ... and none moves by 0.1."""
        return ((x.mean((1, 2, 3)) - 0.1) / 0.2).round().long()


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    levels = torch.tensor([0.1, 0.3, 0.5, 0.7])
    return levels.view(4, 1, 1, 1).expand(4, 1, 10, 10).clone(), torch.zeros(4, dtype=torch.long)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_no_image_is_seen_more_often_than_the_budget_allows_and_no_gradient_is_asked_for(images, norm: str) -> None:
    x, y = images
    net = Counting(4, weight=0.0)  # nothing fools it
    attack = Square(queries=60).within(Threat(norm=norm, eps=EPS))
    assert len(list(attack.search(net, x, y, generator("cpu", 0)))) == attack.turns(4) == 60
    assert net.seen.tolist() == [60] * 4


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_images_that_fool_are_left_alone_and_the_turns_are_as_promised(images, norm: str) -> None:
    x, y = images
    net = Counting(4, weight=0.1 if norm == "linf" else 1.0)
    attack = Square(queries=200).within(Threat(norm=norm, eps=EPS if norm == "linf" else Fraction(1, 2)))
    *_, moved = found = list(attack.search(net, x, y, generator("cpu", 0)))
    assert len(found) == 200
    assert net.seen.max() < 200
    with torch.no_grad():
        assert (net(moved).argmax(1) != y).all()


def test_an_image_of_a_batch_is_attacked_as_it_is_when_others_are_left(images) -> None:
    """The patches are drawn for the batch, so what is fooled early takes no draw away from the others."""
    x, y = images
    attack = Square(queries=30).within(Threat(eps=EPS))
    together = attack.perturb(Counting(4), x, y, generator("cpu", 0))
    others_done = torch.tensor([0, 1, 0, 1])  # the second and fourth are misjudged from the start
    apart = attack.perturb(Counting(4), x, others_done, generator("cpu", 0))
    assert torch.equal(apart[[0, 2]], together[[0, 2]])
    assert torch.equal(apart[[1, 3]], x[[1, 3]])


def test_the_share_of_a_square_is_halved_by_the_schedule_for_ten_thousand_queries_whatever_the_budget() -> None:
    theirs = torchattacks.Square(nn.Identity(), n_queries=500, resc_schedule=False, p_init=0.8)
    ours = Square(queries=500)
    for iteration in [0, 10, 11, 50, 51, 200, 201, 500, 501, 1000, 1001, 2001, 4001, 6001, 8001]:
        assert ours.share(iteration) == pytest.approx(theirs.p_selection(iteration))


@pytest.mark.parametrize("s", [3, 4, 5, 6, 13, 25])
def test_the_patterns_in_l2_are_the_papers_and_of_length_one(s: int) -> None:
    theirs = torchattacks.Square(nn.Identity()).eta(s)
    ours = [bumps(s, torch.zeros(()), generator("cpu", key)) for key in range(12)]
    assert all(torch.allclose(each, theirs) or torch.allclose(each, theirs.T) for each in ours)
    assert len({each[0, -1].item() > 0 for each in ours}) == 2, "lying and standing"
    assert all(abs(float(each.norm()) - 1) < 1e-6 for each in ours)


def test_every_pixel_can_be_reached() -> None:
    x, covered, stream = torch.zeros(1, 1, 5, 7), torch.zeros(1, 1, 5, 7), generator("cpu", 0)
    for _ in range(200):
        covered[window(x, 3, stream)] = 1
    assert covered.all()


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 2, 5), (2, 1, 9, 4)])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_small_and_oblong_images_are_attacked_within_the_ball(shape: tuple[int, ...], norm: str) -> None:
    torch.manual_seed(0)
    x, y = torch.rand(shape), torch.zeros(shape[0], dtype=torch.long)
    net = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 3))
    net[1].bias.data[0] += 5
    threat = Threat(norm=norm, eps=EPS)
    moved = Square(queries=40).within(threat).perturb(net, x, y, generator("cpu", 0))
    assert threat.distance(moved, x).max() <= 0.1 + 1e-6
    assert (moved != x).any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_whole_budget_is_used(images, norm: str) -> None:
    """Candidates lie at the ball's surface wherever the box lets them."""
    torch.manual_seed(0)
    x, y = torch.full((3, 2, 10, 10), 0.5), torch.zeros(3, dtype=torch.long)
    net = nn.Sequential(nn.Flatten(), nn.Linear(200, 3))
    net[1].bias.data[0] += 5
    threat = Threat(norm=norm, eps=EPS)
    moved = Square(queries=100).within(threat).perturb(net, x, y, generator("cpu", 0))
    torch.testing.assert_close(threat.distance(moved, x), torch.full((3,), 0.1), rtol=0, atol=1e-5)


def test_a_patch_in_l2_moves_the_length_of_one_window_to_another_and_leaves_the_rest() -> None:
    x = torch.full((2, 3, 10, 10), 0.5)
    attack, stream = Square().within(Threat(norm="l2", eps=EPS)), generator("cpu", 2)
    image = x + attack.threat.direction(torch.randn(x.shape, generator=stream)) / 10
    first, second = (window(x, 3, twin) for twin in [generator("cpu", 5)] * 2)
    moved = attack._exchanged(image, x, 3, generator("cpu", 5))
    emptied, rest = torch.zeros(x.shape, dtype=torch.bool), torch.ones(x.shape, dtype=torch.bool)
    emptied[second], rest[second], rest[first], emptied[first] = True, False, False, False
    assert emptied.any()
    assert (moved - x)[emptied].abs().max() == 0
    assert (moved - x)[first].abs().max() > 0.001
    torch.testing.assert_close(moved[rest], image[rest], rtol=0, atol=1e-6)
    for each in range(3):  # a channel's length stays its own
        before, after = (delta[:, each].flatten(1).norm(dim=1) for delta in (image - x, moved - x))
        torch.testing.assert_close(after, before, rtol=1e-4, atol=0)
