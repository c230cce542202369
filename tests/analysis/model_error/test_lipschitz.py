"""Local slopes: exact for linear functions, ordered for others, and never above what is known to bound them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from mbrl.analysis.model_error.lipschitz import local_lipschitz
from mbrl.data import default_draws, make_generator
from mbrl.errors import ConfigError, ShapeError

W = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def points(number: int = 64, size: int = 3) -> Tensor:
    return torch.randn(number, size, generator=make_generator("cpu", "points"), dtype=torch.float64)


def slopes(function, at=None, **options):
    return local_lipschitz(function, points() if at is None else at, generator=make_generator("cpu", 0), **options)


@pytest.mark.check("lipschitz-D1")
@pytest.mark.parametrize("radius", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize(("norm", "order"), [("l2", 2), ("linf", 1)])
def test_a_linear_function_has_the_dual_norm_of_its_weights(norm, order, radius: float) -> None:
    """‖w‖₂ against Euclidean distances, ‖w‖₁ against the largest coordinate's, whatever the ball."""
    found = slopes(lambda x: x @ W, norm=norm, radius=radius)
    length = float(torch.linalg.vector_norm(W, ord=order))
    assert torch.allclose(found.gradient, torch.full_like(found.gradient, length), rtol=1e-12)
    assert torch.allclose(found.pgd, torch.full_like(found.pgd, length), rtol=1e-9)
    assert float(found.ball.max()) <= length * (1 + 1e-9) and found.pairs <= length * (1 + 1e-9)
    line = slopes(lambda x: 3.0 * x[:, 0], points(size=1), norm=norm, radius=radius)  # every way is the steepest
    for estimate in (line.gradient, line.ball, line.pgd):
        assert torch.allclose(estimate, torch.full_like(estimate, 3.0), rtol=1e-9)
    assert line.pairs == pytest.approx(3.0)


def test_a_linear_map_has_its_largest_singular_value() -> None:
    matrix = torch.randn(4, 3, generator=make_generator("cpu", "map"), dtype=torch.float64)
    found, length = slopes(lambda x: x @ matrix.T), float(torch.linalg.matrix_norm(matrix, 2))
    assert torch.allclose(found.gradient, torch.full_like(found.gradient, length), rtol=1e-12)
    assert torch.allclose(found.pgd, torch.full_like(found.pgd, length), rtol=1e-9)
    assert length > float(found.ball.max()) > 0.9 * length  # 32 ways in 3 dims


def test_one_random_way_sees_the_mean_cosine_of_the_slope() -> None:
    """E|cos θ| = Γ(n/2) / (√π Γ((n+1)/2)) for a uniform direction in n dims: about a third in 6."""
    w = torch.randn(6, generator=make_generator("cpu", "w"), dtype=torch.float64)
    found = slopes(lambda x: x @ w, points(20_000, 6), draws=1)
    expected = math.gamma(3) / (math.sqrt(math.pi) * math.gamma(3.5))
    assert float(found.ball.mean() / w.norm()) == pytest.approx(expected, rel=0.02)


def test_estimates_of_a_network_are_ordered() -> None:
    """ball ≤ pgd ≪ the product of norms, and the size that a fresh 6-256-256-1 network is known to have."""
    with default_draws(0):
        network = nn.Sequential(nn.Linear(6, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 1)).double()
    network.requires_grad_(False)
    at = points(256, 6)
    found = slopes(network, at, draws=1)
    assert bool((found.ball <= found.pgd).all())
    bound = math.prod(float(torch.linalg.matrix_norm(layer.weight, 2)) for layer in network[::2])
    assert float(found.gradient.max()) < bound / 5
    assert float(found.gradient.mean()) == pytest.approx(0.087, rel=0.35)  # one other seed's
    assert float(found.ball.mean() / found.gradient.mean()) == pytest.approx(0.029 / 0.087, rel=0.15)
    assert float(found.pgd.mean() / found.gradient.mean()) > 0.95
    assert found.pairs < float(found.gradient.max())


def test_no_slope_exceeds_the_steepest_gradient_in_the_ball() -> None:
    """sin w·x: within the ball the phase goes |w| r to either side, and the gradient is |w| |cos| of it."""
    w, radius = 4 * W, 0.1
    found = slopes(lambda x: torch.sin(x @ w), radius=radius)
    phase, reach = points() @ w, float(w.norm()) * radius
    phases = phase + torch.linspace(-reach, reach, 1001, dtype=torch.float64)[:, None]  # 1001 x B
    steepest = float(w.norm()) * phases.cos().abs().amax(0)
    assert bool((found.ball <= found.pgd).all()) and bool((found.pgd <= steepest * (1 + 1e-6)).all())
    assert bool((found.gradient <= steepest * (1 + 1e-12)).all())
    assert float((found.pgd / steepest).min()) > 0.5  # the slope of the chord to the steepest end
    assert bool((found.pgd > found.gradient).any())  # where the centre is flat


def test_gradient_ascent_finds_what_chance_and_the_centre_miss() -> None:
    """A ridge at one side of the ball: the slope at its centre is 0.1, that towards the ridge more."""

    def ridge(x: Tensor) -> Tensor:
        return 0.1 * x[:, 0] + 50 * torch.relu(x[:, 0] - 0.05) + 0 * x[:, 1:].sum(-1)

    found = slopes(ridge, torch.zeros(8, 20, dtype=torch.float64), draws=1)
    assert torch.allclose(found.gradient, torch.full_like(found.gradient, 0.1))
    steepest = 0.1 + 50 * 0.05 / 0.1  # at the ball's edge
    assert torch.allclose(found.pgd, torch.full_like(found.pgd, steepest), rtol=1e-9)
    assert float(found.ball.max()) < 0.5 * steepest


def test_gradient_ascent_climbs_where_the_centre_is_flat() -> None:
    """cos w·x at 0, in 20 dims: the gradient is 0 there, and chance hardly moves along w."""
    w = torch.randn(20, generator=make_generator("cpu", "flat"), dtype=torch.float64)
    found = slopes(lambda x: torch.cos(x @ w), torch.zeros(8, 20, dtype=torch.float64), draws=1, steps=60)
    steepest = (1 - math.cos(0.1 * float(w.norm()))) / 0.1
    assert float(found.gradient.max()) < 1e-12
    assert torch.allclose(found.pgd, torch.full_like(found.pgd, steepest), rtol=1e-3)
    assert float(found.ball.max()) < 0.7 * steepest


def test_without_derivatives_the_rest_remains() -> None:
    found = slopes(lambda x: x.detach() @ W, differentiable=False)
    assert found.gradient is None and found.pgd is None and found.pairs is not None
    assert found.rows()["gradient"] == {"mean": None, "q95": None, "max": None}


def test_flat_and_broken_functions() -> None:
    flat = slopes(lambda x: torch.ones_like(x[:, 0]))
    assert float(flat.gradient.max()) == float(flat.pgd.max()) == float(flat.ball.max()) == flat.pairs == 0.0
    broken = slopes(lambda x: torch.where(x[:, 0] > 0, torch.nan, x @ W))
    assert bool((broken.gradient.isnan() == (points()[:, 0] > 0)).all()) and broken.rows()["pgd"]["max"] is not None
    alone = slopes(lambda x: x @ W, torch.zeros(3, 3, dtype=torch.float64))
    assert alone.pairs is None  # all points lie together
    assert alone.rows()["gradient"]["q95"] == pytest.approx(float(W.norm()))


def test_rows_keep_what_else_they_depend_on() -> None:
    """Pairs move a row's point only: a jump between rows by something else is no slope."""
    jump = torch.arange(64, dtype=torch.float64) * 1e6
    assert slopes(lambda x: x @ W + jump).pairs <= float(W.norm()) * (1 + 1e-6)


def test_bad_arguments() -> None:
    with pytest.raises(ConfigError, match="radius"):
        slopes(lambda x: x @ W, radius=0.0)
    with pytest.raises(ConfigError, match="norm"):
        slopes(lambda x: x @ W, norm="l1")
    with pytest.raises(ShapeError, match="one number"):
        slopes(lambda x: x, norm="linf")
