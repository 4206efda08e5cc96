"""Queries: how often an attack asks about each image, against counts that are known beforehand."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from core.accuracy import Trial, most_said
from core.attacks.autoattack import Autoattack
from core.attacks.base import Attack
from core.attacks.cw_reference import CwReference
from core.attacks.eot import Eot
from core.attacks.fgsm import Fgsm
from core.attacks.ifgsm import Ifgsm
from core.attacks.nattack import NAttack
from core.attacks.pgd import Pgd
from core.attacks.spsa import Spsa
from core.attacks.square import Square
from core.attacks.torchattacks import Torchattacks
from core.attacks.transfer import Transfer
from core.counting import about, counted
from core.datasets.base import Split
from core.models.enresnet import EnResNet
from core.noise import Expectation, Quiet
from core.threat import Threat

SMALL = Threat(eps=Fraction(1, 100))
N = 6


class Falls(nn.Module):
    """Errs on image i from its call number `at[i]` on; the images are grey, each darker than the next by 0.1."""

    def __init__(self, at: list[int]) -> None:
        super().__init__()
        self.at, self.calls, self.rows = torch.tensor(at), 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls, self.rows = self.calls + 1, self.rows + len(x)
        image = (10 * x.detach().mean((1, 2, 3))).round().long() - 1
        wrong = (self.at[image] <= self.calls).float()
        return torch.stack([1 - wrong, wrong, wrong - 2, wrong - 3], 1) + 0 * x.sum((1, 2, 3))[:, None]


def grey() -> Split:
    x = torch.full((N, 1, 4, 4), 255) * torch.arange(1, N + 1).view(-1, 1, 1, 1) // 10
    return Split(x.to(torch.uint8), torch.zeros(N, dtype=torch.int64))


def queries(net: nn.Module, attack: Attack, split: Split, size: int = N, on: nn.Module | None = None) -> list[int]:
    trial = Trial(net, split, attack, size, ("x",), draws=3, crafted_on=on, selecting=2)
    for _ in trial:
        pass
    return trial.queries.tolist()


STANDS = [10**6] * N


@pytest.mark.parametrize(
    ("attack", "expected"),
    [
        (Fgsm().within(SMALL), 1),
        (Ifgsm(steps=20).within(SMALL, "last"), 20),
        (Ifgsm(steps=20).within(SMALL), 20 + 1 + 20),
        (Pgd(steps=5, restarts=3).within(SMALL, "last"), 3 * 5 + 3),
        (CwReference(steps=7).within(SMALL), 1 + 7),
        (Square(queries=33).within(SMALL), 33),
        (NAttack(population=10, iterations=6, checks=3, looks=2).within(SMALL), 2 + 6 * 10 + 3 * 2),
        (Spsa(directions=8, iterations=4).within(SMALL), 1 + 4 * (2 * 8 + 1)),
        (Autoattack(steps=5, targets=3, queries=9).within(SMALL), 1 + (1 + 6) + (1 + 3 * 6) + (1 + 3 * 10) + 9 + 4),
        (Torchattacks(attack="PGD", settings={"steps": 5}).within(SMALL), 5),
    ],
)
def test_of_images_that_stand_the_queries_are_known(attack: Attack, expected: int) -> None:
    """A step that follows a gradient asks once, and so does each look at a candidate. Judging is no query."""
    assert queries(Falls(STANDS), attack, grey(), size=4) == [expected] * N


def test_an_image_that_fell_at_a_query_is_asked_about_no_more() -> None:
    at = [1, 2, 5, 9, 19, 10**6]
    assert queries(Falls(at), Square(queries=20).within(SMALL), grey()) == [1, 2, 5, 9, 19, 20]


def test_a_black_box_that_searches_for_a_few_images_at_once_ends_where_they_have_fallen() -> None:
    attack = Spsa(directions=128, iterations=3).within(SMALL)
    assert attack.together == 2
    at = [1, 1, 10**6, 1, 10**6, 10**6]
    assert queries(Falls(at), attack, grey()) == [1, 1, *[1 + 3 * 257] * 4]


@pytest.mark.parametrize("name", ["Square", "Pixle"])
def test_a_class_of_torchattacks_shares_all_that_it_asks_evenly(name: str) -> None:
    net, split = Falls([1, 2, 30, 10**6, 10**6, 10**6]), grey()
    short = {"Square": {"n_queries": 9}, "Pixle": {"max_iterations": 3, "restarts": 2}}[name]
    found = queries(net, Torchattacks(attack=name, settings=short).within(SMALL), split)
    asked = net.rows - N * (3 + 2)  # without the judging draws
    assert set(found) == {round(asked / N)}
    assert asked > N


@pytest.fixture(scope="module")
def noisy() -> nn.Module:
    return EnResNet(depth=8, members=1, noise=0.1).create(4, 1, 0).eval()


@pytest.fixture(scope="module")
def split() -> Split:
    stream = torch.Generator().manual_seed(0)
    return Split(torch.randint(256, (N, 1, 8, 8), dtype=torch.uint8, generator=stream), torch.arange(N) % 4)


def test_every_draw_of_an_average_counts(noisy: nn.Module, split: Split) -> None:
    ifgsm = Ifgsm(steps=4)
    assert queries(noisy, ifgsm.within(SMALL, "last"), split) == [4] * N
    assert queries(noisy, ifgsm.within(SMALL, "last"), split, on=Expectation(noisy, 3)) == [12] * N
    assert queries(noisy, Eot(attack=ifgsm, draws=5).within(SMALL), split) == [5 * (4 + 1 + 4)] * N
    square = Square(queries=6).within(SMALL)
    assert queries(noisy, square, split, on=Expectation(noisy, 3)) == [18] * N
    rand = Autoattack(version="rand", steps=1).within(SMALL)
    assert queries(noisy, rand, split) == [20 * (1 + 2 * (1 + 2 + 1))] * N


def test_what_is_asked_of_a_twin_counts_and_what_is_asked_of_another_network_does_not(
    noisy: nn.Module, split: Split
) -> None:
    twin = Transfer.model_validate({"name": "transfer", "attack": {"name": "square", "queries": 9}, "from": "noise_free_twin"})  # fmt: skip
    assert queries(noisy, twin.within(SMALL), split) == [9] * N
    stored = twin.model_copy(update={"source": "0" * 64}).within(SMALL)
    assert queries(noisy, stored.reading(lambda _: noisy), split) == [0] * N


def test_questions_about_some_of_some_are_put_to_the_right_images(split: Split) -> None:
    net, queries = counted(Expectation(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), 2), split.x)
    assert isinstance(net, Expectation)
    x = split.x / 255
    some = about(Quiet(about(net, torch.tensor([1, 3, 5]))), torch.tensor([0, 2]))
    some(x[[1, 5, 1, 5]])
    assert queries.tolist() == [0, 4, 0, 0, 0, 4]
    about(net, slice(2, 4))(x[2:4])
    assert queries.tolist() == [0, 4, 2, 2, 0, 4]
    assert about(net, torch.tensor([], dtype=torch.int64))(x[:0]).shape == (0, 4)
    assert queries.tolist() == [0, 4, 2, 2, 0, 4], "a question about no image counts nothing"
    plain = nn.Identity()
    assert about(plain, slice(0, 2)) is plain


def test_of_several_draws_the_class_said_most_often_is_told_and_of_equals_the_true_one() -> None:
    judged = torch.tensor([[0, 1, 2, 3], [0, 1, 3, 1], [1, 2, 3, 3], [1, 2, 0, 1]])
    assert most_said(judged, torch.tensor([1, 2, 0, 1])).tolist() == [1, 2, 3, 1]
    assert most_said(judged[:1], torch.tensor([3, 3, 3, 3])).tolist() == [0, 1, 2, 3]


def test_class_and_distance_are_those_of_what_was_judged(split: Split) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    for threat in (Threat(eps=Fraction(1, 10)), Threat(norm="l2", eps=Fraction(1, 2))):
        trial = Trial(net, split, Pgd(steps=3).within(threat, "last"), 4, ("x",), keep=N)
        for _ in trial:
            pass
        delta = (trial.kept - split.x / 255).flatten(1)
        expected = delta.abs().amax(1) if threat.norm == "linf" else delta.norm(dim=1)
        torch.testing.assert_close(trial.distance, expected)
        assert torch.equal(trial.predicted, net(trial.kept).argmax(1))
    clean = Trial(net, split, None, 4, ("x",))
    for _ in clean:
        pass
    assert torch.equal(clean.predicted, net(split.x / 255).argmax(1))
    assert (clean.distance.tolist(), clean.queries.tolist()) == ([0.0] * N, [0] * N)
