"""The functions that searches are measured on have the optima that are stated for them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.search.functions import PROBLEMS, Problem, bump, func2c, func3c, rlmix


def at(problem: Problem, **positions: float) -> dict[str, float]:
    """Values of logarithmic numbers from their positions."""
    found = {}
    for name, u in positions.items():
        low, high = problem.distributions[name].low, problem.distributions[name].high  # type: ignore[attr-defined]
        found[name] = low * (high / low) ** u
    return found


def test_the_published_optimum_of_rlmix() -> None:
    problem = rlmix()
    assert problem.optimum == pytest.approx(99.8690, abs=5e-5)
    utd = math.log(9) / math.log(20)
    best = {"kind": "lipschitz", "penalty": "aleatoric", "sn": 1, "utd": 9, "rollout": 15}
    best |= at(problem, lip=0.45, coef=0.55, tau=0.35, lr=0.42 + 0.12 * (1 - utd))
    assert problem.value(best) == pytest.approx(problem.optimum, abs=1e-9)
    assert problem.regret(best) == pytest.approx(0.0, abs=1e-9)


def test_draws_of_rlmix_diverge_and_spread_as_published() -> None:
    problem, rng = rlmix(), np.random.default_rng(0)
    values = np.array([problem.value(problem.draw(rng)) for _ in range(20_000)])
    assert np.isnan(values).mean() == pytest.approx(0.151, abs=0.005)
    found = np.quantile(np.nan_to_num(values, nan=0.0), [0.9, 0.99])
    np.testing.assert_allclose(found, [33.2, 53.0], atol=0.7)
    assert problem.noise_sd(50.0) == 8.0


@pytest.mark.parametrize("variant", range(1, 6))
def test_variants_have_optima_of_their_own_that_no_draw_exceeds(variant: int) -> None:
    problem, rng = rlmix(variant), np.random.default_rng(variant)
    values = [problem.value(problem.draw(rng)) for _ in range(3_000)]
    assert 99.0 < problem.optimum <= 100.0 and problem.optimum != rlmix().optimum
    assert np.nanmax(values) < problem.optimum
    assert rlmix(variant).optimum == problem.optimum


def test_the_choices_of_functions_by_hand() -> None:
    camel = {"x1": 0.0898 / 2, "x2": -0.7126 / 2}
    assert func2c().value({"h1": 1, "h2": 1, **camel}) == pytest.approx(-0.2063, abs=5e-5)
    assert func3c().value({"h1": 1, "h2": 1, "h3": 0, **camel}) == pytest.approx(-0.7221, abs=5e-5)
    rosenbrock = {"x1": 0.5, "x2": 0.5}  # (1, 1), where it is 0 and Beale's is not
    assert func2c().value({"h1": 0, "h2": 0, **rosenbrock}) == 0.0
    assert func2c().value({"h1": 0, "h2": 4, **rosenbrock}) == pytest.approx((1.5**2 + 2.25**2 + 2.625**2) / 50)


@pytest.mark.parametrize("name", PROBLEMS)
def test_nothing_beats_the_optimum(name: str) -> None:
    problem, rng = PROBLEMS[name](), np.random.default_rng(1)
    sign = 1 if problem.direction == "maximize" else -1
    values = [problem.value(problem.draw(rng)) for _ in range(200)]
    assert np.nanmax(sign * np.array(values)) <= sign * problem.optimum + 1e-6


def test_optima_from_botorch() -> None:
    assert PROBLEMS["branin"]().value({"x0": math.pi, "x1": 2.275}) == pytest.approx(0.397887, abs=1e-6)
    peak = dict(zip([f"x{i}" for i in range(6)], [0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573], strict=True))
    assert PROBLEMS["hartmann6"]().value(peak) == pytest.approx(-3.32237, abs=1e-5)
    assert bump(0.3, 0.3, 0.1) == 1.0
