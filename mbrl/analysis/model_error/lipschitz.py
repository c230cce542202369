"""`local_lipschitz`: how steep a function is around given points, by four estimates.

    gradient  the norm of the derivative at a point: the steepest slope there
    ball      the largest slope to points drawn at random from a small ball, which underestimates it in many dims
    pgd       the largest slope to a point of the ball that projected gradient ascent finds; at least that of `ball`
    pairs     the largest slope between two of the points themselves

With exact maximisation ball ≤ pgd ≤ the largest gradient within the ball. None of them is a certificate. The product of a
network's spectral norms is one, an order of magnitude too large where nothing constrains them; it asks for the inside of the
function, and is the model's to say (`HasLipschitzBound`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mbrl.arguments import Positive, check_argument, check_whole
from mbrl.errors import ShapeError

Norm = Literal["l2", "linf"]

_CLOSE = 1e-3  # pairs nearer than that say more about rounding than about slope
_INNER = 0.1  # of the radius: likewise


@dataclass(frozen=True)
class LipschitzEstimate:
    """Slopes of a function at `B` points.

    Attributes:
        gradient: `B`, NaN where the function isn't finite; None where it has no derivative.
        ball: likewise.
        pgd: likewise.
        pairs: the largest slope between two of the points, or None if all lie together.
    """

    ball: Tensor
    pairs: float | None
    gradient: Tensor | None = None
    pgd: Tensor | None = None

    def rows(self) -> dict[str, dict[str, float | None]]:
        """The `mean`, 95 % point `q95` and `max` over the points, by estimate."""
        found: dict[str, dict[str, float | None]] = {}
        for name, slopes in (("gradient", self.gradient), ("ball", self.ball), ("pgd", self.pgd)):
            known = torch.empty(0, dtype=torch.float64) if slopes is None else slopes[slopes.isfinite()]
            if not len(known):
                found[name] = {"mean": None, "q95": None, "max": None}
                continue
            found[name] = {
                "mean": float(known.mean()),
                "q95": float(torch.quantile(known, 0.95)),
                "max": float(known.max()),
            }
        found["pairs"] = {"mean": None, "q95": None, "max": self.pairs}
        return found


def local_lipschitz(
    function: Callable[[Tensor], Tensor],
    points: Tensor,
    *,
    generator: torch.Generator,
    differentiable: bool = True,
    radius: float = 0.1,
    draws: int = 32,
    steps: int = 20,
    permutations: int = 32,
    norm: Norm = "l2",
) -> LipschitzEstimate:
    """Estimates how fast `function` changes around each of `points`.

    Args:
        function: of `B x S`, `B x D` or `B`; each row's value depends on that row only. Distances of values are Euclidean.
        points: `B x S`, in coordinates in which a distance means something (standardised).
        generator: draws the ball's points and the pairs, on the points' device.
        differentiable: whether `function` is; if not, there are no `gradient` and `pgd`.
        radius: of the ball around each point; larger sees further, and less of the local slope.
        draws: points of a ball; more find steeper slopes.
        steps: of gradient ascent, a fifth of the radius each, from the best point drawn or the gradient's direction.
        permutations: pairs of each point.
        norm: of distances of points. `"linf"` takes functions to one number only.

    Raises:
        ConfigError: for a number out of range, or a norm that there isn't.
        ShapeError: if `"linf"` is asked of a function to several numbers.
    """
    check_argument("local_lipschitz(radius=…)", radius, Positive)
    check_argument("local_lipschitz(norm=…)", norm, Norm)
    for argument, given in (("draws", draws), ("steps", steps), ("permutations", permutations)):
        check_whole(f"local_lipschitz({argument}=…)", given)
    ball = _Ball(function, points.detach(), radius, norm)
    best = ball.random(generator, draws)
    pairs = ball.pairs(generator, permutations)
    slopes = torch.where(ball.fine, best.slope, torch.nan)
    if not differentiable:
        return LipschitzEstimate(slopes, pairs)
    gradient, direction = ball.gradient()
    for sign in (1.0, -1.0):
        best = best.better(ball.looked(sign * radius * direction))
    best = ball.ascended(best, steps)
    return LipschitzEstimate(slopes, pairs, gradient, torch.where(ball.fine, best.slope, torch.nan))


@dataclass
class _Found:
    """The steepest slope so far at each point, `B`, and the way to it, `B x S`."""

    slope: Tensor
    way: Tensor

    def better(self, other: _Found) -> _Found:
        """The steeper of both at each point; what isn't a number is steeper than nothing."""
        more = other.slope > self.slope  # B
        return _Found(torch.where(more, other.slope, self.slope), torch.where(more.unsqueeze(-1), other.way, self.way))


class _Ball:
    """A function around points."""

    def __init__(self, function: Callable[[Tensor], Tensor], points: Tensor, radius: float, norm: Norm) -> None:
        self.function, self.points, self.radius, self.norm = function, points, radius, norm
        with torch.no_grad():
            self.center = self.value(points)  # B x D
        if norm == "linf" and self.center.shape[1] > 1:
            size = self.center.shape[1]
            raise ShapeError(f"local_lipschitz(norm='linf'): expected a function to one number, got one to {size}; use l2.")
        self.fine = self.center.isfinite().all(-1) & points.isfinite().all(-1)  # B

    def value(self, points: Tensor) -> Tensor:
        value = self.function(points)
        return value.unsqueeze(-1) if value.ndim == 1 else value  # B x D

    def length(self, way: Tensor) -> Tensor:
        """The distance of a way, `B`."""
        return torch.linalg.vector_norm(way, dim=-1, ord=2 if self.norm == "l2" else torch.inf)

    def looked(self, way: Tensor, least: float = 0.0) -> _Found:
        """The slopes to the points at the ends of `way`; 0 where that is no further than `least`."""
        with torch.no_grad():
            # the way as it is between rounded points
            there = self.points + way
            distance = self.length(there - self.points)
            rise = torch.linalg.vector_norm(self.value(there) - self.center, dim=-1)
        slope = torch.where(distance > least, rise / distance, 0.0)
        return _Found(torch.where(slope.isfinite(), slope, 0.0), way)

    def random(self, generator: torch.Generator, draws: int) -> _Found:
        """The steepest of `draws` slopes to points drawn uniformly from the ball, without its inmost tenth."""
        best = _Found(torch.zeros_like(self.points[:, 0]), torch.zeros_like(self.points))
        for _ in range(draws):
            best = best.better(self.looked(self._drawn(generator)))
        return best

    def _drawn(self, generator: torch.Generator) -> Tensor:
        at = self.points
        if self.norm == "l2":
            way = torch.randn(at.shape, dtype=at.dtype, device=at.device, generator=generator)
        else:
            way = torch.rand(at.shape, dtype=at.dtype, device=at.device, generator=generator) * 2 - 1
        share = torch.rand(len(at), 1, dtype=at.dtype, device=at.device, generator=generator) ** (1 / at.shape[1])
        return way / self.length(way).unsqueeze(-1) * share.clamp_min(_INNER) * self.radius

    def pairs(self, generator: torch.Generator, permutations: int) -> float | None:
        """The steepest slope between two points; each row keeps whatever else its value depends on."""
        steepest: list[float] = []
        for _ in range(permutations):
            order = torch.randperm(len(self.points), generator=generator, device=self.points.device)
            found = self.looked(self.points[order] - self.points, _CLOSE)
            distance = self.length(found.way)
            known = self.fine & (distance > _CLOSE)
            if known.any():
                steepest.append(float(found.slope[known].max()))
        return max(steepest, default=None)

    def gradient(self) -> tuple[Tensor, Tensor]:
        """The derivative's norm at each point, `B`, and the way of length 1 along which it is taken, `B x S`."""
        with torch.enable_grad():
            points = self.points.clone().requires_grad_(True)
            value = self.value(points)  # B x D
            jacobian = torch.stack([_derivative(one.sum(), points) for one in value.unbind(1)], 1)  # B x D x S
        known = self.fine & jacobian.isfinite().all(-1).all(-1)  # B
        jacobian = torch.where(known[:, None, None], jacobian, 0.0)
        if self.norm == "linf":
            slope, way = jacobian[:, 0].abs().sum(-1), jacobian[:, 0].sign()
        elif jacobian.shape[1] == 1:
            slope = torch.linalg.vector_norm(jacobian[:, 0], dim=-1)
            way = jacobian[:, 0] / slope.clamp_min(torch.finfo(slope.dtype).tiny).unsqueeze(-1)
        else:
            _, sizes, ways = torch.linalg.svd(jacobian, full_matrices=False)
            slope, way = sizes[:, 0], ways[:, 0]
        return torch.where(known, slope, torch.nan), way

    def ascended(self, best: _Found, steps: int) -> _Found:
        """The steepest slope along projected gradient ascent from `best`, which is kept where nothing is steeper."""
        way = best.way
        for _ in range(steps):
            with torch.enable_grad():
                asked = way.clone().requires_grad_(True)
                rise = (self.value(self.points + asked) - self.center).square().sum()
                uphill = torch.nan_to_num(_derivative(rise, asked))  # B x S
            if self.norm == "l2":
                size = self.length(uphill).clamp_min(torch.finfo(uphill.dtype).tiny).unsqueeze(-1)
                way = way + self.radius / 5 * uphill / size
                way = way * (self.radius / self.length(way).clamp_min(self.radius)).unsqueeze(-1)
            else:
                way = (way + self.radius / 5 * uphill.sign()).clamp(-self.radius, self.radius)
            best = best.better(self.looked(way))
        return best


def _derivative(value: Tensor, points: Tensor) -> Tensor:
    """That of a scalar; 0 where it doesn't depend on the points at all."""
    if not value.requires_grad:
        return torch.zeros_like(points)
    (found,) = torch.autograd.grad(value, points, retain_graph=True, allow_unused=True)
    return torch.zeros_like(points) if found is None else found
