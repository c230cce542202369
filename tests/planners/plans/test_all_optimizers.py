"""What holds for every optimiser: bad returns, constants, batches, warm starts, and no value read back."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mbrl.errors import ConfigError, ShapeError
from mbrl.planners import Memory
from mbrl.planners.plans import (
    CEM,
    ICEM,
    MPPI,
    GradientShooting,
    Plan,
    PlanOptimizer,
    RandomShooting,
)
from mbrl.spec import from_spec
from mbrl.testing import LinearModel, NoScalarReadback
from tests.planners.plans.problems import DOUBLE, Recorder, bowl, cold, linear_quadratic, problem

OPTIMIZERS: dict[str, Callable[[], PlanOptimizer]] = {
    "cem": lambda: CEM(candidates=60, elites=8),
    "cem-published-otherwise": lambda: CEM(60, 8, sampling="clipped", smooth="sd", ddof=1, tail="repeat", execute="best"),
    "icem": lambda: ICEM(),
    "icem-mean": lambda: ICEM(execute="mean", smooth="variance", sizes="power", size_multiple=7, noise_edges="scaled"),
    "mppi": lambda: MPPI(candidates=60, sharpness=3.0),
    "mppi-td-mpc2": lambda: MPPI(
        60, 4, 1.0, 1.0, 0.5, "normal", elites=8, sd_bounds=(0.05, 2.0), tail="zero", execute="elite"
    ),
    "random": lambda: RandomShooting(60),
    "gradient": lambda: GradientShooting(candidates=4, updates=8),
}
SEARCHING = [name for name in OPTIMIZERS if name != "random"]
WITH_POLICY: list[Callable[[int], PlanOptimizer]] = [
    lambda n: CEM(candidates=60, elites=8, policy_candidates=n),
    lambda n: ICEM(policy_candidates=n),
    lambda n: MPPI(candidates=60, policy_candidates=n),
    lambda n: GradientShooting(candidates=4, policy_candidates=n),
]


@pytest.fixture(params=OPTIMIZERS)
def optimizer(request: pytest.FixtureRequest) -> PlanOptimizer:
    return OPTIMIZERS[request.param]()


def saddle(plans: Tensor) -> Tensor:
    """Σ a², whose gradient at the mid-range is 0, so that which way a plan goes is up to the draws."""
    return plans.square().sum((2, 3))


def decisions(
    optimizer: PlanOptimizer, returns: Callable[[Tensor], Tensor], n: int = 3, times: int = 3, like: Tensor = DOUBLE
) -> list[Plan]:
    """Decisions in a row, each with its own seeds, warm-started by the one before."""
    plans: list[Plan] = []
    warm = cold(optimizer, problem(returns, range(n), like=like))
    for time in range(times):
        posed = problem(returns, [100 * time + row for row in range(n)], explore=True, like=like)
        plans.append(optimizer.optimize(posed, warm))
        warm = plans[-1].warm
    return plans


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_bounds_and_dtype(optimizer: PlanOptimizer, dtype: torch.dtype) -> None:
    recorder = Recorder(bowl(0.9))
    like = torch.zeros((), dtype=dtype)
    start = cold(optimizer, problem(recorder, range(3), like=like))
    for plan in decisions(optimizer, recorder, like=like):
        assert plan.actions.shape == (3, 5, 2) and plan.value.shape == (3,)
        assert plan.actions.dtype == plan.value.dtype == dtype
        found = {name: (t.shape, t.dtype) for name, t in plan.warm.items()}
        assert found == {name: (t.shape, t.dtype) for name, t in start.items()}
        assert float(plan.actions.abs().max()) <= 1.0
    assert all(float(asked.abs().max()) <= 1.0 for asked in recorder.asked)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (4, 1)])
def test_smallest_plans(optimizer: PlanOptimizer, shape: tuple[int, int]) -> None:
    posed = problem(bowl(0.3), (0,), *shape)
    assert optimizer.optimize(posed, cold(optimizer, posed)).actions.shape == (1, *shape)


@pytest.mark.check("coplanner-21")
def test_a_constant_changes_nothing(optimizer: PlanOptimizer) -> None:
    plain = decisions(optimizer, bowl(0.3))
    raised = decisions(optimizer, lambda plans: bowl(0.3)(plans) + 64.0)
    for one, other in zip(plain, raised, strict=True):
        torch.testing.assert_close(one.actions, other.actions, rtol=0, atol=1e-9)
        torch.testing.assert_close(one.value + 64.0, other.value, rtol=0, atol=1e-9)


@pytest.mark.check("coplanner-21")
@pytest.mark.parametrize("bad", [float("nan"), float("-inf"), float("inf")])
def test_a_bad_return_is_never_elite(optimizer: PlanOptimizer, bad: float) -> None:
    """The same as if those plans had the lowest return of all; counted as about 0 they would beat every other."""

    def returns(worst: float) -> Callable[[Tensor], Tensor]:
        return lambda plans: torch.where(plans[:, :, 0, 0] > 0.6, worst, bowl(0.3)(plans) - 5.0)

    for spoilt, plan in zip(decisions(optimizer, returns(bad)), decisions(optimizer, returns(-1e9)), strict=True):
        assert bool((spoilt.value <= -5.0).all() and spoilt.value.isfinite().all())
        if not isinstance(optimizer, GradientShooting):  # whose plans coast, where these others have no gradient
            torch.testing.assert_close(spoilt.actions, plan.actions)
            assert float(spoilt.warm.get("plan", spoilt.actions)[:, 0, 0].max()) <= 0.6


@pytest.mark.check("coplanner-21")
@pytest.mark.parametrize("finite", [1, 3])
def test_fewer_finite_plans_than_elites(finite: int) -> None:
    """The refit is to the finite ones alone."""
    for optimizer in (
        CEM(candidates=20, elites=8, iterations=1, momentum=0.0),
        ICEM(candidates=20, elites=8, iterations=1, momentum=0.0, execute="mean"),
        MPPI(candidates=20, elites=8, iterations=1, sharpness=1e-12),
    ):
        recorder = Recorder(lambda plans: torch.where(torch.arange(plans.shape[1]) < finite, 1.0, torch.nan)[None].double())
        posed = problem(recorder)
        plan = optimizer.optimize(posed, cold(optimizer, posed))
        torch.testing.assert_close(plan.actions[0], recorder.asked[0][0, :finite].mean(0))
        assert plan.value.tolist() == [1.0]


@pytest.mark.check("coplanner-21")
@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_no_finite_plan_leaves_the_distribution(optimizer: PlanOptimizer, bad: float) -> None:
    """In that environment alone, and the next decision finds no elite of it."""
    good = decisions(optimizer, bowl(0.3), n=2, times=1)[0].warm
    lost = torch.tensor([True, False])[:, None]
    posed = problem(lambda plans: torch.where(lost, bad, bowl(0.3)(plans)), (5, 6))
    plan = optimizer.optimize(posed, good)
    healthy = optimizer.optimize(problem(bowl(0.3), (5, 6)), good)
    assert plan.value[0] == -torch.inf and plan.value[1] == healthy.value[1]
    assert torch.equal(plan.actions[1], healthy.actions[1])
    if isinstance(optimizer, RandomShooting):
        assert bool((plan.actions[0] == 0).all())
        return
    torch.testing.assert_close(plan.warm["plan"][0, :-1], good["plan"][0, 1:], rtol=0, atol=1e-12)
    assert torch.equal(plan.actions[0], plan.warm["plan"][0])
    if "elites_valid" in plan.warm:
        assert plan.warm["elites_valid"].tolist() == [[False] * 3, [True] * 3]


def test_a_policy_plan_that_is_not_a_number_spoils_no_mean() -> None:
    for make in WITH_POLICY:
        optimizer = make(2)
        nan = torch.full((2, 2, 5, 2), torch.nan, dtype=torch.float64)
        posed = problem(bowl(0.3), (0, 1), policy_plans=lambda n, nan=nan: nan[:, :n])
        assert bool(optimizer.optimize(posed, cold(optimizer, posed)).actions.isfinite().all())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_batch_equals_single_calls(name: str) -> None:
    """Over three decisions with warm starts, in float64."""
    optimizer = OPTIMIZERS[name]()
    starts = torch.tensor([[0.5, 0.2], [-0.3, 0.1], [0.1, -0.6], [0.0, 0.9]], dtype=torch.float64)
    together = cold(optimizer, linear_quadratic(starts))
    alone = [cold(optimizer, linear_quadratic(starts[row : row + 1])) for row in range(4)]
    for time in range(3):
        seeds = [10 * time + row for row in range(4)]
        plan = optimizer.optimize(linear_quadratic(starts, seeds), together)
        together = plan.warm
        for row in range(4):
            single = optimizer.optimize(linear_quadratic(starts[row : row + 1], seeds[row : row + 1]), alone[row])
            alone[row] = single.warm
            torch.testing.assert_close(plan.actions[row], single.actions[0], rtol=0, atol=1e-9)
            torch.testing.assert_close(plan.value[row], single.value[0], rtol=0, atol=1e-9)


def test_same_seed_same_plan_and_inputs_unchanged(optimizer: PlanOptimizer) -> None:
    warm = decisions(optimizer, saddle, times=1)[0].warm
    before = {name: tensor.clone() for name, tensor in warm.items()}
    plans = [optimizer.optimize(problem(saddle, (7, 8, 9)), warm) for _ in range(2)]
    assert torch.equal(plans[0].actions, plans[1].actions) and torch.equal(plans[0].value, plans[1].value)
    assert all(torch.equal(before[name], tensor) for name, tensor in warm.items())
    fresh = cold(optimizer, problem(saddle, range(3)))
    one, other = (optimizer.optimize(problem(saddle, (7, 8, last)), fresh).actions for last in (9, 10))
    assert torch.equal(one[:2], other[:2]) and not torch.equal(one[2], other[2])


@pytest.mark.parametrize("name", SEARCHING)
def test_a_warm_start_matters_and_belongs_to_its_environment(name: str) -> None:
    """A published bug ignored it."""
    optimizer = OPTIMIZERS[name]()
    fresh = cold(optimizer, problem(bowl(0.3), (0, 1)))
    changed = {**fresh, "plan": fresh["plan"].clone()}
    changed["plan"][1] = -0.6
    plain = optimizer.optimize(problem(bowl(0.3), (0, 1)), fresh).actions
    warm = optimizer.optimize(problem(bowl(0.3), (0, 1)), changed).actions
    assert torch.equal(plain[0], warm[0]) and not torch.allclose(plain[1], warm[1])


@pytest.mark.check("coplanner-24")
@pytest.mark.parametrize("name", SEARCHING)
def test_a_reset_row_plans_as_in_a_first_decision(name: str) -> None:
    """For each optimiser, published bugs included: a mean that is never reset, and elites that survive."""
    optimizer = OPTIMIZERS[name]()
    used = decisions(optimizer, saddle, n=2)[-1].warm
    fresh = cold(optimizer, problem(saddle, (0, 1)))
    memory = Memory(2, torch.Generator(), **fresh)
    memory.tensors.update(used)
    memory.reset(torch.tensor([True, False]))
    mixed = memory.tensors
    plans = [optimizer.optimize(problem(saddle, (50, 51)), warm).actions for warm in (mixed, fresh, used)]
    assert torch.equal(plans[0][0], plans[1][0]) and not torch.equal(plans[0][0], plans[2][0])
    assert torch.equal(plans[0][1], plans[2][1]) and not torch.equal(plans[0][1], plans[1][1])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_nothing_is_read_back(name: str) -> None:
    """CEM looks whether all have converged on CPU only, and never with epsilon=0."""
    optimizer = CEM(candidates=60, elites=8, epsilon=0.0) if name == "cem" else OPTIMIZERS[name]()
    if name == "cem-published-otherwise":
        optimizer = CEM(60, 8, sampling="clipped", smooth="sd", ddof=1, epsilon=0.0, execute="best")
    posed = problem(bowl(0.3), (0, 1), explore=True)
    warm = cold(optimizer, posed)
    with NoScalarReadback():
        for _ in range(2):
            warm = optimizer.optimize(posed, warm).warm


@pytest.mark.parametrize("make", WITH_POLICY)
def test_a_policys_plans_are_candidates(make: Callable[[int], PlanOptimizer]) -> None:
    """One that no noise would find is found, within the number of candidates; a plan outside the bounds is clipped."""
    found = []
    target = torch.linspace(-1.5, 1.0, 20, dtype=torch.float64).view(1, 10, 2)
    for n in (0, 2):
        recorder = Recorder(bowl(target.clamp(-1.0, 1.0)))
        posed = problem(recorder, (0,), 10, policy_plans=lambda n: target[:, None].expand(1, n, 10, 2))
        optimizer = make(n)
        optimizer.check(LinearModel(), has_policy=True)
        found.append(float(optimizer.optimize(posed, cold(optimizer, posed)).value))
        asked = recorder.asked[0].shape[1]
        assert asked == {60: 60, 40: 43, 4: 4}[optimizer.candidates]  # type: ignore[attr-defined]
        held = (recorder.asked[0] == target.clamp(-1.0, 1.0)[:, None]).all(3).all(2).sum()
        assert int(held) == n
    assert found[0] < -0.05 and found[1] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("make", WITH_POLICY)
def test_a_missing_policy_is_refused(make: Callable[[int], PlanOptimizer]) -> None:
    optimizer = make(2)
    with pytest.raises(ConfigError, match=r"\(policy_candidates=2\): expected a planner with a policy, got one without"):
        optimizer.check(LinearModel(), has_policy=False)
    posed = problem(bowl(0.3))
    with pytest.raises(ConfigError, match=r"\(policy_candidates=2\): expected a planner with a policy"):
        optimizer.optimize(posed, cold(optimizer, posed))
    make(0).check(LinearModel(), has_policy=False)


def test_returns_of_another_shape_are_refused(optimizer: PlanOptimizer) -> None:
    posed = problem(lambda plans: bowl(0.3)(plans).T, (0, 1))
    with pytest.raises(ShapeError, match=r"\(returns\): expected shape 2 x \d+, got \d+ x 2; give one return per plan"):
        optimizer.optimize(posed, cold(optimizer, posed))


def test_published_settings_are_the_defaults() -> None:
    """CEM's of PETS (Chua2018), iCEM's of its authors (Pinneri2020), and what MPPI shares with PDDM's form."""
    published: dict[type[PlanOptimizer], dict[str, object]] = {
        CEM: {"candidates": 500, "elites": 50, "iterations": 5, "momentum": 0.1, "initial_sd": 0.5, "epsilon": 0.001,
              "sampling": "truncated", "smooth": "variance", "ddof": 0, "tail": "zero", "execute": "mean"},
        ICEM: {"candidates": 40, "elites": 10, "iterations": 3, "decay": 1.25, "exponent": 0.25, "initial_sd": 0.5,
               "momentum": 0.1, "kept": 0.3, "execute": "best", "smooth": "sd", "tail": "repeat", "sizes": "chained",
               "noise_edges": "unscaled"},
        MPPI: {"candidates": 350, "iterations": 5, "filter_gain": 0.9, "noise": "truncated", "elites": None,
               "sd_bounds": None, "execute": "mean"},
    }  # fmt: skip
    for kind, settings in published.items():
        defaults = {name: parameter.default for name, parameter in inspect.signature(kind).parameters.items()}
        assert {name: defaults[name] for name in settings} == settings


def test_a_spec_makes_it_again(optimizer: PlanOptimizer) -> None:
    again = from_spec(optimizer.spec)
    assert type(again) is type(optimizer) and again.spec == optimizer.spec
    posed = [problem(bowl(0.3)) for _ in range(2)]
    plans = [o.optimize(p, cold(o, p)).actions for o, p in zip((optimizer, again), posed, strict=True)]
    assert torch.equal(*plans)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (CEM, {"candidates": 0}, r"CEM\(candidates=…\): expected a whole number of at least 1, got 0\."),
        (CEM, {"elites": 501}, r"CEM\(elites=…\): expected a whole number from 1 to 500, got 501"),
        (CEM, {"elites": 1, "ddof": 1}, r"CEM\(elites=…\): expected a whole number from 2 to 500, got 1"),
        (CEM, {"iterations": 2.0}, r"CEM\(iterations=…\): expected a whole number of at least 1, got 2\.0"),
        (CEM, {"momentum": 1.0}, r"CEM\(momentum=…\): expected a number of at least 0 and below 1, got 1\.0"),
        (CEM, {"momentum": float("nan")}, r"CEM\(momentum=…\): expected a number .* got nan"),
        (CEM, {"initial_sd": 0.0}, r"CEM\(initial_sd=…\): expected a finite number above 0, got 0\.0"),
        (CEM, {"initial_sd": float("inf")}, r"CEM\(initial_sd=…\): expected a finite number above 0, got inf"),
        (CEM, {"epsilon": -1.0}, r"CEM\(epsilon=…\): expected a finite number of at least 0"),
        (CEM, {"epsilon": 0.25}, r"CEM\(epsilon=…\): expected less than initial_sd² = 0\.25, got 0\.25"),
        (CEM, {"sampling": "uniform"}, r"CEM\(sampling=…\): expected one of truncated, clipped, got 'uniform'"),
        (CEM, {"smooth": "mean"}, r"CEM\(smooth=…\): expected one of variance, sd"),
        (CEM, {"ddof": 2}, r"CEM\(ddof=…\): expected one of 0, 1, got 2"),
        (CEM, {"ddof": True}, r"CEM\(ddof=…\): expected one of 0, 1, got True"),
        (CEM, {"tail": "last"}, r"CEM\(tail=…\): expected one of zero, repeat"),
        (CEM, {"execute": "worst"}, r"CEM\(execute=…\): expected one of mean, best"),
        (CEM, {"policy_candidates": 500}, r"CEM\(policy_candidates=…\): expected a whole number from 0 to 499, got 500"),
        (ICEM, {"elites": 21}, r"ICEM\(elites=…\): expected a whole number from 1 to 20, got 21"),
        (ICEM, {"elites": 0}, r"ICEM\(elites=…\): expected a whole number of at least 1, got 0"),
        (ICEM, {"iterations": 0}, r"ICEM\(iterations=…\)"),
        (ICEM, {"decay": 0.9}, r"ICEM\(decay=…\): expected a finite number of at least 1, got 0\.9"),
        (ICEM, {"exponent": -1.0}, r"ICEM\(exponent=…\): expected a finite number of at least 0, got -1\.0"),
        (ICEM, {"initial_sd": 0.0}, r"ICEM\(initial_sd=…\)"),
        (ICEM, {"momentum": -0.1}, r"ICEM\(momentum=…\)"),
        (ICEM, {"kept": 1.5}, r"ICEM\(kept=…\): expected a number from 0 to 1, got 1\.5"),
        (ICEM, {"execute": "x"}, r"ICEM\(execute=…\)"),
        (ICEM, {"smooth": "x"}, r"ICEM\(smooth=…\)"),
        (ICEM, {"tail": "x"}, r"ICEM\(tail=…\)"),
        (ICEM, {"sizes": "x"}, r"ICEM\(sizes=…\): expected one of chained, power"),
        (ICEM, {"size_multiple": 0}, r"ICEM\(size_multiple=…\)"),
        (ICEM, {"noise_edges": "x"}, r"ICEM\(noise_edges=…\)"),
        (MPPI, {"iterations": 0}, r"MPPI\(iterations=…\)"),
        (MPPI, {"sd": 0}, r"MPPI\(sd=…\): expected a finite number above 0, got 0"),
        (MPPI, {"filter_gain": 0.0}, r"MPPI\(filter_gain=…\): expected a number above 0 and at most 1, got 0\.0"),
        (MPPI, {"sharpness": float("inf")}, r"MPPI\(sharpness=…\): expected a finite number above 0, got inf"),
        (MPPI, {"noise": "pink"}, r"MPPI\(noise=…\): expected one of truncated, normal"),
        (MPPI, {"elites": 351}, r"MPPI\(elites=…\): expected a whole number from 1 to 350, got 351"),
        (MPPI, {"elites": 0}, r"MPPI\(elites=…\): expected a whole number of at least 1, or None, got 0"),
        (MPPI, {"sd_bounds": (1.0,)}, r"MPPI\(sd_bounds=…\): expected a list of 2, each a finite number above 0"),
        (MPPI, {"sd_bounds": (2.0, 1.0)}, r"MPPI\(sd_bounds=…\): expected the smallest before the largest, got"),
        (MPPI, {"tail": "x"}, r"MPPI\(tail=…\)"),
        (MPPI, {"execute": "best"}, r"MPPI\(execute=…\): expected one of mean, elite"),
        (RandomShooting, {"candidates": -1}, r"RandomShooting\(candidates=…\)"),
        (GradientShooting, {"updates": 0}, r"GradientShooting\(updates=…\)"),
        (GradientShooting, {"lr": -0.1}, r"GradientShooting\(lr=…\): expected a finite number above 0, got -0\.1"),
        (GradientShooting, {"tail": "x"}, r"GradientShooting\(tail=…\)"),
        (GradientShooting, {"policy_candidates": 8}, r"GradientShooting\(policy_candidates=…\)"),
    ],
)
def test_a_bad_option_is_refused(kind: type[PlanOptimizer], options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(**options)
