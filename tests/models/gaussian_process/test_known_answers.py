"""Published answers of Gaussian processes, and what the fast forms here must equal."""

from __future__ import annotations

import copy
import math
import subprocess
import sys

import gpytorch
import pytest
import torch
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.models import ApproximateGP
from gpytorch.variational import CholeskyVariationalDistribution, VariationalStrategy
from torch import Tensor

from mbrl.data import make_generator
from mbrl.models.gaussian_process.kernels import Hyperparameters, KernelName, covariance, features
from mbrl.models.gaussian_process.marginal_likelihood import (
    Process,
    collapsed_bound,
    exact_likelihood,
    find_hyperparameters,
)
from mbrl.models.gaussian_process.paths import Paths, update_of
from mbrl.models.gaussian_process.posterior import Posterior
from mbrl.models.gaussian_process.settings import exact_arithmetic
from tests.models.gaussian_process.cart_pole import cart_pole

KERNELS: list[KernelName] = ["rbf", "matern52"]
D, INPUTS = 3, 4


def normal(*shape: int, name: str = "data") -> Tensor:
    return torch.randn(*shape, generator=make_generator("cpu", name, shape), dtype=torch.float64)


def some(outputs: int = D, inputs: int = INPUTS, noise: float = 0.01) -> Hyperparameters:
    generator = make_generator("cpu", "hyperparameters")
    draw = torch.rand(outputs, inputs + 1, generator=generator, dtype=torch.float64) + 0.5
    return Hyperparameters(2 * draw[:, :inputs], draw[:, inputs], torch.full((outputs,), noise, dtype=torch.float64))


def conditioned(of: Hyperparameters, z: Tensor, y: Tensor, kernel: KernelName = "rbf") -> Posterior:
    posterior = Posterior(kernel, of, z.shape[-1])
    assert posterior.condition(of, z, y) == 0
    return posterior


def by_gpytorch(of: Hyperparameters, z: Tensor, y: Tensor, at: Tensor, kernel: KernelName = "rbf") -> tuple[Tensor, Tensor]:
    with exact_arithmetic(len(z)), torch.no_grad():
        process = Process(kernel, z, y, of, 1e-8)
        process.eval()
        said = process(at.expand(len(of.signal), *at.shape))
        return said.mean, said.variance


@pytest.mark.check("gp-1")
def test_one_point() -> None:
    of = Hyperparameters(*(torch.tensor(value, dtype=torch.float64) for value in ([[0.7]], [3.0], [0.5])))
    one = torch.ones(1, 1, dtype=torch.float64)
    mean, var = conditioned(of, 0 * one, 2 * one)(0.4 * one)
    k = 3 * math.exp(-0.5 * (0.4 / 0.7) ** 2)
    assert mean.item() == pytest.approx(2 * k / 3.5, abs=1e-15)
    assert var.item() == pytest.approx(3 - k**2 / 3.5, abs=2e-15)


@pytest.mark.check("gp-2")
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_cached_matrices_answer_as_gpytorch(kernel: KernelName) -> None:
    of, z, y, at = some(), normal(50, INPUTS), normal(50, D), normal(70, INPUTS, name="new")
    posterior = conditioned(of, z, y, kernel)
    mean, var = posterior(at)
    other_mean, other_var = by_gpytorch(of, z, y, at, kernel)
    assert (mean - other_mean).abs().max() < 1e-10
    assert (var - other_var).abs().max() < 1e-10
    single = copy.deepcopy(posterior).float()
    for exact, rounded in zip((mean, var), single(at.float()), strict=True):
        assert (exact - rounded).abs().max() < 1e-4


@pytest.mark.check("gp-3")
def test_limits_far_from_data_and_without_noise() -> None:
    of, z, y = some(noise=1e-6), normal(30, INPUTS), normal(30, D)
    posterior = conditioned(of, z, y)
    mean, var = posterior(z[:5] + 60 * of.lengthscale.max())
    assert mean.abs().max() < 1e-12
    assert (var - of.signal.unsqueeze(-1)).abs().max() < 1e-12
    assert (posterior(z)[0].mT - y).abs().max() < 2e-3 * y.std()


GUARD = """
import sys
import torch
torch.set_num_threads(1)
first, second = ("gpytorch", "botorch") if sys.argv[1] == "after" else ("botorch", "gpytorch")
__import__(first)
if sys.argv[1] != "never":
    __import__(second)
from gpytorch import settings
from mbrl.models.gaussian_process.kernels import Hyperparameters, covariance
from mbrl.models.gaussian_process.marginal_likelihood import Process, find_hyperparameters
from mbrl.models.gaussian_process.posterior import Posterior
from mbrl.models.gaussian_process.settings import exact_arithmetic
watched = [settings.max_cholesky_size, settings.cholesky_max_tries, settings.max_eager_kernel_size]
before = [one.value() for one in watched] + [settings.fast_computations.solves.on(), settings.fast_pred_var.on()]
generator = torch.Generator().manual_seed(0)
z = torch.rand(850, 4, generator=generator, dtype=torch.float64)
y = (3 * z).sin().sum(-1, keepdim=True) + 0.04 * torch.randn(850, 1, generator=generator, dtype=torch.float64)
at = torch.rand(100, 4, generator=generator, dtype=torch.float64)
of = Hyperparameters(*(torch.tensor(value, dtype=torch.float64) for value in ([[0.5] * 4], [1.0], [2e-3])))
K, k = covariance("rbf", of, z, z)[0] + 2e-3 * torch.eye(850).double(), covariance("rbf", of, at, z)[0]
L = torch.linalg.cholesky(K)
mean = k @ torch.cholesky_solve(y, L)[:, 0]
var = 1 - torch.linalg.solve_triangular(L, k.mT, upper=False).square().sum(0)
density = torch.distributions.MultivariateNormal(torch.zeros(850).double(), scale_tril=L).log_prob(y[:, 0]) / 850
with exact_arithmetic(850), torch.no_grad():
    process = Process("rbf", z, y, of, 1e-8)
    process.eval()
    said = process(at[None])
    answers = [(said.mean[0], said.variance[0])]
found = find_hyperparameters("rbf", z, y, of, updates=0, noise_floor=1e-8)
posterior = Posterior("rbf", of, 4)
posterior.condition(of, z, y)
answers.append(tuple(part[0] for part in posterior(at)))
for got_mean, got_var in answers:
    assert (got_mean - mean).abs().max() < 1e-8 and (got_var - var).abs().max() < 1e-8
assert abs(found.log_likelihood.item() - density.item()) < 1e-8
after = [one.value() for one in watched] + [settings.fast_computations.solves.on(), settings.fast_pred_var.on()]
assert before == after, (before, after)
print("equal")
"""


@pytest.mark.check("gp-4")
@pytest.mark.parametrize("botorch", ["before", "after"])
def test_answers_do_not_depend_on_what_botorch_did_to_the_settings(botorch: str) -> None:
    done = subprocess.run([sys.executable, "-c", GUARD, botorch], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout.strip() == "equal", done.stderr


@pytest.mark.check("gp-5")
@pytest.mark.timeout(60)  # what is wrong with two threads may hang instead
def test_batches_are_solved_as_single_matrices_with_two_threads() -> None:
    z, y, of, threads = normal(200, INPUTS), normal(200, 4), some(4), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        together = conditioned(of, z, y)
        for number in range(4):
            own = Hyperparameters(*(value[number : number + 1] for value in vars(of).values()))
            alone = conditioned(own, z, y[:, number : number + 1])
            for name in ("inverse", "whitened"):
                assert (getattr(together, name)[number] - getattr(alone, name)[0]).abs().max() < 1e-10
    finally:
        torch.set_num_threads(threads)


class Variational(ApproximateGP):
    """gpytorch's own sparse process, with its inducing points at the rows."""

    def __init__(self, process: Process, z: Tensor) -> None:
        law = CholeskyVariationalDistribution(len(z), batch_shape=process.train_targets.shape[:1])
        points = z.expand(process.train_targets.shape[0], *z.shape).clone()
        super().__init__(VariationalStrategy(self, points, law, learn_inducing_locations=False, jitter_val=1e-6))
        self.mean_module, self.covar_module = process.mean_module, process.covar_module

    forward = Process.forward


@pytest.mark.check("gp-6")
def test_a_sparse_process_with_a_point_at_each_row_is_the_exact_one() -> None:
    of, z, y, at = some(noise=0.05), normal(30, INPUTS), normal(30, D), normal(40, INPUTS, name="new")
    sparse = Posterior("rbf", of, INPUTS)
    assert sparse.condition_by(of, z, z, y) == 0
    for one, other in zip(sparse(at), conditioned(of, z, y)(at), strict=True):
        assert (one - other).abs().max() < 2e-6
    # the published optimum, in gpytorch's strategy
    process = Process("rbf", z, y, of, 1e-8)
    with exact_arithmetic(30), torch.no_grad():
        own = Variational(process, z).double()
        root = torch.linalg.cholesky(covariance("rbf", of, z, z) + 1e-6 * torch.eye(30))
        law = own.variational_strategy._variational_distribution
        spread = torch.cholesky_inverse(torch.linalg.cholesky(torch.eye(30) + root.mT @ root / 0.05))
        law.variational_mean.copy_((spread @ root.mT @ y.mT.unsqueeze(-1)).squeeze(-1) / 0.05)
        law.chol_variational_covar.copy_(torch.linalg.cholesky(spread))
        own.variational_strategy.variational_params_initialized.fill_(1)
        own.eval()
        said = own(at.expand(D, *at.shape))
    mean, var = sparse(at)
    assert (said.mean - mean).abs().max() < 1e-4  # its jitter is larger
    assert (said.variance - var).abs().max() < 1e-4


def test_the_bound_with_a_point_at_each_row_is_the_likelihood_and_fewer_points_say_less() -> None:
    of, z, y = some(noise=0.05), normal(30, INPUTS), normal(30, D)
    process = Process("rbf", z, y, of, 1e-8)
    with exact_arithmetic(30), torch.no_grad():
        likelihood = exact_likelihood(process, [])()
        assert (collapsed_bound(process, z, [])() - likelihood).abs().max() < 1e-5
        assert (collapsed_bound(process, z[:10], [])() < likelihood).all()


def test_the_likelihood_and_its_gradient_are_gpytorchs() -> None:
    of, z, y = some(), normal(40, INPUTS), normal(40, D)
    process = Process("rbf", z, y, of, 1e-8)
    with exact_arithmetic(40):
        objective = ExactMarginalLogLikelihood(process.likelihood, process)
        theirs = objective(process(*process.train_inputs), process.train_targets)
        found = [
            (said.detach(), *torch.autograd.grad(said.sum(), list(process.parameters())))
            for said in (exact_likelihood(process, [])(), theirs)
        ]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


def drawn(posterior: Posterior, members: int, frequencies: int = 512) -> Paths:
    return Paths(posterior, members, frequencies, make_generator("cpu", "paths"))


def smooth(noise: float) -> tuple[Posterior, Tensor]:
    """A process of long lengthscales given 300 rows of a function that it knows well, and further inputs in float32."""
    z = normal(300, INPUTS)
    of = Hyperparameters(
        torch.full((1, INPUTS), 5.0).double(), torch.tensor([10.0]).double(), torch.tensor([noise]).double()
    )
    return conditioned(of, z, (0.5 * z.sum(-1, keepdim=True)).sin()), normal(200, INPUTS, name="new").float()


@pytest.mark.parametrize("noise", [1e-6, 1e-5, 1e-4, 1e-2])
def test_rounding_is_less_than_what_a_process_doubts_and_float64_is_only_where_it_needs_it(noise: float) -> None:
    """The weights of the kernels reach a million and cancel; float32's sum of them was wrong by up to 11 at values of 1."""
    posterior, at = smooth(noise)
    paths = drawn(posterior, 20)
    with torch.no_grad():
        said = paths(at)
        assert said.dtype is torch.float32
        gap = (said.mean(-1) - posterior(at.double())[0]).square().mean().sqrt()
    assert gap < 0.1 * noise**0.5
    assert paths.update.dtype is (torch.float32 if noise == 1e-2 else torch.float64)
    other = drawn(smooth(1e-2)[0], 20)
    other.load_state_dict(paths.state_dict())
    with torch.no_grad():
        assert torch.equal(other(at), said), "a checkpoint has the precision too"
    moved = at.clone().requires_grad_()
    (slope,) = torch.autograd.grad(paths(moved)[..., 0].sum(), moved)
    assert slope.dtype is torch.float32 and bool(slope.isfinite().all())


@pytest.mark.check("gp-7")
def test_a_path_without_prior_and_noise_is_the_mean() -> None:
    of, z, y, at = some(), normal(50, INPUTS), normal(50, D), normal(20, INPUTS, name="new")
    for sparse in (False, True):
        posterior = conditioned(of, z, y)
        if sparse:
            posterior.condition_by(of, z[:20], z, y)
        points, ranks = posterior.spread.shape[1:]
        update = update_of(posterior, y.new_zeros(D, points, 1), y.new_zeros(D, ranks, 1)).squeeze(-1)  # D x M
        path = (covariance("rbf", of, at, posterior.points) @ update.unsqueeze(-1)).squeeze(-1)
        assert (path - posterior(at)[0]).abs().max() < 1e-12


@pytest.mark.check("gp-7")
def test_paths_of_the_features_own_kernel_are_bayesian_linear_regression() -> None:
    """Each path is affine in (w, ε), so that its moments are exact sums over the basis of those."""
    z, y, at, noise = normal(12, INPUTS), normal(12, 1), normal(5, INPUTS, name="new"), 0.3
    phi, new = (features(points, normal(INPUTS, 4, name="frequencies")) for points in (z, at))  # 12 x 8, 5 x 8
    root = torch.linalg.cholesky(phi @ phi.mT + noise * torch.eye(12).double())
    posterior = Posterior("rbf", some(1), INPUTS)
    inverse = torch.linalg.inv(root)
    posterior.put(points=z, inverse=inverse[None], whitened=(inverse @ y).mT, spread=y.new_zeros(1, 12, 0))
    weights = torch.cat((torch.zeros(8, 1), torch.eye(8), torch.zeros(8, 12)), 1).double()  # 8 x (1 + 8 + 12)
    errors = noise**0.5 * torch.cat((torch.zeros(12, 9), torch.eye(12)), 1).double()
    update = update_of(posterior, (phi @ weights + errors)[None], y.new_zeros(1, 0, 21))[0]
    values = new @ weights + new @ phi.mT @ update  # 5 x 21
    steps = values[:, 1:] - values[:, :1]
    gram = torch.linalg.inv(torch.eye(8).double() + phi.mT @ phi / noise)
    assert (values[:, :1] - new @ gram @ phi.mT @ y / noise).abs().max() < 1e-10
    assert (steps @ steps.mT - new @ gram @ new.mT).abs().max() < 1e-10


@pytest.mark.check("gp-8")
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_path_is_a_function_and_paths_differ(kernel: KernelName) -> None:
    of, z, y, at = some(), normal(50, INPUTS), normal(50, D), normal(20, INPUTS, name="new").float()
    paths = drawn(conditioned(of, z, y, kernel), 2000)
    with torch.no_grad():
        first, far = paths(at), paths(at + 60)
        assert torch.equal(first, paths(at))
    assert len(first[0, 0].unique()) > 1900
    ratio = far.var(-1) / of.signal.unsqueeze(-1)
    assert ((ratio > 0.8) & (ratio < 1.25)).all()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("sparse", [False, True])
def test_the_members_have_the_posteriors_moments(kernel: KernelName, sparse: bool) -> None:
    of, z, y, at = some(noise=0.05), normal(50, INPUTS), normal(50, D), normal(40, INPUTS, name="new")
    posterior = conditioned(of, z, y, kernel)
    if sparse:
        posterior.condition_by(of, z[:20], z, y)
    mean, var = posterior(at)
    with torch.no_grad():
        few, many = drawn(posterior, 4)(at.float()), drawn(posterior, 4000)(at.float())
    assert (few.mean(-1) - mean).abs().max() < 1e-4  # of any number of members, since they are centred
    assert ((many - mean.unsqueeze(-1)).square().mean(-1) / var).mean().item() == pytest.approx(1, abs=0.05)
    everyone = torch.cat([Paths(posterior, 4, 64, make_generator("cpu", seed))(at.float()) for seed in range(100)], -1)
    spread = everyone.unflatten(-1, (100, 4)).var(-1, unbiased=False).mean(-1)
    assert (spread / var).mean().item() == pytest.approx(1, abs=0.1)


@pytest.mark.check("gp-12")
@pytest.mark.parametrize("sparse", [False, True])
def test_outputs_are_fitted_as_if_each_were_alone(sparse: bool) -> None:
    z, y = normal(30, INPUTS), normal(30, D)
    y[:, 0] += z[:, 0].sin()
    points = z[:10] if sparse else None
    together = find_hyperparameters("rbf", z, y, Hyperparameters.initial(D, INPUTS), points=points, updates=20)
    for number in range(D):
        start, mine = Hyperparameters.initial(1, INPUTS), y[:, number : number + 1]
        alone = find_hyperparameters("rbf", z, mine, start, points=points, updates=20)
        for name, value in vars(together.hyperparameters).items():
            assert (value[number] - getattr(alone.hyperparameters, name)[0]).abs().max() < 1e-8


@pytest.mark.check("gp-13")
def test_more_rows_at_once_or_later_are_the_same() -> None:
    of, z, y, at = some(), normal(40, INPUTS), normal(40, D), normal(20, INPUTS, name="new")
    with exact_arithmetic(40), gpytorch.settings.detach_test_caches(True), torch.no_grad():
        process = Process("rbf", z[:30], y[:30], of, 1e-8)
        process.eval()
        process(at.expand(D, *at.shape))
        later = process.get_fantasy_model(z[30:].expand(D, 10, INPUTS), y[30:].mT)
        said = later(at.expand(D, *at.shape))
        mean, var = conditioned(of, z, y)(at)
        assert (said.mean - mean).abs().max() < 1e-10
        assert (said.variance - var).abs().max() < 1e-10


@pytest.mark.check("gp-14")
def test_units_and_the_order_of_rows_change_nothing() -> None:
    of, z, y, at = some(), normal(40, INPUTS), normal(40, D), normal(20, INPUTS, name="new")
    mean, var = conditioned(of, z, y)(at)
    order = torch.randperm(40, generator=make_generator("cpu", "order"))
    for one, other in zip((mean, var), conditioned(of, z[order], y[order])(at), strict=True):
        assert (one - other).abs().max() < 1e-10
    c = 7.3
    scaled = Hyperparameters(of.lengthscale, c**2 * of.signal, c**2 * of.noise)
    larger_mean, larger_var = conditioned(scaled, z, c * y)(at)
    torch.testing.assert_close(larger_mean, c * mean, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(larger_var, c**2 * var, rtol=1e-10, atol=1e-10)


@pytest.mark.check("gp-15")
def test_a_cart_pole_is_learned_from_300_rows() -> None:
    (z, y), (at, truth) = cart_pole(300, 0), cart_pole(1000, 1)
    at, truth = (at - z.mean(0)) / z.std(0), (truth - y.mean(0)) / y.std(0)
    z, y = (z - z.mean(0)) / z.std(0), (y - y.mean(0)) / y.std(0)
    found = find_hyperparameters("rbf", z, y, Hyperparameters.initial(4, 6))
    posterior = conditioned(found.hyperparameters, z, y)
    mean, var = posterior(at)
    error = mean.mT - truth
    assert (error.square().mean(0).sqrt() < 0.06).all()
    inside = error.abs() < 1.96 * (var + posterior.noise.unsqueeze(-1)).sqrt().mT
    coverage = inside.double().mean(0)
    assert ((coverage >= 0.9) & (coverage <= 1)).all()
