"""MPPI: weights, the filter, and that its spread matters."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mbrl.planners.plans import MPPI
from mbrl.planners.plans.sampling import exponential_weights, weighted_moments
from tests.planners.plans.problems import Recorder, bowl, cold, problem

LN2 = 0.6931471805599453


def planned(seeds: tuple[int, ...] = (0,), warm: dict[str, Tensor] | None = None, explore: bool = False, **options: object):
    recorder = Recorder(bowl(0.3))
    posed = problem(recorder, seeds, explore=explore)
    mppi = MPPI(**options)  # type: ignore[arg-type]
    return mppi.optimize(posed, cold(mppi, posed) if warm is None else warm), recorder


@pytest.mark.check("coplanner-24")
def test_weights() -> None:
    values = torch.tensor([[0.0, LN2]], dtype=torch.float64)
    weights = exponential_weights(values, 1.0)
    torch.testing.assert_close(weights / weights.sum(), torch.tensor([[1 / 3, 2 / 3]], dtype=torch.float64))
    plans = torch.tensor([-0.6, 0.9], dtype=torch.float64).view(1, 2, 1, 1)
    assert float(weighted_moments(plans, weights)[0]) == pytest.approx(0.4)
    sharp = exponential_weights(values, 1e6)
    assert sharp.tolist() == [[0.0, 1.0]]
    assert exponential_weights(torch.tensor([[0.0, float("-inf")], [float("-inf")] * 2]), 1.0).tolist() == [[1, 0], [0, 0]]


@pytest.mark.check("coplanner-24")
def test_a_plan_is_the_weighted_average_of_what_was_tried() -> None:
    plan, recorder = planned(iterations=1, candidates=50, sharpness=2.0)
    weights = torch.exp(2.0 * recorder.answered[0][0])
    expected = (weights[:, None, None] * recorder.asked[0][0]).sum(0) / weights.sum()
    torch.testing.assert_close(plan.actions[0], expected)
    sharp, recorder = planned(iterations=1, candidates=50, sharpness=1e9)
    torch.testing.assert_close(sharp.actions[0], recorder.asked[0][0, recorder.answered[0][0].argmax()])


@pytest.mark.check("coplanner-24")
@pytest.mark.parametrize("noise", ["truncated", "normal"])
def test_twice_the_sd_doubles_the_samples(noise: str) -> None:
    spreads = [float(planned(sd=sd, noise=noise, iterations=1, candidates=4000)[1].asked[0].std()) for sd in (0.1, 0.2)]
    assert spreads[1] == pytest.approx(2 * spreads[0], rel=1e-6)
    width = {"truncated": 0.8796, "normal": 1.0}[noise]
    first = planned(sd=0.1, noise=noise, iterations=1, candidates=4000)[1].asked[0][:, :, 0]
    assert float(first.std()) == pytest.approx(0.9 * 0.1 * width, rel=0.03)


def test_filter_follows_the_recursion() -> None:
    """a_t = β (m_t + ε_t) + (1 − β) a_{t−1} from the action last executed, then clipped."""
    plan, _ = planned((1, 2))
    previous = plan.warm["previous"]
    assert torch.equal(previous, plan.actions[:, 0])
    gain = 0.3
    raw = planned((3, 4), plan.warm, filter_gain=1.0, iterations=1, candidates=20, sd=0.2)[1].asked[0]
    asked = planned((3, 4), plan.warm, filter_gain=gain, iterations=1, candidates=20, sd=0.2)[1].asked[0]
    assert float(raw.abs().max()) < 1.0  # not clipped, so these are m + ε
    before = previous[:, None]
    for step in range(raw.shape[2]):
        before = gain * raw[:, :, step] + (1 - gain) * before
        torch.testing.assert_close(asked[:, :, step], before)


def test_samples_are_clipped_after_the_filter() -> None:
    asked = planned(sd=3.0, noise="normal", iterations=1)[1].asked[0]
    assert float(asked.abs().max()) == 1.0


@pytest.mark.check("coplanner-24")
def test_an_episode_begins_without_the_last_one() -> None:
    """Mean and previous action of a row that was reset are the first decision's; its neighbour's are not."""
    mppi = MPPI(candidates=50)
    warm = dict(planned((0, 1), candidates=50)[0].warm)
    fresh = cold(mppi, problem(bowl(0.3), (0, 1)))
    reset = torch.tensor([True, False])
    mixed = {n: torch.where(reset.view(-1, *[1] * (t.ndim - 1)), fresh[n], t) for n, t in warm.items()}
    plan = planned((7, 8), mixed, candidates=50)[0]
    posed = problem(bowl(0.3), (7,))
    torch.testing.assert_close(plan.actions[0], mppi.optimize(posed, cold(mppi, posed)).actions[0])
    carried = {name: tensor[1:] for name, tensor in warm.items()}
    torch.testing.assert_close(plan.actions[1], planned((8,), carried, candidates=50)[0].actions[0])
    posed = problem(bowl(0.3), (8,))
    assert not torch.allclose(plan.actions[1], mppi.optimize(posed, cold(mppi, posed)).actions[0])


def test_elites_alone_have_weight() -> None:
    plan, recorder = planned(iterations=1, candidates=50, elites=4, sharpness=0.5)
    best = recorder.answered[0][0].topk(4)
    weights = torch.exp(0.5 * best.values)
    torch.testing.assert_close(
        plan.actions[0], (weights[:, None, None] * recorder.asked[0][0, best.indices]).sum(0) / weights.sum()
    )


def test_sd_is_refitted_within_its_bounds() -> None:
    options = {"filter_gain": 1.0, "elites": 20, "candidates": 400, "sd": 1.0, "noise": "normal", "iterations": 3}
    kept = planned(**options)[1].asked
    wide = planned(sd_bounds=(0.001, 2.0), **options)[1].asked
    floor = planned(sd_bounds=(0.7, 2.0), **options)[1].asked
    assert float(wide[2].std(1).mean()) < 0.7 * float(floor[2].std(1).mean()) < 0.7 * float(kept[2].std(1).mean())
    first = kept[0]
    values = bowl(0.3)(first)
    best = values.topk(20)
    weights = torch.exp(best.values - best.values.max())[0, :, None, None]
    elites = first[0, best.indices[0]]
    mean = (weights * elites).sum(0) / weights.sum()
    sd = ((weights * (elites - mean).square()).sum(0) / weights.sum()).sqrt()
    second = wide[1][0]
    unclipped = second.abs().amax(0) < 1.0
    ratio = second.std(0) / sd
    assert float(ratio[unclipped].mean() if bool(unclipped.any()) else ratio.mean()) == pytest.approx(1.0, abs=0.1)


def test_sd_is_kept_below_its_upper_bound() -> None:
    options = {"filter_gain": 1.0, "elites": 200, "candidates": 400, "sd": 0.5, "noise": "normal", "iterations": 2}
    asked = planned(sd_bounds=(0.01, 0.1), sharpness=1e-9, **options)[1].asked[1]
    assert float(asked.std(1).mean()) == pytest.approx(0.1, rel=0.05)


def test_noise_of_an_executed_elite_has_the_first_actions_sd() -> None:
    """After a refit the sds differ along the plan: only the first action's returns depend on it here."""
    seeds = tuple(range(400))
    narrow = lambda plans: -100 * (plans[:, :, 0] - 0.1).square().sum(2)  # noqa: E731
    posed = problem(narrow, seeds, 3, 1, True)
    mppi = MPPI(200, 3, 0.5, 1.0, 1.0, "normal", elites=20, sd_bounds=(1e-4, 2.0), tail="zero", execute="elite")
    actions = mppi.optimize(posed, cold(mppi, posed)).actions
    assert float(actions[:, 0].std()) < 0.2 < 0.3 < float(actions[:, 1].std())


def test_one_elite_is_drawn_by_weight() -> None:
    """Two plans with returns 0 and ln 2: the better one is executed twice as often; noise only while exploring."""
    seeds = tuple(range(1500))
    plans = torch.tensor([-0.5, 0.5], dtype=torch.float64).view(1, 2, 1, 1).expand(len(seeds), 2, 3, 1)
    options = {"candidates": 3, "elites": 2, "iterations": 1, "policy_candidates": 2, "execute": "elite", "sd": 0.1}

    def returns(asked: Tensor) -> Tensor:
        asked = asked[:, :, 0, 0]
        values = torch.where(asked == 0.5, LN2, torch.where(asked == -0.5, 0.0, -1e3))
        return torch.where(torch.tensor([False, True, True]), values, float("-inf"))

    for explore in (False, True):
        posed = problem(returns, seeds, 3, 1, explore, policy_plans=lambda n: plans[:, :n])
        mppi = MPPI(**options)  # type: ignore[arg-type]
        plan = mppi.optimize(posed, cold(mppi, posed))
        assert float((plan.actions[:, 1, 0] == 0.5).double().mean()) == pytest.approx(2 / 3, abs=0.04)
        noise = plan.actions[:, 0] - plan.actions[:, 1]
        assert float(noise.std()) == pytest.approx(0.1 if explore else 0.0, rel=0.1)
        assert torch.equal(plan.warm["previous"], plan.actions[:, 0])
        torch.testing.assert_close(plan.warm["plan"], torch.full_like(plan.actions, 1 / 6))


def test_the_mean_gets_no_noise_while_exploring() -> None:
    assert torch.equal(planned(explore=True)[0].actions, planned(explore=False)[0].actions)


def test_tail_of_the_mean() -> None:
    warm = planned()[0].warm
    for tail in ("repeat", "zero"):
        options = {"tail": tail, "sd": 1e-9, "iterations": 1, "filter_gain": 1.0}
        asked = planned(warm=warm, **options)[1].asked[0][0, 0]
        torch.testing.assert_close(asked[:-1], warm["plan"][0, 1:], atol=1e-7, rtol=0)
        expected = warm["plan"][0, -1] if tail == "repeat" else torch.zeros(2, dtype=torch.float64)
        torch.testing.assert_close(asked[-1], expected, atol=1e-7, rtol=0)
