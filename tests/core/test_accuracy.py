"""Judging: fixed batches, noise that is never used twice, and intervals over images and over seeds."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from core.accuracy import Trial
from core.attacks.nattack import NAttack
from core.attacks.pgd import Pgd
from core.datasets.base import Split
from core.intervals import student, wilson
from core.noise import Stochastic
from core.threat import Threat


class Remembers(Stochastic):
    """Adds noise and remembers what it drew."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        noise = self.draw(x)
        self.drawn += list(noise.flatten(1))
        return x + 0.1 * noise


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.noise = Remembers()
        self.head = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.noise(x).flatten(1))


@pytest.fixture
def split() -> Split:
    stream = torch.Generator().manual_seed(0)
    return Split(
        torch.randint(256, (10, 1, 8, 8), dtype=torch.uint8, generator=stream),
        torch.randint(3, (10,), generator=stream),
    )


def run(trial: Trial) -> Trial:
    shares = list(trial)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    return trial


@pytest.mark.parametrize(
    "attack", [Pgd(steps=3), NAttack(population=4, iterations=3, checks=2)], ids=["pgd", "nattack"]
)
def test_the_judge_never_sees_noise_that_the_attack_saw(attack, split: Split) -> None:
    net, judged_from = Noisy(), []
    trial = Trial(net, split, attack.within(Threat()), 4, ("test",), draws=3, selecting=2)
    original = trial._judge

    def judge(x: Tensor, start: int, purpose: str, draws: int) -> Tensor:
        before = len(net.noise.drawn)
        found = original(x, start, purpose, draws)
        judged_from.extend(range(before, len(net.noise.drawn)))
        return found

    trial._judge = judge
    run(trial)
    drawn = [noise.numpy().tobytes() for noise in net.noise.drawn]
    assert len(set(drawn)) == len(drawn), "no draw is used twice, by attack or judge, in any batch"
    assert len(judged_from) == (3 + 2) * len(split)


def test_trials_of_different_names_share_no_noise(split: Split) -> None:
    drawn = []
    for key in ("one", "other"):
        net = Noisy()
        run(Trial(net, split, None, 4, (key,)))
        drawn.append({noise.numpy().tobytes() for noise in net.noise.drawn})
    assert not drawn[0] & drawn[1]


def test_the_same_trial_gives_the_same_answer(split: Split) -> None:
    one, other = (run(Trial(Noisy(), split, Pgd(steps=3).within(Threat()), 4, ("x",), 2)).right for _ in range(2))
    assert torch.equal(one, other)
    assert one.shape == (2, 10)


def test_a_trial_goes_on_behind_its_last_whole_batch(split: Split) -> None:
    def trial(net: nn.Module) -> Trial:
        return Trial(net, split, Pgd(steps=3).within(Threat()), 4, ("x",), draws=2, selecting=3, keep=7)

    whole, left = run(trial(Noisy())), trial(Noisy())
    for share in left:
        if share > 0.5:  # inside the second batch
            break
    again = trial(net := Noisy())
    again.go_on(left.state)
    run(again)
    assert left.judged == 4
    assert all(torch.equal(value, whole.state[name]) for name, value in again.state.items())
    assert whole.kept.shape == (7, 1, 8, 8)
    assert len(net.noise.drawn) == 6 * (3 + 4 + 3 + 2), "the first batch is not attacked again"


def test_accuracy_averages_over_draws(split: Split) -> None:
    trial = run(Trial(Noisy(), split, None, 4, ("x",), 5))
    assert trial.accuracy == pytest.approx(trial.right.float().mean().item())


@pytest.mark.parametrize(
    ("right", "images", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (50, 100, 0.4038, 0.5962), (384, 1000, 0.3543, 0.4145)],
)
def test_wilson_intervals_are_those_of_the_tables(right: int, images: int, low: float, high: float) -> None:
    found = wilson(right, images)
    assert found == pytest.approx((low, high), abs=2e-4)


@pytest.mark.parametrize("values", [[0.5, 0.6], [0.81, 0.79, 0.84, 0.8], [0.3] * 5])
def test_intervals_over_seeds_are_students(values: list[float]) -> None:
    n, mean, std, interval = student(values)
    assert (n, mean, std) == (len(values), pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1)))
    expected = stats.t.interval(0.95, n - 1, np.mean(values), stats.sem(values)) if std else (mean, mean)
    assert interval == pytest.approx(expected)


def test_one_seed_has_no_interval() -> None:
    assert student([0.7]) == (1, 0.7, None, None)
