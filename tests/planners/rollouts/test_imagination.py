"""Branched rollouts against models whose every step is known."""

from __future__ import annotations

import math

import gymnasium
import pytest
import torch
from torch import Tensor, nn

from mbrl.data import Generator, ModelStep, Task, Transitions, draw_normal, make_generator
from mbrl.models import DynamicsModel
from mbrl.planners.rollouts.hooks import RolloutContext, RolloutHook
from mbrl.planners.rollouts.imagination import Imagination
from mbrl.planners.rollouts.selectors import ActionSelector, PolicyMode, PolicySample, Situation
from mbrl.policies import Policy
from mbrl.testing import LinearEnv, LinearModel, linear_task
from tests.planners.exact_models import WALK, PendulumModel, WalkModel


class NoisyPolicy(Policy):
    """Pushes outwards, with noise."""

    def __init__(self, action_size: int = 1) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(0.3))
        self.action_size = action_size

    def sample(self, obs: Tensor, generator: Generator, prev_action: Tensor | None = None) -> tuple[Tensor, Tensor]:
        noise = draw_normal(generator, len(obs), self.action_size, obs)
        return torch.tanh(self.bias * obs[:, :1].sign() + noise), noise.sum(-1)

    def mode(self, obs: Tensor, prev_action: Tensor | None = None) -> Tensor:
        return torch.tanh(self.bias * obs[:, :1].sign()).expand(-1, self.action_size)


def imagine(
    model: DynamicsModel, starts: Transitions, length: int, *, drop: bool = True, chunk: int = 64, **parts: object
) -> tuple[list[Transitions], dict[str, Tensor | float]]:
    stored: list[Transitions] = []
    options = {"policy": NoisyPolicy(), "selector": PolicySample(), "hooks": [], **parts}
    imagination = Imagination(dynamics=model, seed=3, chunk_rows=chunk, drop=drop, **options)  # type: ignore[arg-type]
    return stored, imagination.run(starts, length, 500, stored.append)


def walk_starts(n: int) -> Transitions:
    obs = torch.rand(n, 1, generator=make_generator("cpu", 0, "starts")) * 1.8 - 0.9
    return Transitions.from_obs(obs, 1)


@pytest.mark.check("coplanner-28")
def test_oracle_rollouts_are_the_simulator() -> None:
    """Every stored step of the closed-form pendulum is a step of Gymnasium's from the same state."""
    task = Task(
        "Pendulum-v1", 3, 1, (-2.0,), (2.0,), known_reward="mbrl.envs.rewards.pendulum",
        known_terminated="mbrl.envs.terminations.never",
    )  # fmt: skip
    model = PendulumModel()
    model.build(task)
    draw = make_generator("cpu", 1, "pendulum")
    angle = (torch.rand(40, generator=draw, dtype=torch.float64) * 2 - 1) * math.pi
    speed = (torch.rand(40, generator=draw, dtype=torch.float64) * 2 - 1) * 6
    starts = Transitions.from_obs(torch.stack([angle.cos(), angle.sin(), speed], -1), 1)
    stored, _ = imagine(model, starts, 5)
    rows = Transitions.cat(stored)
    assert len(rows) == 200 and not rows.terminated.any()
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.reset(seed=0)
    for i in range(len(rows)):
        cos, sin, velocity = rows.obs[i].tolist()
        env.state = torch.tensor([math.atan2(sin, cos), velocity], dtype=torch.float64).numpy()  # type: ignore[attr-defined]
        next_obs, reward, *_ = env.step((2 * rows.action[i]).numpy())
        torch.testing.assert_close(rows.next_obs[i], torch.as_tensor(next_obs).double(), atol=1e-5, rtol=0)
        assert reward == pytest.approx(rows.reward[i].item(), abs=1e-5)
    env.close()


@pytest.mark.check("coplanner-28")
def test_oracle_rollouts_end_where_the_simulator_ends() -> None:
    """The linear system in float64: next observation, reward and termination of every stored step are the environment's."""
    task = linear_task()
    model = LinearModel()
    model.build(task)
    obs = (torch.rand(60, 2, generator=make_generator("cpu", 2, "linear"), dtype=torch.float64) * 2 - 1) * 1.95
    stored, _ = imagine(model, Transitions.from_obs(obs, 1), 6)
    rows = Transitions.cat(stored)
    assert 5 < int(rows.terminated.sum()) < 60
    env = LinearEnv()
    for i in range(len(rows)):
        env.state = rows.obs[i].numpy()
        next_obs, reward, terminated, *_ = env.step(rows.action[i].numpy())
        # the model's matrices are float32
        torch.testing.assert_close(rows.next_obs[i], torch.from_numpy(next_obs), rtol=1e-6, atol=1e-6)
        assert reward == pytest.approx(rows.reward[i].item(), abs=1e-5)
        assert terminated == rows.terminated[i].item()


@pytest.mark.check("coplanner-28")
@pytest.mark.check("ravl-9.6")
@pytest.mark.parametrize("drop", [True, False])
def test_terminated_rows_have_no_successors(drop: bool) -> None:
    model = WalkModel(noise=0.05)
    model.build(WALK)
    starts = walk_starts(200)
    stored, report = imagine(model, starts, 8, drop=drop)
    rows = Transitions.cat(stored)
    assert torch.equal(rows.terminated, rows.next_obs[:, 0].abs() > 1)
    assert torch.equal(rows.reward, -(rows.obs + 0.1 * rows.action)[:, 0].square())
    assert not (rows.obs[:, 0].abs() > 1).any()  # nothing goes on from beyond the line
    # each live row has exactly one successor: stored = Σ over depths of the rows still alive, never more than M·k
    ends = int(rows.terminated.sum())
    assert 0 < ends < 200
    assert report["rollout/stored"] == len(rows) <= 200 * 8
    starting = set(starts.obs[:, 0].tolist())
    continued = [value for value in rows.obs[:, 0].tolist() if value not in starting]
    reached = rows.next_obs[:, 0][~rows.terminated].tolist()
    assert set(continued) <= set(reached)
    survivors = 200 - ends
    assert len(rows) == 200 + len(continued) and len(reached) - len(continued) == survivors


def test_dropping_and_masking_store_the_same_rows() -> None:
    model = WalkModel(noise=0.1)
    model.build(WALK)
    dropped, first = imagine(model, walk_starts(150), 6, drop=True)
    masked, second = imagine(model, walk_starts(150), 6, drop=False)
    a, b = Transitions.cat(dropped), Transitions.cat(masked)
    assert first["rollout/stored"] == second["rollout/stored"]
    for name in ("obs", "action", "reward", "next_obs", "terminated", "truncated"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name


def test_rows_that_are_not_finite_are_dropped_and_counted() -> None:
    model = WalkModel(bad_above=0.5)
    model.build(WALK)
    starts = walk_starts(100)
    bad = int((starts.obs > 0.5).sum())
    stored, report = imagine(model, starts, 1)
    assert bad > 0 and float(report["rollout/not_finite"]) == bad
    assert torch.isfinite(Transitions.cat(stored).next_obs).all() and report["rollout/stored"] == 100 - bad


def test_random_numbers_depend_on_the_chunk_and_the_tick_alone() -> None:
    model = WalkModel(noise=0.1)
    model.build(WALK)
    starts = walk_starts(64)
    both, _ = imagine(model, starts, 2, chunk=32)
    first, _ = imagine(model, starts.select(slice(0, 32)), 2, chunk=32)
    assert torch.equal(both[0].next_obs, first[0].next_obs)
    assert not torch.equal(both[0].action, both[2].action)  # the second chunk draws other numbers


class Stop(RolloutHook):
    """Halts rollouts above a bound and penalises every step."""

    want = ("prediction",)

    def __init__(self, bound: float) -> None:
        self.bound = bound
        self.depths: list[int] = []

    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        assert step.prediction is not None and step.prediction.mean.shape == (3, len(step.obs), 1)
        self.depths.append(context.depth)
        step.reward = step.reward - 10
        step.halt = step.next_obs[:, 0] > self.bound
        return step


def test_a_hook_changes_what_is_stored_and_what_goes_on() -> None:
    model = WalkModel(noise=0.05)
    model.build(WALK)
    hook = Stop(0.2)
    stored, _ = imagine(model, walk_starts(100), 3, hooks=[hook], chunk=100)
    rows = Transitions.cat(stored)
    assert hook.depths == [0, 1, 2]
    assert (rows.reward < -9).all()
    assert torch.equal(rows.truncated, (rows.next_obs[:, 0] > 0.2) & ~rows.terminated)
    assert not (stored[1].obs[:, 0] > 0.2).any()


class Planning(ActionSelector):
    """Draws from every stream it is given and then does what PolicySample does."""

    def select(self, situation: Situation) -> Tensor:
        draw_normal(situation.planning_generator, len(situation.obs), 5, situation.obs)
        state = situation.start(situation.planning_generator)
        situation.dynamics.step(state, torch.zeros(len(situation.obs), 1))
        return situation.policy.sample(situation.obs, situation.policy_generator)[0]


def test_planning_moves_no_other_stream() -> None:
    model = WalkModel(noise=0.1)
    model.build(WALK)
    plain, _ = imagine(model, walk_starts(100), 5)
    planned, _ = imagine(model, walk_starts(100), 5, selector=Planning())
    for a, b in zip(plain, planned, strict=True):
        assert torch.equal(a.next_obs, b.next_obs) and torch.equal(a.action, b.action)


def test_policy_mode_takes_the_deterministic_action() -> None:
    model = WalkModel()
    model.build(WALK)
    stored, _ = imagine(model, walk_starts(20), 1, selector=PolicyMode())
    assert torch.equal(stored[0].action, NoisyPolicy().mode(stored[0].obs))


class Following(ActionSelector):
    """Half the action before."""

    def select(self, situation: Situation) -> Tensor:
        before = situation.prev_action
        return torch.full_like(situation.obs, 0.8) if before is None else 0.5 * before


@pytest.mark.parametrize("drop", [True, False])
def test_selectors_see_the_action_before(drop: bool) -> None:
    """That of the rows at first, if they know it, then the rollout's own, of the rows that go on."""
    model = WalkModel()
    model.build(WALK)
    starts = walk_starts(40)
    unknown, _ = imagine(model, starts, 3, drop=drop, selector=Following())
    taken = {round(value, 4) for part in unknown for value in part.action.flatten().tolist()}
    assert taken == {0.8, 0.4, 0.2}
    starts.extras["prev_action"] = starts.obs.clone()
    known, _ = imagine(model, starts, 2, drop=drop, selector=Following())
    rows = Transitions.cat(known)
    first, second = rows.select(slice(0, 40)), rows.select(slice(40, None))
    assert torch.equal(first.action, 0.5 * starts.obs) and torch.equal(second.obs, first.next_obs[~first.terminated])
    assert torch.equal(second.action, 0.5 * first.action[~first.terminated])
