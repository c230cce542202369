"""`edge_of_reach` finds the targets that nothing fits, and says what the critics make of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.analysis import EdgeOfReach, edge_of_reach
from mbrl.analysis.edge_of_reach.targets_result import EDGE as AT_EDGE
from mbrl.analysis.edge_of_reach.targets_result import NEAR, WITHIN
from mbrl.data import Transitions, make_generator
from mbrl.errors import ConfigError, DataError, ShapeError, UnsupportedError
from mbrl.planners import BatchContext, Dyna, EdgeValues, OfflineDyna, PolicyMode, TrustedLength, UncertaintyPenalty
from mbrl.policies import BC, SAC
from mbrl.testing import LinearModel, check_batch_hook
from mbrl.uncertainty import MeanDisagreement
from tests.analysis.edge_of_reach.edge_box import LENGTH, TASK, EdgeBox, recorded


class Outward(PolicyMode):
    """Straight out from 0, as fast as can be."""

    def select(self, situation: Any) -> Tensor:
        return situation.obs.sign()


def built(**options: Any) -> OfflineDyna:
    settings = {"rollout_length": LENGTH, "rollout_selector": Outward(), **options}
    planner = OfflineDyna(settings.pop("dynamics", EdgeBox()), settings.pop("learner", SAC(hidden=[8])), **settings)
    planner.build(TASK)
    planner.make_optimizers()
    return planner


def found(planner: OfflineDyna | None = None, rows: Transitions | None = None, **options: Any) -> EdgeOfReach:
    return edge_of_reach(
        planner or built(), recorded() if rows is None else rows,
        generator=make_generator("cpu", 0), **{"rollouts": 50, **options},
    )  # fmt: skip


def test_only_ends_that_no_other_rollout_steps_from_are_at_the_edge() -> None:
    said = found(threshold=0.0)
    assert said.value.shape == (50 * LENGTH,) and int(said.cut.sum()) == 50
    assert torch.equal(said.cut, said.depth == LENGTH - 1)
    assert torch.equal(said.edge, said.cut), "all go straight out, each further than all others step from"
    assert bool((said.distance[~said.cut] == 0).all())
    sd = recorded().obs.double().std(0, correction=0)
    assert float(said.distance[said.cut].min()) <= float((1 / sd).norm())  # one step from its own state before
    assert found(threshold=100.0).edge.sum() == 0
    assert said.next_obs.shape == (50 * LENGTH, 2) and float(said.next_obs[said.cut].abs().amax(-1).min()) >= LENGTH
    groups = said.groups()
    assert set(groups) == {WITHIN, NEAR, AT_EDGE} and bool((sum(groups.values()) == 1).all())


def test_an_end_that_recorded_rows_hold_is_within_reach_where_batches_have_some() -> None:
    ends = found(threshold=0.0)
    still = found(built(rollout_selector=Still()), threshold=1e-6)
    assert ends.edge.any() and not still.edge.any(), "who stands still ends where it began"
    assert torch.equal(found(selector=Still(), threshold=1e-6).next_obs, still.next_obs)
    assert "no recorded rows" not in " ".join(ends.notes)
    assert "no recorded rows" in " ".join(found(built(real_ratio=0.0)).notes)
    everywhere = torch.cartesian_prod(torch.arange(-12.0, 13.0), torch.arange(-12.0, 13.0))
    rows = Transitions.cat([recorded(), Transitions.from_obs(everywhere, 2)])
    rows.extras["weight"] = torch.cat((torch.ones(200), torch.zeros(625)))  # rollouts begin at none of the grid
    near = 1.0 / float(rows.obs.double().std(0, correction=0).min())  # no state is further from the grid than 0.7
    assert not found(rows=rows, threshold=near).edge.any()
    assert found(built(real_ratio=0.0), rows, threshold=near / 10).edge.any()


class Still(PolicyMode):
    def select(self, situation: Any) -> Tensor:
        return torch.zeros_like(situation.obs)


def test_values_are_the_target_critics_least_and_penalties_their_mean_above_it() -> None:
    planner = built(learner=SAC(hidden=[8], critics=4))
    said = found(planner)
    assert said.critics == 4 and bool((said.penalty >= 0).all()) and said.penalty.max() > 0
    assert said.attainable == 0.0  # rewards are below 0
    table = said.table()
    assert sum(table["targets"][:3]) == len(said.value)
    assert table["targets_of"][3:] == [f"depth {depth}" for depth in range(LENGTH)]
    edge, inside = (float(said.value[where].mean()) for where in (said.edge, ~said.cut))
    assert said.summary()["edge"]["value_mean"] == pytest.approx(edge) and table["value_mean"][2] == pytest.approx(edge)
    assert table["value_mean"][0] == pytest.approx(inside)
    above = float((said.value[said.edge] > 0).double().mean())
    assert said.summary()["edge"]["share_unattainable"] == pytest.approx(above)
    assert "at the edge of reach" in said.in_short()[0]
    assert len(said.figures()) == 2


def test_the_planner_and_its_parts_stay_as_they_are_and_the_same_seed_finds_the_same() -> None:
    penalty = UncertaintyPenalty(MeanDisagreement(), weight=1.0, target=0.5)
    model = LinearModel([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]], members=2, spread=0.1, learn_reward=True)
    planner = built(dynamics=model, rollout_hooks=[penalty])
    before = {name: value.clone() for name, value in planner.state_dict().items() if isinstance(value, Tensor)}
    torch.manual_seed(3)
    first, drawn = found(planner), torch.rand(())
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(())), "the global generator isn't asked"
    assert penalty.weight.state_dict() == {}
    assert all(torch.equal(planner.state_dict()[name], value) for name, value in before.items())
    assert torch.equal(first.value, found(planner).value)


def test_units_change_nothing_and_a_constant_dimension_is_named() -> None:
    """A dimension in millimetres counts as one in metres, one that never moves not at all."""
    plain = found(threshold=0.3)
    scaled = LinearModel([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1e3]], learn_reward=True)
    rows = recorded()
    stretched = [torch.stack((each[:, 0], each[:, 1] * 1e3), -1) for each in (rows.obs, rows.next_obs)]
    rows = replace(rows, obs=stretched[0], next_obs=stretched[1])
    found_scaled = found(built(dynamics=scaled), rows, threshold=0.3)
    torch.testing.assert_close(found_scaled.distance, plain.distance, rtol=1e-4, atol=1e-4)
    flat = replace(rows, obs=torch.stack((rows.obs[:, 0], torch.full_like(rows.obs[:, 0], 7.0)), -1))
    assert any("Dims [1] of the observation are constant" in note for note in found(rows=flat).notes)


def test_the_default_threshold_is_the_spacing_of_the_data() -> None:
    rows = Transitions.from_obs(torch.arange(100.0).unsqueeze(-1).expand(100, 2), 2)
    sd = float(rows.obs.double().std(0, correction=0)[0])
    assert found(rows=rows).threshold == pytest.approx(2**0.5 / sd, rel=1e-6)


def test_steps_that_end_the_task_ask_for_no_value() -> None:
    ending = replace(TASK, known_terminated=f"{__name__}.off_the_right")
    planner = OfflineDyna(EdgeBox(), SAC(hidden=[8]), rollout_length=LENGTH, rollout_selector=Outward())
    planner.build(ending)
    said = found(planner)
    assert len(said.value) < 50 * LENGTH and int(said.cut.sum()) < 50
    assert any("ended the task and are left out" in note for note in said.notes)


def off_the_right(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    return next_obs[..., 0] > 5


def test_rollouts_whose_length_is_measured_count_as_the_longest_that_they_may_be() -> None:
    planner = Dyna(EdgeBox(), SAC(hidden=[8]), rollout_length=TrustedLength(longest=LENGTH), rollout_selector=Outward())
    planner.build(TASK)
    assert found(planner).value.shape == (50 * LENGTH,)  # type: ignore[arg-type]


def test_what_has_no_values_or_no_rollouts_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="whose learner values states, got OfflineDyna without critics in BC"):
        found(_clone())
    alone = OfflineDyna(None, SAC(hidden=[8]), real_ratio=1.0)
    alone.build(TASK)
    with pytest.raises(UnsupportedError, match="planner with a model, whose rollouts end, got OfflineDyna without one"):
        found(alone)
    with pytest.raises(ConfigError, match=r"edge_of_reach\(rollouts"):
        found(rollouts=0)
    with pytest.raises(ConfigError, match=r"edge_of_reach\(threshold"):
        found(threshold=-1.0)
    with pytest.raises(ConfigError, match=r"edge_of_reach\(length"):
        found(length=0)
    with pytest.raises(DataError, match="expected recorded rows, got none"):
        found(rows=recorded().select(slice(0, 0)))
    with pytest.raises(DataError, match="got others in reward"):
        found(rows=replace(recorded(), reward=recorded().reward * torch.nan))
    with pytest.raises(ShapeError, match="give rows of the planner's own task"):
        found(rows=replace(recorded(), obs=torch.zeros(200, 3)))
    with pytest.raises(ConfigError, match=r"edge_of_reach\(rows"):
        found(rows=[1.0])  # type: ignore[arg-type]


def _clone() -> OfflineDyna:
    planner = OfflineDyna(EdgeBox(), BC(hidden=[8]), real_ratio=1.0)
    planner.build(TASK)
    return planner


def batch(cut: list[float]) -> Transitions:
    rows = recorded().select(slice(0, len(cut)))
    return replace(rows, extras={**rows.extras, "cut": torch.tensor(cut).unsqueeze(-1)})


def watched(hook: EdgeValues, rows: Transitions, learner: Any) -> dict[str, Tensor]:
    said: dict[str, Tensor] = {}
    assert hook(rows, BatchContext(learner, None, make_generator("cpu", 0), slice(0, len(rows)), said.update)) is rows
    return said


def test_values_at_ends_are_followed_beside_the_others() -> None:
    learner, hook = SAC(hidden=[8], critics=3), EdgeValues()
    learner.build(TASK)
    rows = batch([0.0, 1.0, 0.0, 1.0])
    rows.terminated[3] = True
    said = watched(hook, rows, learner)
    values = learner.value(rows.next_obs, None, "target")
    least, apart = values.amin(0), values.mean(0) - values.amin(0)
    assert float(said["edge_share"]) == pytest.approx(1 / 3)
    torch.testing.assert_close(said["edge_value"], least[1])
    torch.testing.assert_close(said["inner_value"], least[[0, 2]].mean())
    torch.testing.assert_close(said["inner_value_max"], least[[0, 2]].amax())
    torch.testing.assert_close(said["edge_penalty"], apart[1])
    none = watched(hook, batch([0.0, 0.0]), learner)
    assert float(none["edge_share"]) == 0 and none["edge_value"] == said["edge_value"], "the last that was seen"
    clone = BC(hidden=[8])
    clone.build(TASK)
    with pytest.raises(UnsupportedError, match="EdgeValues: expected a learner with critics, got BC; leave the hook out"):
        watched(hook, rows, clone)


def test_what_follows_values_keeps_the_contract_of_batch_hooks() -> None:
    check_batch_hook(EdgeValues, TASK)
