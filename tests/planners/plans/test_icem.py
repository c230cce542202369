"""iCEM: its sizes, its noise, and what it keeps from one decision to the next."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mbrl.planners.plans import ICEM
from mbrl.planners.plans.icem import population_sizes
from tests.planners.plans.problems import Recorder, bowl, cold, problem


def planned(seeds: tuple[int, ...] = (0,), warm: dict[str, Tensor] | None = None, horizon: int = 5, **options: object):
    recorder = Recorder(bowl(0.3))
    posed = problem(recorder, seeds, horizon)
    icem = ICEM(**options)  # type: ignore[arg-type]
    return icem.optimize(posed, cold(icem, posed) if warm is None else warm), recorder


@pytest.mark.check("coplanner-22")
def test_sizes() -> None:
    assert population_sizes(40, 1.25, 10, 3) == [40, 32, 25]
    assert population_sizes(200, 1.3, 20, 5, "power") == [200, 154, 119, 92, 71]
    assert population_sizes(200, 1.3, 20, 5, "power", 7) == [203, 154, 119, 98, 77]
    assert population_sizes(200, 1.3, 20, 5, "chained") == [200, 153, 117, 90, 69]
    assert population_sizes(40, 2.0, 10, 4) == [40, 20, 20, 20]  # twice the elites at least


@pytest.mark.check("coplanner-22")
def test_sizes_are_what_is_evaluated() -> None:
    """97 plans are drawn; the three that are kept are evaluated anew only where a new decision begins."""
    _, recorder = planned()
    assert [plans.shape[1] for plans in recorder.asked] == [40 + 3, 32, 25]
    _, recorder = planned(sizes="power", size_multiple=5, kept=0.0)
    assert [plans.shape[1] for plans in recorder.asked] == [40, 35, 30]


def test_samples_are_scaled_centred_and_clipped() -> None:
    """A published bug drew the population, and then used it without its mean, its spread and its bounds."""
    warm = {
        "plan": torch.full((1, 5, 2), 0.8, dtype=torch.float64),
        "elites": torch.zeros(1, 0, 5, 2, dtype=torch.float64),
        "elites_valid": torch.zeros(1, 0, dtype=torch.bool),
    }
    options = {"candidates": 4000, "elites": 10, "iterations": 1, "kept": 0.0, "exponent": 0.25}
    for sd in (0.05, 0.1):
        plans = planned(warm=warm, initial_sd=sd, **options)[1].asked[0]
        inside = plans[plans < 1.0] - 0.8
        assert float(inside.mean()) == pytest.approx(0.0, abs=0.01)
        assert float(inside.std()) == pytest.approx(sd, rel=0.12)
    plans = planned(warm=warm, initial_sd=0.5, **options)[1].asked[0]
    assert float(plans.abs().max()) == 1.0
    assert 0.25 < float((plans == 1.0).double().mean()) < 0.45


def test_exponent_slows_the_noise() -> None:
    lags = []
    for exponent in (0.0, 2.0):
        plans = planned(horizon=30, candidates=2000, initial_sd=0.1, exponent=exponent, iterations=1)[1].asked[0]
        lags.append(float((plans[:, :2000, 1:] * plans[:, :2000, :-1]).mean() / plans[:, :2000].square().mean()))
    assert lags == pytest.approx([0.0, 0.87], abs=0.03)


def test_noise_edges_change_the_spread() -> None:
    spread = [
        float(
            planned(horizon=30, candidates=4000, initial_sd=0.1, exponent=2.0, iterations=1, noise_edges=edges)[1]
            .asked[0]
            .std()
        )
        for edges in ("unscaled", "scaled")
    ]
    assert spread[1] > 1.03 * spread[0]


def test_last_iteration_tries_the_mean() -> None:
    """In place of its first sample, and in no other iteration."""
    three, two = planned()[1], planned(iterations=2)[1]
    best = three.answered[0][0, :40].argsort(descending=True)[:10]
    mean = 0.9 * three.asked[0][0, best].mean(0)  # after one refit
    torch.testing.assert_close(two.asked[1][0, 0], mean)
    assert not torch.allclose(three.asked[1][0, 0], mean)
    assert torch.equal(two.asked[1][0, 1:], three.asked[1][0, 1:])


def test_kept_elites_compete_with_the_returns_that_they_have() -> None:
    """A plan found in the first iteration is executed though no later one is as good."""
    returns = iter([lambda p: bowl(0.3)(p) + 100.0, bowl(0.3), bowl(0.3)])
    recorder = Recorder(lambda plans: next(returns)(plans))
    posed = problem(recorder)
    icem = ICEM()
    plan = icem.optimize(posed, cold(icem, posed))
    best = recorder.answered[0][0, :40].argmax()
    torch.testing.assert_close(plan.actions[0], recorder.asked[0][0, best])
    assert float(plan.value) > 90.0
    none_kept = ICEM(kept=0.0)
    returns = iter([lambda p: bowl(0.3)(p) + 100.0, bowl(0.3), bowl(0.3)])
    posed = problem(recorder)
    assert float(none_kept.optimize(posed, cold(none_kept, posed)).value) < 1.0


def test_kept_elites_are_shifted_into_the_next_decision() -> None:
    plan, recorder = planned((0, 1))
    assert bool(plan.warm["elites_valid"].all())
    _, after = planned((2, 3), plan.warm)
    again = after.asked[0][:, 40:]
    assert torch.equal(again[:, :, :-1], plan.warm["elites"][:, :, 1:])
    last = again[:, :, -1]  # drawn afresh: not a copy of what stood there, nor the same for all
    assert not bool((last == plan.warm["elites"][:, :, -1]).any()) and len(last.flatten(1).unique(dim=1)[0]) == 6
    seen = torch.cat([recorder.answered[0][:, :40], *recorder.answered[1:]], 1)
    torch.testing.assert_close(bowl(0.3)(plan.warm["elites"]), seen.topk(3).values)  # the best three of all iterations


@pytest.mark.check("coplanner-24")
def test_no_elite_survives_a_reset() -> None:
    """mbrl-lib's do. Here one that isn't valid is never an elite, whatever lies in its rows."""
    icem = ICEM()
    warm = cold(icem, problem(bowl(0.3), (0, 1)))
    assert not bool(warm["elites_valid"].any())
    plain = planned((4, 5), warm)[0]
    warm["elites"] = torch.full_like(warm["elites"], 0.3)  # the optimum itself but for its last action
    unmoved = planned((4, 5), warm)[0]
    assert torch.equal(unmoved.actions, plain.actions) and torch.equal(unmoved.value, plain.value)
    warm["elites_valid"] = torch.tensor([[False] * 3, [True] * 3])
    moved = planned((4, 5), warm)[0]
    assert torch.equal(moved.actions[0], plain.actions[0])
    assert float(moved.value[1]) > float(plain.value[1])
    assert bool(moved.warm["elites_valid"].all())


@pytest.mark.parametrize(
    ("switch", "wider"), [({"smooth": "variance"}, True), ({"momentum": 0.5}, True), ({"initial_sd": 0.2}, False)]
)
def test_switches_of_the_spread(switch: dict[str, object], wider: bool) -> None:
    spreads = [
        float(planned(candidates=2000, elites=20, iterations=2, kept=0.0, **options)[1].asked[1].std(1).mean())
        for options in ({}, switch)
    ]
    assert (spreads[1] > spreads[0]) == wider and spreads[1] != pytest.approx(spreads[0], rel=1e-3)


def test_best_or_mean() -> None:
    best, _ = planned((0, 1))
    mean, _ = planned((0, 1), execute="mean")
    torch.testing.assert_close(best.value, bowl(0.3)(best.actions[:, None])[:, 0])
    assert torch.equal(mean.actions, mean.warm["plan"]) and torch.equal(mean.warm["plan"], best.warm["plan"])
    assert not torch.equal(mean.actions, best.actions)


def test_tail_of_the_mean() -> None:
    warm = planned()[0].warm
    centres = {}
    for tail in ("repeat", "zero"):
        asked = planned(warm=warm, tail=tail, iterations=1, initial_sd=1e-3)[1].asked[0]
        centres[tail] = asked[0, 0]  # the only iteration is the last one, and tries the mean
    assert torch.equal(centres["repeat"][-1], warm["plan"][0, -1]) and bool((centres["zero"][-1] == 0).all())
    assert torch.equal(centres["zero"][:-1], warm["plan"][0, 1:])
