"""States of rollouts that are an observation and more: by rows, from step to step, and in everything that steps a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from mbrl.analysis.forecasts.one_step_predictions import predict_rows
from mbrl.analysis.forecasts.particle_rollouts import particle_rollouts
from mbrl.analysis.forecasts.windows import place_windows
from mbrl.data import Generator, ModelState, ModelStep, Prediction, RowGenerator, Task, Transitions, make_generator
from mbrl.errors import ShapeError, UnsupportedError
from mbrl.models import DynamicsModel, HasMembers, ModelVectorEnv, ObsState, SimState
from mbrl.planners import UPMPC, PlanObjective, PolicyMode, Situation
from mbrl.planners.plans.propagation import PROPAGATIONS, Propagation
from mbrl.planners.rollouts.imagination import Imagination
from mbrl.policies import Policy


class Cell(NamedTuple):
    a: Tensor
    b: Tensor


@dataclass(kw_only=True)
class Recurrent(ObsState):
    hidden: Tensor
    cell: tuple[Tensor, Tensor]
    further: dict[str, Tensor] = field(default_factory=dict)
    named: Cell | None = None
    scale: float = 1.0
    nothing: Tensor | None = None


def recurrent(rows: int = 4, first: float = 0.0) -> Recurrent:
    number = first + torch.arange(float(rows))
    column = number[:, None]
    return Recurrent(
        obs=column,
        generator=make_generator("cpu", "state"),
        member=number.long(),
        hidden=column.expand(rows, 3).clone(),
        cell=(number, column.expand(rows, 2)[:, None].clone()),
        further={"long": number.long()},
        named=Cell(number, -number),
        scale=3.0,
    )


def parts(state: ModelState) -> list[Tensor]:
    assert isinstance(state, Recurrent) and state.named is not None and state.member is not None
    assert state.scale == 3.0 and state.nothing is None and isinstance(state.cell, tuple) and isinstance(state.named, Cell)
    return [state.obs, state.hidden, *state.cell, *state.further.values(), *state.named, state.member]


def rows_of(state: ModelState) -> list[list[float]]:
    """The first number of each row, of each part."""
    return [part.flatten(1)[:, 0].abs().tolist() if part.ndim > 1 else part.abs().tolist() for part in parts(state)]


@pytest.mark.parametrize("rows", [torch.tensor([2, 0]), torch.tensor([True, False, True, False])])
def test_select_takes_the_rows_of_everything(rows: Tensor) -> None:
    expected = [2.0, 0.0] if rows.dtype is torch.int64 else [0.0, 2.0]
    state = recurrent().select(rows)
    assert all(part == expected for part in rows_of(state)) and isinstance(state.generator, RowGenerator)
    assert state.hidden.shape == (2, 3) and state.cell[1].shape == (2, 1, 2)  # type: ignore[attr-defined]


def test_tile_lays_out_blocks_of_everything() -> None:
    state = recurrent(2)
    state.particles = 2
    tiled = state.tile(3)
    assert all(part == [0.0, 1.0] * 3 for part in rows_of(tiled)) and tiled.particles == 1
    assert tiled.hidden.shape == (6, 3) and tiled.cell[1].shape == (6, 1, 2)  # type: ignore[attr-defined]


def test_fork_changes_the_noise_alone() -> None:
    state, other = recurrent(), make_generator("cpu", "other")
    forked = state.fork(other)
    assert forked.generator is other and all(a is b for a, b in zip(parts(forked), parts(state), strict=True))


def test_moved_changes_the_observation_alone() -> None:
    state, obs = recurrent(), torch.full((4, 1), 9.0)
    moved = state.moved(obs)
    assert moved.obs is obs and all(a is b for a, b in zip(parts(moved)[1:], parts(state)[1:], strict=True))
    assert state.obs[1] == 1


def test_replaced_takes_the_rows_of_everything() -> None:
    merged = recurrent().replaced(torch.tensor([3, 1]), recurrent(2, first=10.0))
    assert all(part == [0.0, 11.0, 2.0, 10.0] for part in rows_of(merged))
    plain = ObsState(torch.zeros(2, 1), make_generator("cpu", 0), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(UnsupportedError, match=r"Recurrent.replaced: .*got ObsState; start both alike"):
        recurrent().replaced(torch.tensor([3, 1]), plain)


@pytest.mark.parametrize("change", ["select", "tile"])
def test_what_rollouts_share_is_no_row(change: str) -> None:
    state = recurrent()
    state.hidden = torch.zeros(7, 3)
    with pytest.raises(ShapeError, match=r"Recurrent.hidden: .* a row for each of 4 rollouts, got shape \(7, 3\); keep"):
        state.select(torch.tensor([0])) if change == "select" else state.tile(2)


def test_a_state_that_cannot_be_moved_says_so() -> None:
    obs = torch.zeros(2, 1)
    with pytest.raises(UnsupportedError, match="SimState can't move rollouts to other observations: it has no method moved"):
        SimState(obs, make_generator("cpu", 0), obs, None).moved(obs)


# a model whose steps grow: s' = s + n, with n counted in its state --------------------------------------------------------


@dataclass
class Counted(ObsState):
    count: Tensor | None = None  # B x 1


class Grows(DynamicsModel, HasMembers):
    """s' = s + n, in the n-th step from 0; reward s'; member e of three says s + n + 0 · e."""

    members = 3

    def start(self, rows: Transitions, generator: Generator, *, follow: bool = False) -> Counted:
        plain = super().start(rows, generator, follow=follow)
        assert isinstance(plain, ObsState)
        return Counted(plain.obs, generator, plain.member, count=rows.extras.get("count", torch.zeros_like(rows.obs)))

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        raise AssertionError("an observation says nothing of the count")

    def predict_from(self, state: ObsState, action: Tensor, member: Tensor | None = None) -> Prediction:
        assert isinstance(state, Counted) and state.count is not None
        mean = state.obs + state.count
        if member is None:
            mean = mean.expand(self.members, *mean.shape)
        zero = torch.zeros_like(mean)
        return Prediction(mean, zero, mean[..., 0], zero[..., 0])

    def sample(self, state: ObsState, action: Tensor, drawn: Prediction) -> ModelStep:
        step = super().sample(state, action, drawn)
        assert isinstance(step.state, Counted) and step.state.count is not None
        step.state.count = step.state.count + 1
        return step

    @property
    def drawn_members(self) -> Tensor:
        return torch.arange(3)


def beyond(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """The task ends beyond 50."""
    return next_obs[..., 0] > 50


ENDING = Task("", 1, 1, (-1.0,), (1.0,), known_terminated=f"{__name__}.beyond")


def grows() -> Grows:
    model = Grows()
    model.build(ENDING)
    return model


class Idle(Policy):
    def sample(self, obs: Tensor, generator: Generator, prev_action: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(obs), obs[:, 0]

    def mode(self, obs: Tensor, prev_action: Tensor | None = None) -> Tensor:
        return torch.zeros_like(obs)


STARTS = torch.tensor([[0.0], [46.0], [10.0]])  # the second ends after 46 46 47 49 (+0 +1 +2 +3) at 52


@pytest.mark.parametrize("drop", [True, False])
def test_imagination_keeps_the_rest_of_a_state(drop: bool) -> None:
    stored: list[Transitions] = []
    Imagination(grows(), Idle(), PolicyMode(), [], 0, 8, drop).run(Transitions.from_obs(STARTS, 1), 5, 0, stored.append)
    rows = Transitions.cat(stored)
    led_to = sorted(rows.next_obs[:, 0].tolist())
    assert led_to == sorted([0, 1, 3, 6, 10, 46, 47, 49, 52, 10, 11, 13, 16, 20])


@pytest.mark.parametrize("propagation", PROPAGATIONS)
def test_plans_keep_the_rest_of_a_state(propagation: Propagation) -> None:
    model, particles = grows(), 1 if propagation == "expectation" else 3
    state = model.start(Transitions.from_obs(STARTS, 1), make_generator("cpu", 0))
    found = PlanObjective(model, particles, propagation).returns(state, torch.zeros(3, 2, 4, 1))
    assert found.tolist() == [[10.0] * 2, [46 + 47 + 49 + 52] * 2, [50.0] * 2]


@pytest.mark.parametrize("few", [None, 2])
def test_up_mpc_keeps_the_rest_of_a_state(few: int | None) -> None:
    model = grows()
    state = model.start(Transitions.from_obs(STARTS, 1), make_generator("cpu", 0))
    samples, planning = make_generator("cpu", 1), make_generator("cpu", 2)
    situation = Situation(STARTS, Idle(), model, state.fork, samples, planning)
    selector = UPMPC(1.0, candidates=2, horizon=4, reward_discount=1.0, uncertainty_members=few)
    assert selector.scores(situation).reward[1].tolist() == [10, 46 + 47 + 49 + 52, 50]


def test_environments_of_a_model_keep_the_rest_of_a_state() -> None:
    env = ModelVectorEnv(grows(), Transitions.from_obs(STARTS[:1], 1), 2, time_limit=3, autoreset_mode="disabled")
    env.reset(seed=0)
    action = np.zeros((2, 1), dtype=np.float32)
    seen = [env.step(action)[0][:, 0].tolist() for _ in range(2)]
    env.reset(options={"reset_mask": np.array([True, False])})
    seen.append(env.step(action)[0][:, 0].tolist())
    assert seen == [[0, 0], [1, 1], [0, 3]]


def test_analyses_keep_the_rest_of_a_state() -> None:
    model, number = grows(), torch.arange(6.0)[:, None]
    rows = Transitions.from_obs(torch.zeros(6, 1), 1, count=number)
    (said,) = predict_rows(model, rows, make_generator("cpu", 0))
    assert torch.equal(said.prediction.mean[0], number) and torch.equal(model.predict_rows(rows).mean[0], number)
    found = place_windows([rows], 3, 10, make_generator("cpu", 0))
    ((_, obs, _, behind),) = particle_rollouts(model, found, 2, make_generator("cpu", 0))
    first = found.rows.extras["count"][:, 0, 0]
    assert behind is None and torch.equal(obs[1, :, 2, 0], (3 * first + 3).double())


class Foreign(Grows):
    def start(self, rows: Transitions, generator: Generator, *, follow: bool = False) -> ModelState:  # type: ignore[override]
        return SimState(rows.obs, generator, rows.obs, None)


def test_particles_refuse_a_state_that_they_cannot_spread() -> None:
    model = Foreign()
    model.build(ENDING)
    state = model.start(Transitions.from_obs(STARTS, 1), make_generator("cpu", 0))
    with pytest.raises(UnsupportedError, match=r"Foreign.particles: expected an ObsState.*got SimState; override"):
        model.particles(state, 2, 3)
