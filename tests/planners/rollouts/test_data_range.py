"""How far a state is outside the data, in widths of each dimension's range."""

from __future__ import annotations

import pytest
import torch

from mbrl.data import Transitions
from mbrl.planners import DataRange
from tests.planners.exact_models import WALK, WalkModel
from tests.planners.rollouts.test_imagination import imagine, walk_starts
from tests.planners.rollouts.test_imagined_learning import made
from tests.planners.test_dyna import dyna, run


def rows(*columns: list[float]) -> Transitions:
    return Transitions.from_obs(torch.tensor(columns).T, 1)


def test_outside_is_beyond_the_range_by_more_than_its_width() -> None:
    data = DataRange.of(rows([0.0, 1.0, 3.0], [-10.0, 10.0, 0.0]))
    assert data.low.tolist() == [0.0, -10.0] and data.width.tolist() == [3.0, 20.0]
    points = torch.tensor([[3.0, 0.0], [6.0, 30.0], [6.1, 0.0], [-3.1, 0.0], [0.0, 30.1], [0.0, -30.1], [-3.0, -30.0]])
    assert data.outside(points).tolist() == [False, False, True, True, True, True, False]
    assert data.outside(points, 0.0).tolist() == [False, True, True, True, True, True, True]
    assert data.outside(points.reshape(7, 1, 2)).shape == (7, 1)


def test_next_observations_count_as_data() -> None:
    one = rows([0.0, 1.0])
    one.next_obs = one.next_obs * 2 - 1
    assert DataRange.of(one).low.tolist() == [-1.0] and DataRange.of(one).high.tolist() == [1.0]


@pytest.mark.parametrize("value", [0.0, 1.0, -3e-6, 4e7])
def test_a_constant_column_is_judged_by_the_resolution_of_its_numbers(value: float) -> None:
    data, unit = DataRange.of(rows([value] * 5)), 2.0**-23 * (abs(value) or 1.0)
    points = torch.tensor([value]) + unit * torch.tensor([[0.0], [4.0], [-8.0], [64.0], [-64.0], [1e4]])
    assert data.outside(points).tolist() == [False, False, False, True, True, True]


@pytest.mark.parametrize("scale", [1.0, 2.0**-40, 2.0**40])
def test_units_decide_nothing(scale: float) -> None:
    column = torch.randn(50, 1)
    data = [DataRange.of(Transitions.from_obs(each, 1)) for each in (column, column * scale)]
    points = torch.linspace(-20, 20, 100)[:, None]
    assert torch.equal(data[0].outside(points), data[1].outside(points * scale))


def test_a_column_that_rounding_moves_keeps_its_own_narrow_range() -> None:
    """cos² + sin² − 1 in float32: what counts is the range that it has, not that of its neighbours."""
    angle = torch.linspace(-3, 3, 1000)
    cos, sin = angle.cos(), angle.sin()
    data = DataRange.of(rows(cos.tolist(), ((cos.double() ** 2 + sin.double() ** 2) - 1).float().tolist()))
    assert 1e-8 < float(data.width[1]) < 1e-6
    assert data.outside(torch.tensor([[0.0, 1e-3], [0.0, 1e-8]])).tolist() == [True, False]


def test_clamping_leaves_what_is_not_finite() -> None:
    data = DataRange.of(rows([0.0, 2.0]))
    points = torch.tensor([[-5.0], [1.0], [3.5], [torch.inf], [-torch.inf], [torch.nan]])
    found = data.clamp(points, 0.5)[:, 0].tolist()
    assert found[:5] == [-1.0, 1.0, 3.0, torch.inf, -torch.inf] and found[5] != found[5]


@pytest.mark.parametrize("drop", [True, False])
def test_the_share_of_imagined_states_outside_is_reported(drop: bool) -> None:
    model = WalkModel(noise=0.3, bad_above=0.8)
    model.build(WALK)
    data = DataRange.between(torch.tensor([-0.2]), torch.tensor([0.2]))
    stored, report = imagine(model, walk_starts(100), 3, drop=drop, data=data)
    kept = Transitions.cat(stored).next_obs[:, 0]
    share = (kept.abs() > 0.6).float().mean()
    assert 0.1 < share < 0.9 and float(report["rollout/outside"]) == pytest.approx(share.item())
    assert "rollout/outside" not in imagine(model, walk_starts(10), 1)[1]


def test_learning_takes_the_range_from_its_real_rows() -> None:
    planner = made()
    planner.learning.imagine(6, 2, capacity=12, clock=0)
    assert planner.metrics.pop()["rollout/outside"] == 0
    first = planner.learning._range
    planner.learning.imagine(6, 2, capacity=12, clock=1)
    assert planner.learning._range is first, "looked up anew only when there are other rows"
    planner.learning.real.add(rows([50.0]))
    planner.learning.imagine(6, 2, capacity=12, clock=2)
    assert planner.learning._range is not first and planner.learning._range[1].high.item() == 50  # type: ignore[index]


def test_dyna_reports_it() -> None:
    planner = dyna()
    run(planner, 21)
    assert planner.metrics.pop()["rollout/outside"] == 0
