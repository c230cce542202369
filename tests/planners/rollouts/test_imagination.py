"""Branched rollouts against models whose every step is known."""

from __future__ import annotations

import math
from dataclasses import replace

import gymnasium
import pytest
import torch
from torch import Tensor, nn

from mbrl.data import Generator, ModelStep, Task, Transitions, draw_normal, make_generator
from mbrl.errors import ShapeError
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


# hooks that project, halt and remember -----------------------------------------------------------------------------------


class Clamp(RolloutHook):
    """Keeps rollouts inside ±`limit`."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        return replace(step, next_obs=step.next_obs.clamp(-self.limit, self.limit))


class ClampInPlace(Clamp):
    """The same, written into the step."""

    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        step.next_obs = step.next_obs.clamp(-self.limit, self.limit)
        return step


@pytest.mark.parametrize("drop", [True, False])
@pytest.mark.parametrize("hook", [Clamp, ClampInPlace])
def test_a_rollout_goes_on_from_what_a_hook_projects(hook: type[Clamp], drop: bool) -> None:
    model = WalkModel(noise=0.3)
    model.build(WALK)
    stored, _ = imagine(model, walk_starts(100), 3, hooks=[hook(0.25), Stop(0.24)], chunk=100, drop=drop)
    rows = Transitions.cat(stored)
    first, later = rows.select(slice(0, 100)), rows.select(slice(100, None))
    assert (rows.next_obs.abs() <= 0.25).all() and (later.obs.abs() <= 0.25).all()
    goes_on = ~(first.terminated | first.truncated)
    assert torch.equal(later.obs[: int(goes_on.sum())], first.next_obs[goes_on]) and 20 < int(goes_on.sum()) < 80
    assert torch.equal(rows.truncated, (rows.next_obs[:, 0] > 0.24) & ~rows.terminated)  # seen by the hook behind it


def test_a_step_that_a_hook_moved_itself_stays_where_it_put_it() -> None:
    class Moves(Clamp):
        def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
            to = step.next_obs.clamp(-self.limit, self.limit)
            return replace(step, next_obs=to, state=step.state.moved(to))

    model = WalkModel(noise=0.3)
    model.build(WALK)
    moved, plain = (imagine(model, walk_starts(50), 3, hooks=[hook(0.25)])[0] for hook in (Moves, Clamp))
    assert all(torch.equal(a.next_obs, b.next_obs) for a, b in zip(moved, plain, strict=True))


class HaltingWalk(WalkModel):
    def halted(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        return next_obs[:, 0] < -0.3


def test_a_hook_cannot_undo_the_models_halt() -> None:
    model = HaltingWalk(noise=0.05)
    model.build(WALK)
    stored, _ = imagine(model, walk_starts(100), 3, hooks=[Stop(0.2)], chunk=100)
    rows = Transitions.cat(stored)
    left = (rows.next_obs[:, 0] > 0.2) | (rows.next_obs[:, 0] < -0.3)
    assert torch.equal(rows.truncated, left & ~rows.terminated) and (rows.next_obs[:, 0] < -0.3).any()


class Budget(RolloutHook):
    """Takes off each reward how far the rollout has come from its first observation, and halts it once it has gone 0.5."""

    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        memory = context.memory
        if context.depth == 0:
            memory.update(first=step.obs, gone=torch.zeros_like(step.reward))
        memory["gone"] = memory["gone"] + (step.next_obs - step.obs).abs().sum(-1)
        away = (step.next_obs - memory["first"]).abs().sum(-1)
        return replace(step, reward=away, halt=memory["gone"] > 0.5)


def test_hooks_remember_each_rollout_across_dropping() -> None:
    model = WalkModel(noise=0.15)
    model.build(WALK)
    dropped, masked = (
        imagine(model, walk_starts(150), 6, drop=drop, hooks=[Budget(), Budget()], chunk=100) for drop in (True, False)
    )
    a, b = Transitions.cat(dropped[0]), Transitions.cat(masked[0])
    for name in ("obs", "reward", "next_obs", "terminated", "truncated"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert 20 < int(a.truncated.sum()) < len(a)
    # each rollout by hand, from the chain of its observations
    after = {round(value, 6): i for i, value in enumerate(a.obs[:, 0].tolist())}
    checked = 0
    for start in walk_starts(150).obs[:, 0].tolist():
        place, gone = after.get(round(start, 6)), 0.0
        while place is not None:
            led_to = a.next_obs[place, 0].item()
            gone += abs(led_to - a.obs[place, 0].item())
            assert a.reward[place].item() == pytest.approx(abs(led_to - start), abs=1e-5)
            assert bool(a.truncated[place] | a.terminated[place]) == (gone > 0.5 or bool(a.terminated[place]))
            checked += 1
            place = after.get(round(led_to, 6))
    assert checked >= len(a) - 5


def test_a_hooks_memory_has_a_row_for_each_rollout() -> None:
    class Total(RolloutHook):
        def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
            context.memory["total"] = step.reward.sum()
            return step

    model = WalkModel()
    model.build(WALK)
    with pytest.raises(
        ShapeError, match=r"Total: expected a row of memory\['total'\] for each of 20 rollouts, got shape \(\)"
    ):
        imagine(model, walk_starts(20), 2, hooks=[Total()])


class Lasting(ActionSelector):
    """A noise that lasts: half of what it was, and a new one."""

    def memory(self, n: int, task: Task, like: Tensor) -> dict[str, Tensor]:
        return {"noise": like.new_zeros(n, task.action_size), "steps": torch.zeros(n, dtype=torch.int64, device=like.device)}

    def select(self, situation: Situation) -> Tensor:
        kept = situation.memory
        fresh = draw_normal(situation.policy_generator, len(situation.obs), 1, situation.obs)
        kept["noise"], kept["steps"] = 0.5 * kept["noise"] + 0.1 * fresh, kept["steps"] + 1
        return (0.3 * kept["steps"][:, None] + kept["noise"]).clamp(-1, 1)


def test_selectors_remember_each_rollout_across_dropping() -> None:
    model = WalkModel(noise=0.1)
    model.build(WALK)
    dropped, _ = imagine(model, walk_starts(150), 6, drop=True, selector=Lasting(), chunk=100)
    masked, _ = imagine(model, walk_starts(150), 6, drop=False, selector=Lasting(), chunk=100)
    a, b = Transitions.cat(dropped), Transitions.cat(masked)
    assert torch.equal(a.action, b.action) and torch.equal(a.next_obs, b.next_obs) and a.terminated.sum() > 20
    assert dropped[0].action.mean() < dropped[1].action.mean() < dropped[2].action.mean()
