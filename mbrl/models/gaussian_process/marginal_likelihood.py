"""Hyperparameters by gradient ascent on the marginal likelihood, or on its bound given inducing points.

Importing this imports gpytorch.

Rasmussen2006: "Gaussian processes for machine learning" (MIT Press), eq. 2.30.
Titsias2009: "Variational learning of inducing variables in sparse Gaussian processes" (AISTATS 2009), eq. 9.
Deisenroth2011: "PILCO: a model-based and data-efficient approach to policy search" (ICML 2011; authors' code: the curbs).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from gpytorch.constraints import GreaterThan, Positive
from gpytorch.distributions import MultivariateNormal
from gpytorch.kernels import Kernel, MaternKernel, RBFKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.means import ZeroMean
from gpytorch.models import ExactGP
from torch import Tensor
from torch.autograd import Function

from mbrl.activity import doing
from mbrl.models.gaussian_process.kernels import Hyperparameters, KernelName
from mbrl.models.gaussian_process.posterior import factorised
from mbrl.models.gaussian_process.settings import JITTER, exact_arithmetic

_LENGTH_WALL, _NOISE_WALL, _STEEP = math.log(100.0), math.log(1000.0), 30  # PILCO's curbs


class Process(ExactGP):
    """`D` independent processes with zero mean on the same inputs, as gpytorch has them.

    Args:
        kernel: a name in `KernelName`.
        z: inputs `N x d`, normalised.
        y: targets `N x D`, normalised.
        start: the hyperparameters to begin with.
        noise_floor: lower limit of σ².
    """

    def __init__(self, kernel: KernelName, z: Tensor, y: Tensor, start: Hyperparameters, noise_floor: float) -> None:
        outputs, inputs = start.lengthscale.shape
        batch = torch.Size([outputs])
        logarithm = {"transform": torch.exp, "inv_transform": torch.log}
        likelihood = GaussianLikelihood(batch_shape=batch, noise_constraint=GreaterThan(noise_floor, **logarithm))
        super().__init__(z.expand(outputs, *z.shape), y.mT.contiguous(), likelihood)
        options = {"ard_num_dims": inputs, "batch_shape": batch, "lengthscale_constraint": Positive(**logarithm)}
        base = RBFKernel(**options) if kernel == "rbf" else MaternKernel(nu=2.5, **options)
        self.mean_module = ZeroMean(batch_shape=batch)
        self.covar_module: Kernel = ScaleKernel(base, batch_shape=batch, outputscale_constraint=Positive(**logarithm))
        self.to(y)
        base.lengthscale = start.lengthscale.unsqueeze(1)
        self.covar_module.outputscale = start.signal
        likelihood.noise = start.noise.clamp(min=1.01 * noise_floor).unsqueeze(-1)

    def forward(self, z: Tensor) -> MultivariateNormal:
        return MultivariateNormal(self.mean_module(z), self.covar_module(z))

    @property
    def hyperparameters(self) -> Hyperparameters:
        """As they are now, with a graph."""
        kernel, noise = self.covar_module, self.likelihood.noise.squeeze(-1)
        return Hyperparameters(kernel.base_kernel.lengthscale.squeeze(1), kernel.outputscale, noise)


@dataclass(frozen=True)
class Found:
    """Hyperparameters, and how they were found.

    Attributes:
        hyperparameters: the last ones.
        log_likelihood: `D`, per row, of the last update but one, or of the start without updates; a bound of it if sparse.
        retries: factorisations that needed jitter.
    """

    hyperparameters: Hyperparameters
    log_likelihood: Tensor
    retries: int


def curb(of: Hyperparameters) -> Tensor:
    """Walls at lengthscales of 100 sd and at signals of 1000 times the noise, `D` [Deisenroth2011].

    Without them clean data drive the noise to 0 and the covariance matrix to a singular one.
    """
    length = (of.lengthscale.log() / _LENGTH_WALL).pow(_STEEP).sum(-1)
    return length + (0.5 * (of.signal / of.noise).log() / _NOISE_WALL).pow(_STEEP)


class LogDensity(Function):
    """The log density of values under a normal distribution with mean 0, `D`, and its gradient ½ (α αᵀ − K⁻¹).

    Half the time of differentiating the Cholesky factor, as gpytorch's marginal likelihood has it done.
    """

    @staticmethod
    def forward(ctx: Any, covariance: Tensor, noise: Tensor, signal: Tensor, y: Tensor, tries: list[int]) -> Tensor:
        """The density of `y` (`D x N`) under `covariance` (`D x N x N`) and noise (`D`); `tries` takes those with jitter."""
        root, retries = factorised(covariance, noise, signal)
        tries.append(retries)
        weights = torch.cholesky_solve(y.unsqueeze(-1), root).squeeze(-1)  # D x N
        ctx.save_for_backward(root, weights)
        log_two_pi = math.log(2 * math.pi)
        return -0.5 * ((y * weights).sum(-1) + y.shape[-1] * log_two_pi) - root.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients in covariance and noise."""
        root, weights = ctx.saved_tensors
        half = (
            0.5 * slopes[0].view(-1, 1, 1) * (weights.unsqueeze(-1) * weights.unsqueeze(-2) - torch.cholesky_inverse(root))
        )
        return half, half.diagonal(dim1=-2, dim2=-1).sum(-1), None, None, None


def exact_likelihood(process: Process, tries: list[int]) -> Callable[[], Tensor]:
    """The log marginal likelihood per row, `D` [Rasmussen2006].

    Args:
        process: of `N` rows.
        tries: takes how many tries of each factorisation needed jitter.
    """
    (z,), y = process.train_inputs, process.train_targets  # D x N x d, D x N

    def likelihood() -> Tensor:
        of = process.hyperparameters
        covariance = process.covar_module(z).to_dense()  # D x N x N
        density: Tensor = LogDensity.apply(covariance, of.noise, of.signal.detach(), y, tries)
        return density / y.shape[-1]

    return likelihood


def collapsed_bound(process: Process, points: Tensor, tries: list[int]) -> Callable[[], Tensor]:
    """The bound of it per row, `D`, in which the variational distribution of the inducing values is the best one.

    It is known in closed form [Titsias2009], so that nothing but hyperparameters is left to be found.

    Args:
        process: of `N` rows.
        points: inducing points `M x d`, normalised.
        tries: takes how many tries of each factorisation needed jitter.
    """
    (z,), y = process.train_inputs, process.train_targets  # D x N x d, D x N
    rows, spot = y.shape[-1], points.expand(z.shape[0], *points.shape)  # D x M x d

    def bound() -> Tensor:
        kernel, of = process.covar_module, process.hyperparameters
        sd = of.noise.sqrt()  # D
        root, retries = factorised(kernel(spot).to_dense(), JITTER * of.signal, of.signal)
        tries.append(retries)
        a = torch.linalg.solve_triangular(root, kernel(spot, z).to_dense(), upper=False) / sd.view(-1, 1, 1)  # D x M x N
        gram = a @ a.mT  # D x M x M
        factor = torch.linalg.cholesky(gram + torch.eye(len(points), dtype=gram.dtype, device=gram.device))
        c = torch.linalg.solve_triangular(factor, a @ y.unsqueeze(-1), upper=False).squeeze(-1) / sd.unsqueeze(-1)  # D x M
        left_out = rows * of.signal / of.noise - gram.diagonal(dim1=-2, dim2=-1).sum(-1)  # D
        fit = c.square().sum(-1) - y.square().sum(-1) / of.noise - left_out
        size = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1) + rows * (2 * math.pi * of.noise).log()
        return 0.5 * (fit - size) / rows

    return bound


def find_hyperparameters(
    kernel: KernelName,
    z: Tensor,
    y: Tensor,
    start: Hyperparameters,
    *,
    points: Tensor | None = None,
    updates: int = 60,
    lr: float = 0.1,
    noise_floor: float = 1e-6,
) -> Found:
    """Climbs from `start` by Adam, all outputs at once and none seeing another.

    Args:
        kernel: a name in `KernelName`.
        z: inputs `N x d`, normalised, float64.
        y: targets `N x D`, likewise.
        start: hyperparameters to begin with.
        points: inducing points `M x d`, or None for the exact likelihood.
        updates: Adam's steps.
        lr: their size, in logarithms of the hyperparameters.
        noise_floor: lower limit of σ².
    """
    tries: list[int] = []
    with exact_arithmetic(len(z)), torch.enable_grad():
        process = Process(kernel, z, y, start, noise_floor)
        value = exact_likelihood(process, tries) if points is None else collapsed_bound(process, points, tries)
        optimizer = torch.optim.Adam(process.parameters(), lr)
        reached = None
        for update in range(updates):
            doing("fitting, update {} of {}", update + 1, updates)
            optimizer.zero_grad()
            reached = value()
            (curb(process.hyperparameters) / len(z) - reached).sum().backward()
            optimizer.step()
        if reached is None:
            reached = value()
        last = process.hyperparameters
    doing("")
    found = Hyperparameters(last.lengthscale.detach(), last.signal.detach(), last.noise.detach())
    return Found(found, reached.detach(), sum(tries))
