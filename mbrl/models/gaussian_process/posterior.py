"""`Posterior`: a Gaussian process given rows, exactly or by inducing values, as the few matrices that answer.

    symbol   code        shape        meaning
    Z        points      M x d        where the process is conditioned: the rows (M = N), or inducing points
    L        -           D x M x M    Cholesky factor of k(Z, Z) + Λ; Λ is σ² for rows, and a jitter for inducing points
    L⁻¹      inverse     D x M x M
    α        whitened    D x M        L⁻¹ times the mean of the values at Z
    C        spread      D x M x R    L C Cᵀ Lᵀ is the variance of the values at Z; R = 0 for rows, which are known

    mean k L⁻ᵀ α,  variance s² − |L⁻¹ kᵀ|² + |Cᵀ L⁻¹ kᵀ|²,  with k = k(z, Z)

Rasmussen2006: "Gaussian processes for machine learning" (MIT Press), alg. 2.1 and eq. 5.10–5.12.
Titsias2009: "Variational learning of inducing variables in sparse Gaussian processes" (AISTATS 2009), eq. 10.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl.errors import DivergedError
from mbrl.models.gaussian_process.data_sized import DataSized
from mbrl.models.gaussian_process.kernels import Hyperparameters, KernelName, covariance
from mbrl.models.gaussian_process.settings import JITTER, TRIES


@dataclass(frozen=True)
class PosteriorMoments:
    """Exact moments of one step by a Gaussian process, in environment units.

    Attributes:
        mean: `B x S`, of the next observation.
        var: `B x S`, of the next observation without its noise: what the process doesn't know.
        noise: `S`, variance of the noise.
        reward_mean: `B`, or None where the reward isn't learned.
        reward_var: `B`, or None likewise.
        reward_noise: a scalar, or None likewise.
    """

    mean: Tensor
    var: Tensor
    noise: Tensor
    reward_mean: Tensor | None = None
    reward_var: Tensor | None = None
    reward_noise: Tensor | None = None


class Posterior(DataSized):
    """`D` processes given data, in normalised units and float64; without data, the prior.

    Args:
        kernel: a name in `KernelName`.
        of: the hyperparameters.
        inputs: `d`.
    """

    lengthscale: Tensor
    signal: Tensor
    noise: Tensor
    points: Tensor
    inverse: Tensor
    whitened: Tensor
    spread: Tensor

    def __init__(self, kernel: KernelName, of: Hyperparameters, inputs: int) -> None:
        super().__init__()
        self.kernel: KernelName = kernel
        self._put(of, of.signal.new_zeros(0, inputs), *(of.signal.new_zeros(len(of.signal), *size) for size in _NOTHING))

    def _put(self, of: Hyperparameters, points: Tensor, inverse: Tensor, whitened: Tensor, spread: Tensor) -> None:
        self.put(lengthscale=of.lengthscale, signal=of.signal, noise=of.noise)
        self.put(points=points, inverse=inverse, whitened=whitened, spread=spread)

    @property
    def hyperparameters(self) -> Hyperparameters:
        """Lengthscales, signal and noise."""
        return Hyperparameters(self.lengthscale, self.signal, self.noise)

    # data ------------------------------------------------------------------------------------------------------------

    def condition(self, of: Hyperparameters, z: Tensor, y: Tensor) -> int:
        """Takes rows as they are; returns how many tries needed jitter.

        Args:
            of: the hyperparameters.
            z: inputs `N x d`.
            y: targets `N x D`.
        """
        root, retries = factorised(covariance(self.kernel, of, z, z), of.noise, of.signal)
        whitened = torch.linalg.solve_triangular(root, y.mT.unsqueeze(-1), upper=False).squeeze(-1)  # D x N
        self._put(of, z, _inverse(root), whitened, root.new_zeros(*whitened.shape, 0))
        return retries

    def condition_by(self, of: Hyperparameters, points: Tensor, z: Tensor, y: Tensor) -> int:
        """Takes rows through the best Gaussian of the values at inducing points [Titsias2009]; returns as `condition`.

        Args:
            of: the hyperparameters.
            points: inducing points `M x d`.
            z: inputs `N x d`.
            y: targets `N x D`.
        """
        root, retries = factorised(covariance(self.kernel, of, points, points), JITTER * of.signal, of.signal)
        across = torch.linalg.solve_triangular(root, covariance(self.kernel, of, points, z), upper=False)  # D x M x N
        noise = of.noise.view(-1, 1, 1)
        gram = torch.eye(len(points), dtype=root.dtype, device=root.device) + across @ across.mT / noise
        factor = torch.linalg.cholesky(gram)  # D x M x M; C Cᵀ = gram⁻¹
        whitened = torch.cholesky_solve(across @ y.mT.unsqueeze(-1) / noise, factor).squeeze(-1)  # D x M
        self._put(of, points, _inverse(root), whitened, _inverse(factor).mT.contiguous())
        return retries

    # answers ---------------------------------------------------------------------------------------------------------

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the noise-free outputs at `n x d`, `D x n` each."""
        across = covariance(self.kernel, self.hyperparameters, z, self.points) @ self.inverse.mT  # D x n x M
        mean = (across @ self.whitened.unsqueeze(-1)).squeeze(-1)
        var = self.signal.unsqueeze(-1) - across.square().sum(-1) + (across @ self.spread).square().sum(-1)
        return mean, var.clamp(min=0.0)

    def log_likelihood(self) -> Tensor:
        """The log marginal likelihood of the rows that it was conditioned on, per row, `D`."""
        rows = self.points.shape[0]
        size = 2 * self.inverse.diagonal(dim1=-2, dim2=-1).log().sum(-1)  # −log |K|
        log_two_pi = self.signal.new_tensor(2 * torch.pi).log()
        return 0.5 * (size - self.whitened.square().sum(-1) - rows * log_two_pi) / rows

    def left_out(self, y: Tensor) -> Tensor:
        """The mean at each row given all others, `N x D`, for the targets `N x D` of the condition [Rasmussen2006]."""
        weights = (self.inverse.mT @ self.whitened.unsqueeze(-1)).squeeze(-1)  # D x N, (K + σ²)⁻¹ y
        return y - (weights / self.inverse.square().sum(-2)).mT


_NOTHING = ((0, 0), (0,), (0, 0))  # sizes of inverse, whitened and spread without data, behind `D`


def factorised(matrix: Tensor, noise: Tensor, signal: Tensor) -> tuple[Tensor, int]:
    """The Cholesky factor of a matrix with noise on its diagonal, and how many tries needed jitter.

    Args:
        matrix: `D x M x M`.
        noise: `D`.
        signal: `D`, to which the jitter is relative.

    Raises:
        DivergedError: if there is none with the largest jitter either.
    """
    jitter = 0.0
    for tries in range(TRIES + 1):
        added = (noise + jitter * signal).unsqueeze(-1).expand(matrix.shape[:-1])  # D x M
        root, info = torch.linalg.cholesky_ex(matrix + torch.diag_embed(added))
        if not bool(info.any()):
            return root, tries
        jitter = JITTER * 10**tries
    raise DivergedError(
        f"GaussianProcess: expected a positive definite covariance matrix, got none with a jitter of {jitter / 10:g} "
        "either; raise noise_floor, or look for outliers in the data."
    )


def _inverse(root: Tensor) -> Tensor:
    """The inverse of triangular matrices `D x M x M`; batched LU would be wrong with two threads."""
    eye = torch.eye(root.shape[-1], dtype=root.dtype, device=root.device)
    return torch.linalg.solve_triangular(root, eye.expand_as(root), upper=False)
