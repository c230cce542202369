"""CEM against the figures of PETS' settings, and each of its switches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mbrl.planners.plans import CEM
from mbrl.planners.plans.sampling import truncated_normal
from tests.planners.plans.problems import Recorder, bowl, cold, problem

SEEDS = range(10)
WIDTH = 0.879626  # the sd of a standard normal truncated at ±2


def planned(horizon: int, action_size: int, **options: object) -> tuple[Tensor, list[float], Tensor]:
    """Ten environments: their largest error, the sd of the samples asked for in each iteration, and all samples."""
    recorder = Recorder(bowl(0.3))
    posed = problem(recorder, SEEDS, horizon, action_size)
    cem = CEM(**{"candidates": 400, "elites": 40, **options})  # type: ignore[arg-type]
    plan = cem.optimize(posed, cold(cem, posed))
    spreads = [float(plans.std(1).mean()) / WIDTH for plans in recorder.asked]
    return (plan.actions - 0.3).abs().amax((1, 2)), spreads, torch.stack(recorder.asked)


@pytest.mark.check("coplanner-20")
def test_truncated_normal() -> None:
    uniform = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    drawn = truncated_normal(uniform)
    assert float(drawn.std()) == pytest.approx(0.879626, abs=2e-5)
    assert float(drawn.var()) == pytest.approx(0.773741, abs=2e-5)
    assert float(drawn.abs().max()) <= 2.0
    ends = truncated_normal(torch.tensor([0.0, 1.0 - 2**-24]))
    assert ends.tolist() == pytest.approx([-2.0, 2.0], abs=1e-5) and float(ends.abs().max()) <= 2.0
    assert float((drawn < 1.0).double().mean()) == pytest.approx((0.8413447 - 0.0227501) / 0.9544997, abs=1e-4)


@pytest.mark.check("coplanner-19")
def test_one_action_stops_on_epsilon() -> None:
    error, spreads, samples = planned(1, 1)
    assert len(spreads) == 3  # each environment needs 3
    assert float(error.max()) <= 0.002
    assert float(samples.abs().max()) <= 1.0
    _, spreads, _ = planned(1, 1, epsilon=0.0, iterations=6)
    assert spreads[3] == pytest.approx(0.017, abs=0.002)  # what the third refit left
    assert spreads[5] == pytest.approx(0.0018, abs=0.0003)  # what the fifth did


@pytest.mark.check("coplanner-19")
def test_ten_numbers_converge_in_five_iterations() -> None:
    error, _, samples = planned(5, 2)
    assert float(error.mean()) == pytest.approx(0.024, abs=0.006)
    assert float(error.max()) <= 0.05
    assert float(samples.abs().max()) <= 1.0
    assert planned(5, 2, iterations=6)[1][5] == pytest.approx(0.056, abs=0.004)


@pytest.mark.check("coplanner-19")
def test_five_iterations_do_not_converge_at_pets_scale() -> None:
    error, _, samples = planned(30, 6)
    assert float(error.mean()) == pytest.approx(0.35, abs=0.05)
    assert float(samples.abs().max()) <= 1.0
    assert planned(30, 6, iterations=6)[1][5] == pytest.approx(0.21, abs=0.015)


@pytest.mark.check("coplanner-19")
@pytest.mark.parametrize(("sampling", "moves"), [("truncated", False), ("clipped", True)])
@pytest.mark.parametrize("bound", [-1.0, 1.0])
def test_a_mean_on_a_bound_never_moves(bound: float, sampling: str, moves: bool) -> None:
    recorder = Recorder(bowl(0.3))
    posed = problem(recorder, (0, 1), 3, 2)
    cem = CEM(candidates=100, elites=10, sampling=sampling, tail="repeat")  # type: ignore[arg-type]
    warm = cold(cem, posed)
    warm["plan"][:, :, 1] = bound
    actions = cem.optimize(posed, warm).actions
    assert bool((actions[:, :, 1] != bound).all()) == moves
    assert bool((actions[:, :, 0] - 0.3).abs().max() < 0.15)
    assert float(torch.stack(recorder.asked).abs().max()) <= 1.0


def test_spread_is_reset_each_decision() -> None:
    recorder = Recorder(bowl(0.3))
    cem = CEM(candidates=400, elites=40, epsilon=0.0)
    warm = cold(cem, problem(recorder))
    for _ in range(2):
        warm = cem.optimize(problem(recorder), warm).warm
    spread = recorder.asked[5].std(1)[0, :-1] / WIDTH  # the tail is new, and begins at zero
    assert float(spread.mean()) == pytest.approx(0.35, abs=0.02)  # 0.35 from the mean of 0.3 to a bound is two sd


def test_one_refit_by_hand() -> None:
    """Mean, variance and their momentum after one iteration, from the samples themselves."""
    recorder = Recorder(bowl(0.3))
    posed = problem(recorder, horizon=2, action_size=1)
    cem = CEM(candidates=20, elites=4, iterations=1, momentum=0.25)
    actions = cem.optimize(posed, cold(cem, posed)).actions
    best = recorder.answered[0][0].argsort(descending=True)[:4]
    torch.testing.assert_close(actions[0], 0.75 * recorder.asked[0][0, best].mean(0))


@pytest.mark.parametrize(
    ("switch", "larger"), [({"ddof": 1}, True), ({"smooth": "sd"}, False), ({"momentum": 0.5}, True), ({"elites": 80}, True)]
)
def test_switches_of_the_spread(switch: dict[str, object], larger: bool) -> None:
    """Each changes the spread of the second iteration's samples, the draws being the same."""
    plain = planned(5, 2, iterations=2, elites=10, epsilon=0.0)[1][1]
    switched = planned(5, 2, **{"iterations": 2, "elites": 10, "epsilon": 0.0, **switch})[1][1]
    assert (switched > plain) == larger and switched != pytest.approx(plain, rel=1e-3)


def test_unbiased_variance_by_hand() -> None:
    """Without momentum ddof changes the spread by √(10/9)."""
    spreads = [planned(5, 2, iterations=2, elites=10, momentum=0.0, ddof=ddof)[1][1] for ddof in (0, 1)]
    assert spreads[1] / spreads[0] == pytest.approx((10 / 9) ** 0.5, rel=0.02)


def test_best_sample_or_mean() -> None:
    recorder = Recorder(bowl(0.3))
    posed = problem(recorder, SEEDS)
    mean = CEM(candidates=50, elites=5)
    best = CEM(candidates=50, elites=5, execute="best")
    averaged = mean.optimize(posed, cold(mean, posed))
    recorder.asked.clear()
    posed = problem(recorder, SEEDS)
    chosen = best.optimize(posed, cold(best, posed))
    torch.testing.assert_close(bowl(0.3)(chosen.actions[:, None])[:, 0], chosen.value)
    asked = torch.cat(recorder.asked, 1)
    torch.testing.assert_close(chosen.value, bowl(0.3)(asked).amax(1))
    assert not torch.equal(averaged.actions, chosen.actions)
    torch.testing.assert_close(averaged.value, chosen.value)  # both promise what the best plan seen had
    assert torch.equal(chosen.warm["plan"], chosen.actions) and torch.equal(averaged.warm["plan"], averaged.actions)


def test_an_environment_stops_alone() -> None:
    """One that has converged is frozen while its neighbour goes on, as if it had been planned for alone."""
    easy, hard = 0.0, 0.9
    centres = torch.tensor([easy, hard], dtype=torch.float64)[:, None, None].expand(2, 1, 1)
    slopes = torch.tensor([1.0, 0.0], dtype=torch.float64)[:, None]
    recorder = Recorder(lambda plans: bowl(centres)(plans) * slopes)  # the second sees no difference, and never converges
    cem = CEM(candidates=100, elites=10, iterations=8)
    posed = problem(recorder, (5, 6), 1, 1)
    together = cem.optimize(posed, cold(cem, posed))
    assert len(recorder.asked) > 4
    alone = problem(bowl(easy), (5,), 1, 1)
    torch.testing.assert_close(cem.optimize(alone, cold(cem, alone)).actions[0], together.actions[0], rtol=0, atol=1e-12)


def test_wider_start_searches_wider() -> None:
    spreads = [planned(5, 2, iterations=1, initial_sd=sd)[1][0] for sd in (0.1, 0.2)]
    assert spreads == pytest.approx([0.1, 0.2], rel=0.02)
