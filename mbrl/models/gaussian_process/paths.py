"""`Paths`: functions drawn from a Gaussian process given data, each the same wherever and however often it is asked.

    symbol   code        shape        meaning
    E        members                  functions
    F        -                        features: cosines and sines of random frequencies
    w        weights     D x F x E    of the features: a function of the prior
    v        update      D x M x E    of the kernels at the points Z: what the data add

    f(z) = φ(z) w + k(z, Z) v,  v = L⁻ᵀ (α + C ξ − L⁻¹ (φ(Z) w + ε)),  w, ξ ~ N(0, 1),  ε ~ N(0, Λ)

Wilson2021: "Pathwise conditioning of Gaussian processes" (JMLR 2021), eq. 13 (Matheron's rule).
"""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl.models.gaussian_process.data_sized import DataSized
from mbrl.models.gaussian_process.kernels import KernelName, correlation, draw_frequencies, features
from mbrl.models.gaussian_process.posterior import Posterior
from mbrl.models.gaussian_process.settings import JITTER

_ROUNDING = 0.1  # of float32, over the noise's standard deviation, above which float64 is worth its time
_MEASURED = 200  # points at which it is measured


class Paths(DataSized):
    """Functions drawn from a posterior, in normalised units, made in float64 and asked in float32.

    Where data have little noise, kernels lie close together and v is large and of both signs, up to 10⁶ for values of 1,
    so that float32 rounds more than the process doubts. A draw measures that at its own points, and if rounding exceeds a
    tenth of the noise's standard deviation, kernels and their sum are computed in float64.

    Members share their frequencies; the rest is drawn for each. From two members on the draws are centred and widened, so
    that the members' mean is the posterior's to rounding, and the expectation of their (population) variance is the
    posterior's: each alone is still a draw, and the deviations of two correlate by −1/(E − 1).

    Args:
        posterior: what they are drawn from.
        members: `E`.
        frequencies: number of them, half of `F`.
        generator: what draws.
        chunk_rows: rows computed at once without gradients.
    """

    angles: Tensor  # d x F/2 in units of lengthscales
    lengthscale: Tensor  # D x 1 x d
    weights: Tensor
    update: Tensor
    ends: Tensor  # D x (d+1) x M, the scaled points and ones, for half squared distances by one product
    end_squares: Tensor  # D x 1 x M

    def __init__(
        self, posterior: Posterior, members: int, frequencies: int, generator: torch.Generator, chunk_rows: int = 200
    ) -> None:
        super().__init__()
        self.kernel: KernelName = posterior.kernel
        self.members = members
        self.frequencies = frequencies
        self.chunk_rows = chunk_rows
        self.draw(posterior, generator)

    @torch.no_grad()
    def draw(self, posterior: Posterior, generator: torch.Generator) -> None:
        """Draws all functions anew."""
        inputs, device = posterior.points.shape[-1], posterior.signal.device
        outputs, points, ranks = posterior.spread.shape

        def normal(rows: int) -> Tensor:
            shape = (outputs, rows, self.members)
            drawn = torch.randn(*shape, generator=generator, device=generator.device, dtype=torch.float64)
            if self.members > 1:
                drawn = (drawn - drawn.mean(-1, keepdim=True)) * (self.members / (self.members - 1)) ** 0.5
            return drawn.to(device)

        angles = draw_frequencies(self.kernel, inputs, self.frequencies, generator).to(device)
        scale = posterior.lengthscale.unsqueeze(1)  # D x 1 x d
        scaled = posterior.points / scale  # D x M x d
        weights = normal(2 * self.frequencies) * posterior.signal.sqrt().view(-1, 1, 1)
        noise = JITTER * posterior.signal if ranks else posterior.noise  # Λ: inducing values are drawn, rows are noisy
        noisy = features(scaled, angles) @ weights + normal(points) * noise.sqrt().view(-1, 1, 1)
        update = update_of(posterior, noisy, normal(ranks))
        self.put(angles=angles.float(), weights=(weights / self.frequencies**0.5).float())
        kernels = {
            "lengthscale": scale,
            "update": update * posterior.signal.view(-1, 1, 1),
            "ends": torch.cat((scaled, torch.ones_like(scaled[..., :1])), -1).mT.contiguous(),
            "end_squares": -0.5 * scaled.square().sum(-1).unsqueeze(1),
        }
        self.put(**{name: value.float() for name, value in kernels.items()})
        asked = posterior.points[:: -(-points // _MEASURED) or 1].float()
        rounded = self._values(asked, None)  # D x n x E
        self.put(**kernels)
        gap = (rounded - self._values(asked, None)).square().mean((1, 2)).sqrt()  # D
        if not bool((gap > _ROUNDING * posterior.noise.sqrt()).any()):
            self.put(**{name: value.float() for name, value in kernels.items()})

    def forward(self, z: Tensor, member: Tensor | None = None) -> Tensor:
        """The functions' values.

        Args:
            z: `B x d`, float32.
            member: `B` int64, whose value to give for each row; None for all.

        Returns:
            `D x B x E`, or `D x B` with `member`.
        """
        if torch.is_grad_enabled() or len(z) <= self.chunk_rows:
            return self._values(z, member)
        parts = [slice(start, start + self.chunk_rows) for start in range(0, len(z), self.chunk_rows)]
        return torch.cat([self._values(z[part], None if member is None else member[part]) for part in parts], 1)

    def _values(self, z: Tensor, member: Tensor | None) -> Tensor:
        scaled = z / self.lengthscale  # D x n x d, float64 where kernels are
        angles, half = scaled.to(self.angles.dtype) @ self.angles, self.frequencies  # D x n x F/2
        values = angles.cos() @ self.weights[:, :half]  # D x n x E
        values = torch.baddbmm(values, angles.sin(), self.weights[:, half:])
        begins = torch.cat((scaled, -0.5 * scaled.square().sum(-1, keepdim=True)), -1)  # D x n x (d+1)
        near = correlation(self.kernel, torch.baddbmm(self.end_squares, begins, self.ends))  # D x n x M
        values = torch.baddbmm(values.to(near.dtype), near, self.update).to(values.dtype)
        if member is None:
            return values
        return values.gather(-1, member.view(1, -1, 1).expand(values.shape[0], -1, 1)).squeeze(-1)


def update_of(posterior: Posterior, noisy: Tensor, values: Tensor) -> Tensor:
    """The weights v of the kernels at the points, which the data add to functions of the prior, `D x M x E`.

    Args:
        posterior: given the data.
        noisy: the functions' values at the points, and their noise, `D x M x E`.
        values: ξ, `D x R x E`.
    """
    wanted = posterior.whitened.unsqueeze(-1) + posterior.spread @ values - posterior.inverse @ noisy  # D x M x E
    return posterior.inverse.mT @ wanted
