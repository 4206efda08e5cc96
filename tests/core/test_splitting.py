"""RVSM, RGSM and ADMM on problems whose solution is known, and their update rules written out."""

import math

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from core import proximal
from core.channels import weights
from core.errors import InvalidSpec
from core.models.lenet5 import LeNet5
from core.optimizers import Optimizer
from core.schedules import Schedule
from core.sparsifiers.admm import Admm
from core.sparsifiers.base import SparseOptimizer, Sparsifier, Stage
from core.sparsifiers.rgsm import Rgsm
from core.sparsifiers.rvsm import Rvsm

PLAIN = Optimizer(lr=0.05, momentum=0.0, nesterov=False, weight_decay=0.0)


def quadratic(
    sparsifier: Sparsifier, target: Tensor, steps: int, base: Optimizer = PLAIN, stage: str = "train"
) -> tuple[Tensor, SparseOptimizer, nn.Parameter]:
    """Minimise (1/2) ||w - target||^2 with a sparsifier; returns its sparse solution."""
    net = nn.Conv2d(target.shape[1], target.shape[0], target.shape[2], bias=False).double()
    optimizer = sparsifier.optimizer(net, base, 10**9, Stage(stage, 1, base.lr))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (net.weight - target).square().sum() / 2 + sparsifier.penalty(net)
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)
    return optimizer.sparse(net.weight), optimizer, net.weight


@pytest.fixture
def target() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(4, 6, 3, 3, dtype=torch.float64) * torch.linspace(0.02, 1.5, 6, dtype=torch.float64).view(
        1, 6, 1, 1
    )


@pytest.mark.parametrize("pull", ["outside_momentum", "inside_momentum"])
def test_rvsm_with_l1_reaches_its_closed_form_solution(target: Tensor, pull: str) -> None:
    """w + beta (w - u) = b with u = soft(w, lam/beta): w = b/(1 + beta) where |b| <= lam (1 + 1/beta), else b - lam sgn b."""
    lam, beta = 0.3, 2.0
    rvsm = Rvsm(prox="l1", lam=lam, beta=beta, pull=pull, replace="never")
    u, _, w = quadratic(rvsm, target, 2000)
    dead = target.abs() <= lam * (1 + 1 / beta)
    expected = torch.where(dead, target / (1 + beta), target - lam * target.sign())
    torch.testing.assert_close(w.data, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(u, proximal.soft(expected, lam / beta), rtol=0, atol=1e-9)
    assert torch.equal(u == 0, dead)


def test_rvsm_tends_to_the_lasso_as_beta_grows(target: Tensor) -> None:
    lam, beta = 0.3, 300.0
    base = PLAIN.model_copy(update={"lr": 2e-3})
    u, _, _ = quadratic(Rvsm(prox="l1", lam=lam, beta=beta, replace="never"), target, 10_000, base)
    lasso = proximal.soft(target, lam)
    assert (u - lasso).abs().max() <= lam / beta + 1e-6


@pytest.mark.parametrize(
    ("groups", "size_weight", "size"),
    [("conv_input_channels", "none", 1), ("conv_input_channels", "sqrt", 4 * 9), ("conv_filters", "sqrt", 6 * 9)],
)
def test_rgsm_with_the_group_lasso_reaches_its_closed_form_solution(
    target: Tensor, groups: str, size_weight: str, size: int
) -> None:
    """That of lambda1 sum_g sqrt(|g|) ||u_g||, or without the factor, around an orthonormal design."""
    if groups == "conv_filters":
        target = target * torch.tensor([0.05, 0.4, 1.0, 2.0]).view(4, 1, 1, 1)
    lam, beta = 1.0, 2.0
    settings = {"lambda1": lam / math.sqrt(size), "lambda2": 0.0, "beta": beta, "groups": groups}
    rgsm = Rgsm(prox="group_lasso", size_weight=size_weight, replace="never", min_groups=0, **settings)
    u, _, w = quadratic(rgsm, target, 2000)
    axes = proximal.FILTERS if groups == "conv_filters" else proximal.INPUT_CHANNELS
    norms = proximal.group_norms(target, axes)
    dead = norms <= lam * (1 + 1 / beta)
    expected = torch.where(dead, target / (1 + beta), target * (1 - lam / norms))
    torch.testing.assert_close(w.data, expected, rtol=0, atol=1e-9)
    assert torch.equal(proximal.group_norms(u, axes) == 0, dead)
    assert dead.any()
    assert not dead.all()


def test_rgsm_with_the_transformed_l1_stays_where_its_gradient_is_zero(target: Tensor) -> None:
    """w - b + beta (w - u) = 0 with u on the ray of w, its norm the scalar operator's."""
    lam, beta, a = 1.0, 2.0, 0.7
    rgsm = Rgsm(prox="group_transformed_l1", lambda1=lam, lambda2=0.0, beta=beta, a=a, replace="never", min_groups=0)
    u, _, w = quadratic(rgsm, target, 4000)
    torch.testing.assert_close(w.data - target + beta * (w.data - u), torch.zeros_like(u), rtol=0, atol=1e-8)
    norms = proximal.group_norms(w.data, proximal.INPUT_CHANNELS)
    shrunk = proximal.transformed_l1(norms, lam / beta, a)
    torch.testing.assert_close(u, w.data / norms * shrunk, rtol=0, atol=1e-12)
    assert 0 < int((shrunk == 0).sum()) < shrunk.numel()


@pytest.mark.parametrize(("size_weight", "factor"), [("none", 1.0), ("sqrt", 6.0)])
def test_lambda2_of_rgsm_is_a_group_lasso_on_w(target: Tensor, size_weight: str, factor: float) -> None:
    """The minimiser of (1/2)||w - b||^2 + lambda2 sum_g ||w_g|| is b_g (1 - lambda2/||b_g||)+, up to the smoothing 1e-8."""
    rgsm = Rgsm(lambda1=0.0, lambda2=1.0 / factor, size_weight=size_weight, replace="never")
    _, _, w = quadratic(rgsm, target, 3000, PLAIN.model_copy(update={"lr": 0.01}))
    expected = proximal.group_soft(target, 1.0, proximal.INPUT_CHANNELS)
    assert (proximal.group_norms(w.data - expected, proximal.INPUT_CHANNELS)).max() < 0.05
    alive = proximal.group_norms(expected, proximal.INPUT_CHANNELS) > 0.3
    torch.testing.assert_close(w.data[:, alive.flatten()], expected[:, alive.flatten()], rtol=0, atol=1e-6)


@pytest.mark.parametrize("structure", ["unstructured", "filter", "column", "channel"])
def test_admm_reaches_the_best_sparse_approximation(structure: str) -> None:
    torch.manual_seed(5)
    groups = {"filter": (4, 1, 1, 1), "channel": (1, 6, 1, 1), "column": (1, 6, 3, 3)}.get(structure, (4, 6, 3, 3))
    half = torch.arange(math.prod(groups))[torch.randperm(math.prod(groups))].view(groups) % 2
    target = (torch.rand(4, 6, 3, 3, dtype=torch.float64) + 1) * (half + 0.05)  # half of the groups are far smaller
    admm = Admm(structure=structure, sparsity=0.5, rho=1.0, rho_growth=1.0)
    net = nn.Conv2d(6, 4, 3, bias=False).double()
    optimizer = admm.optimizer(net, PLAIN, 50, Stage("admm", 60, 0.05))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (net.weight - target).square().sum() / 2
        loss.backward()
        return loss

    for _ in range(3000):
        optimizer.step(closure)
    optimizer.finalize()
    torch.testing.assert_close(net.weight.data, admm.project(target, 0.5), rtol=0, atol=1e-4)


def test_one_step_of_rvsm_is_the_published_one() -> None:
    """w <- w - lr g - lr beta (w - u); u <- hard(w, lam/beta): the pull with the u of the batch before."""
    torch.manual_seed(1)
    start, target = torch.randn(2, 3, 1, 1, dtype=torch.float64), torch.randn(2, 3, 1, 1, dtype=torch.float64)
    rvsm, lr = Rvsm(lam=0.05, beta=0.4), PLAIN.lr
    net = nn.Conv2d(3, 2, 1, bias=False).double()
    net.weight.data.copy_(start)
    optimizer = rvsm.optimizer(net, PLAIN, 10**9, Stage("train", 1, lr))
    w, u = start.clone(), proximal.hard(start, 0.05 / 0.4)
    for _ in range(3):

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = (net.weight - target).square().sum() / 2
            loss.backward()
            return loss

        optimizer.step(closure)
        w = w - lr * (w - target) - lr * 0.4 * (w - u)
        u = proximal.hard(w, 0.05 / 0.4)
        torch.testing.assert_close(net.weight.data, w, rtol=0, atol=1e-14)
        torch.testing.assert_close(optimizer.state[net.weight]["u"], u, rtol=0, atol=1e-14)


def test_the_pull_is_outside_the_momentum_or_inside_it() -> None:
    """With a zero gradient and momentum, the pull moves w by lr beta gap each step outside, and builds up inside."""
    base = Optimizer(lr=0.1, momentum=0.9, nesterov=False, weight_decay=0.0)
    moved = {}
    for pull in ("outside_momentum", "inside_momentum"):
        net = nn.Conv2d(1, 1, 1, bias=False)
        net.weight.data.fill_(0.01)
        rvsm = Rvsm(lam=1.0, beta=0.5, pull=pull)  # threshold 2: u = 0
        optimizer = rvsm.optimizer(net, base, 10**9, Stage("train", 1, 0.1))

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = 0 * net.weight.sum()
            loss.backward()
            return loss

        for _ in range(2):
            optimizer.step(closure)
        moved[pull] = net.weight.item()
    assert moved["outside_momentum"] == pytest.approx(0.01 * 0.95**2)
    first, second = 0.1 * 0.5 * 0.01, 0.9 * 0.5 * 0.01 + 0.5 * 0.01 * 0.95
    assert moved["inside_momentum"] == pytest.approx(0.01 - first - 0.1 * second)


def test_at_the_end_of_an_epoch_w_becomes_u() -> None:
    torch.manual_seed(2)
    net = nn.Conv2d(4, 4, 3)
    rvsm = Rvsm(lam=0.01, beta=1.0)
    optimizer = rvsm.optimizer(net, PLAIN, 3, Stage("train", 2, 0.05))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = 0.1 * net.weight.sum()  # every weight moves at every step
        loss.backward()
        return loss

    for step in range(1, 7):
        optimizer.step(closure)
        assert bool((net.weight == 0).any()) == (step % 3 == 0)


def test_thresholds_are_those_of_the_papers() -> None:
    w = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    for beta, published in ((0.01, 0.01414), (0.1, 0.00447), (0.5, 0.002)):
        assert w[Rvsm(lam=1e-6, beta=beta).split(w) != 0].min().item() == pytest.approx(published, abs=2e-5)
    for lambda1, published in ((0.01, 0.141), (0.05, 0.316), (0.1, 0.447)):
        rgsm = Rgsm(lambda1=lambda1, min_groups=0)
        norms = w.view(1, -1, 1, 1)[:, ::100]
        alive = rgsm.split(norms).flatten() != 0
        assert norms.flatten()[alive].min().item() == pytest.approx(published, abs=2e-3)


def test_a_larger_beta_lowers_the_threshold() -> None:
    assert math.sqrt(2 * 1e-6 / 0.5) < math.sqrt(2 * 1e-6 / 0.01)
    w = torch.full((1,), 0.005)
    assert Rvsm(lam=1e-6, beta=0.5).split(w) == w
    assert Rvsm(lam=1e-6, beta=0.01).split(w) == 0


def test_u_of_admm_is_divided_when_rho_grows() -> None:
    torch.manual_seed(4)
    duals = []
    for growth in (1.0, 2.0):
        net = nn.Conv2d(3, 2, 1, bias=False)
        net.weight.data.copy_(torch.tensor([[1.0, 2, 3], [4, 5, 6]]).view(2, 3, 1, 1))
        optimizer = Admm(sparsity=0.5, rho_growth=growth).optimizer(net, PLAIN, 1, Stage("admm", 2, 0.05))
        with torch.no_grad():
            optimizer.end_epoch()
        duals.append(optimizer.state[net.weight]["U"])
    torch.testing.assert_close(duals[0], 2 * duals[1])
    assert duals[0].abs().sum() > 0


def test_shares_that_are_not_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must add up to 1, not 1\.5"):
        Admm(shares=(0.5, 0.5, 0.5))


def test_shares_without_admm_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the second must be above 0"):
        Admm(shares=(0.5, 0, 0.5))


@pytest.mark.parametrize("shares", [(0.98, 0.01, 0.01), (0.5, 0.25, 0.25), (0.0, 0.1, 0.9)])
@pytest.mark.parametrize("epochs", [1, 2, 3, 10])
def test_however_short_the_training_admm_cuts(shares: tuple[float, float, float], epochs: int) -> None:
    assert "admm" in [stage.name for stage in Admm(shares=shares).stages(epochs, 0.1)]


@pytest.mark.parametrize("name", ["multistep", "cosine", "linear", "onecycle", "constant"])
def test_by_default_rho_stays_where_the_descent_is_stable(name: str) -> None:
    """Nesterov's momentum 0.9 is stable on a quadratic up to lr rho of about 1.36."""
    stage = next(stage for stage in Admm().stages(2000, 0.1) if stage.name == "admm")
    optimizer = Admm().optimizer(nn.Conv2d(3, 2, 1), PLAIN, 1, stage)
    optimizer.steps = stage.epochs
    schedule = TypeAdapter(Schedule).validate_python({"name": name})
    factors = [schedule.factor(epoch, 2000) for epoch in range(2000)]
    assert optimizer.rho * stage.lr * max(factors) < 1.36


def test_rho_grows_at_updates_alone() -> None:
    optimizer = Admm(rho=0.5, rho_growth=2.0, update_every=3).optimizer(
        nn.Conv2d(3, 2, 1), PLAIN, 4, Stage("admm", 9, 0.05)
    )
    found = []
    for optimizer.steps in (0, 11, 12, 23, 24):
        found.append(optimizer.rho)
    assert found == [0.5, 0.5, 1.0, 1.0, 2.0]


def test_only_convolutions_are_split() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    for method in (Rvsm(), Rgsm(), Admm()):
        stage = method.stages(8, 0.1)[-1]
        chosen = [p for p, _ in method.optimizer(net, PLAIN, 1, stage).chosen()]
        assert len(chosen) == 1
        assert chosen[0] is net[0].weight


def test_admm_prunes_the_linear_layers_too_each_by_its_own_share() -> None:
    """Zhang et al.'s LeNet: 80, 92, 99.1 and 93 % of its four layers, 430,500 weights to 6,050, a seventy-first."""
    admm = Admm(layers="all", sparsity=(0.8, 0.92, 0.991, 0.93))
    net = LeNet5(widths="20-50-500").create(10, 1, 0)
    optimizer = admm.optimizer(net, PLAIN, 1, Stage("admm", 2, 0.05))
    optimizer.finalize()
    assert [int((w != 0).sum()) for w in weights(net)] == [100, 2000, 3600, 350]
    assert sum(w.numel() for w in weights(net)) / 6050 == pytest.approx(71.2, abs=0.05)
    after = admm.optimizer(net, PLAIN, 1, Stage("finetune", 2, 0.05))
    assert [id(p) for p, _ in after.chosen()] == [id(w) for w in weights(net)]


def test_a_list_of_shares_for_another_number_of_layers_is_refused_with_both_counts() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 2))
    wrong = Admm(sparsity=(0.1, 0.2, 0.3))
    with pytest.raises(InvalidSpec, match="/sparsifier/sparsity: lists 3 shares, but this network has 2 layers"):
        wrong.optimizer(net, PLAIN, 1, wrong.stages(8, 0.1)[0])
    wrong.model_copy(update={"layers": "all"}).optimizer(net, PLAIN, 1, Stage("admm", 1, 0.1))


def test_linear_layers_have_no_groups() -> None:
    with pytest.raises(ValueError, match="layers: all goes with structure: unstructured alone, not with filter"):
        Admm(layers="all", structure="filter")
