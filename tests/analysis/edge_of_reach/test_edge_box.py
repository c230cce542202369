"""The box whose reach is known: its geometry, its values in closed form, and targets patched with them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mbrl.data import Transitions, make_generator
from mbrl.planners import BatchContext
from mbrl.policies import BC, SAC
from mbrl.testing import check_batch_hook
from tests.analysis.edge_of_reach.edge_box import (
    EDGE,
    GAMMA,
    LENGTH,
    START,
    TASK,
    EdgeBox,
    Patched,
    inward_value,
    norm,
    ring_value,
    starts,
)


@pytest.mark.check("ravl-9.4")
def test_rollouts_reach_the_box_that_they_can_and_step_from_no_further_than_its_edge() -> None:
    generator = torch.Generator().manual_seed(0)
    model = EdgeBox()
    model.build(TASK)
    state = model.start(Transitions.from_obs(starts(200, generator), 2), generator)
    for t in range(LENGTH):
        assert bool((norm(state.obs) <= START + t).all()) and bool((norm(state.obs) <= EDGE).all())
        action = torch.rand(200, 2, generator=generator) * 2 - 1
        action[:20] = state.obs[:20].sign()  # straight out
        step = model.step(state, action)
        state = step.state
    assert bool((norm(state.obs) <= START + LENGTH).all())
    at_edge = norm(state.obs) > 11
    assert int(at_edge[:20].sum()) > 0 and not bool(at_edge[20:].any()) and EDGE == 11


@pytest.mark.check("ravl-9.4")
def test_values_in_closed_form_are_those_of_value_iteration() -> None:
    assert float(inward_value(torch.tensor([5.0, 0.0], dtype=torch.float64))) == pytest.approx(-0.9900499, abs=1e-7)
    known = ring_value(torch.tensor([5.0, 6.0, 7.0, 12.0], dtype=torch.float64))
    torch.testing.assert_close(known[:3], torch.full((3,), 60.0, dtype=torch.float64))
    assert float(known[3]) == pytest.approx(58.519851, abs=1e-6)
    assert float(known[3]) == pytest.approx(1.460447605 + 0.9509900499 * 60, abs=1e-6)
    side = torch.arange(-12, 13, dtype=torch.float64)  # states and actions on integers hold the best plan from there
    line = _value_iteration(side, 0.1 * torch.minimum(side.abs(), 12 - side.abs()))
    torch.testing.assert_close(line, ring_value(side.abs()), rtol=1e-6, atol=1e-6)
    plane = torch.cartesian_prod(side, side)
    pays = (-0.1 * torch.linalg.vector_norm(plane, dim=-1)).view(25, 25)
    found = torch.zeros_like(pays)
    for _ in range(40):
        worth = torch.nn.functional.pad(pays + GAMMA * found, (1, 1, 1, 1), value=-torch.inf)
        found = torch.nn.functional.max_pool2d(worth[None, None], 3, stride=1)[0, 0]
    torch.testing.assert_close(found.flatten(), inward_value(plane), rtol=1e-9, atol=1e-9)


def _value_iteration(side: Tensor, pays: Tensor) -> Tensor:
    found = torch.zeros_like(side)
    for _ in range(3000):
        worth = torch.nn.functional.pad(pays + GAMMA * found, (1, 1), value=-torch.inf)
        found = worth.unfold(0, 3, 1).amax(-1)
    return found


def rows() -> Transitions:
    obs = torch.tensor([[0.0, 0.0], [10.5, 0.0], [10.5, 3.0], [10.0, 0.0]])
    action = torch.tensor([[1.0, 0.0]]).expand(4, 2)
    led_to = obs + action
    ended = torch.tensor([False, False, True, False])
    extras = {"cut": torch.tensor([[0.0], [1.0], [0.0], [1.0]])}
    return Transitions(obs, action, -0.1 * norm(led_to), led_to, ended, torch.zeros_like(ended), extras=extras)


def patched(batch: Transitions, learner: SAC, model_rows: slice, hook: Patched | None = None) -> tuple[Transitions, dict]:  # type: ignore[type-arg]
    said: dict[str, Tensor] = {}
    context = BatchContext(learner, None, make_generator("cpu", 0), model_rows, said.update)
    return (hook or Patched())(batch, context), said


def learner() -> SAC:
    made = SAC(hidden=[8])
    made.build(TASK)
    return made


def test_targets_at_the_edge_are_the_oracles_and_no_others_move() -> None:
    batch, sac = rows(), learner()
    before = sac.target(batch, make_generator("cpu", 1))
    found, said = patched(batch, sac, slice(0, 4))
    after = sac.target(found, make_generator("cpu", 1))
    true = batch.reward[1] + GAMMA * inward_value(batch.next_obs[1])
    torch.testing.assert_close(after[1], true)
    assert torch.equal(after[[0, 2, 3]], before[[0, 2, 3]]) and before[1] != after[1]
    assert float(said["patched"]) == pytest.approx(1 / 3)  # of the targets that ask for a value
    real, _ = patched(batch, sac, slice(2, 4))
    assert torch.equal(sac.target(real, make_generator("cpu", 1)), before), "real rows stay"


def test_without_a_test_of_the_edge_it_is_where_rollouts_are_cut() -> None:
    class Ends(Patched):
        def at_edge(self, rows: Transitions) -> Tensor:
            return super(Patched, self).at_edge(rows)

    batch, sac = rows(), learner()
    found, _ = patched(batch, sac, slice(0, 4), Ends())
    after = sac.target(found, make_generator("cpu", 1))
    true = batch.reward + GAMMA * inward_value(batch.next_obs)
    torch.testing.assert_close(after[[1, 3]], true[[1, 3]])


def test_a_patch_keeps_the_contract_of_batch_hooks() -> None:
    check_batch_hook(Patched, TASK)


def test_a_learner_without_targets_and_an_oracle_of_another_shape_are_refused() -> None:
    from mbrl.errors import ShapeError, UnsupportedError

    clone = BC(hidden=[8])
    clone.build(TASK)
    with pytest.raises(UnsupportedError, match="OraclePatch: expected a learner with a discount, got BC"):
        Patched()(rows(), BatchContext(clone, None, make_generator("cpu", 0), slice(0, 4)))

    class Wide(Patched):
        def oracle(self, obs: Tensor) -> Tensor:
            return obs

    with pytest.raises(ShapeError, match=r"oracle"):
        patched(rows(), learner(), slice(0, 4), Wide())
