"""`SimulatorModel`: the true MuJoCo dynamics as a dynamics model, to tell a planner's faults from a model's.

What is exact, and what isn't:

- From a recorded state (`extras["sim_state"]`, `Experience.snapshot`) a whole `rollout` is one call of the simulator and
  equals the environment bit for bit in float64 (observations of dm_control's cartpole to rounding).
- Step by step it is exact where environments are stepped one after the other (Ant, Humanoid, HumanoidStandup, Reacher,
  Pusher, InvertedDoublePendulum, and any other Gymnasium `MujocoEnv`).
- Step by step on the batched path (InvertedPendulum, Hopper, Walker2d, HalfCheetah, Swimmer, dm_control's cartpole) each
  step after the first starts the constraint solver cold, since `mujoco.rollout` gives no warm start back. A cold step
  differs by what the solver's tolerance leaves: 1e-12 at most for Hopper, Walker2d and Swimmer; up to 1e-6 in the one step
  in a hundred or less where HalfCheetah's joint or a cart is at the end of its range, and rounding elsewhere. Largest
  difference of observations after 50 steps, of 90 plans of random actions from recorded states (median in brackets):
  InvertedPendulum 2e-6 (2e-13), Hopper 1e-13 (5e-15), Walker2d 1e-12 (1e-13), HalfCheetah 1e-4 (3e-9), Swimmer 4e-14
  (1e-15), dm_control's cartpole at action repeat 4 4e-6 (0). Where that matters, plan open loop, or set `batched=False`.
- From an observation the first step is cold too, the root position is taken as 0, and float32 has lost what it has lost.
- Time limits are the environment's wrapper's: a model never truncates.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from mbrl.arguments import Count, check_shape
from mbrl.data import Generator, ModelState, ModelStep, Prediction, Task, Transitions
from mbrl.envs import make_env, simulator_state_size
from mbrl.envs.simulator_state import SimulatorState, has_simulator_state
from mbrl.envs.vector_experience import in_env_units
from mbrl.errors import DataError, UnsupportedError
from mbrl.models.base import DynamicsModel
from mbrl.models.capabilities import Exact
from mbrl.models.domains import Domain
from mbrl.models.simulator.state import SimState

if TYPE_CHECKING:
    from mbrl.models.simulator.physics import Frames, Physics

_SURE = 100.0  # a logit beyond any doubt


class SimulatorModel(DynamicsModel, Exact):
    """Steps copies of the task's own MuJoCo environment: physics, observation, reward and termination are its own.

    Nothing is fitted and nothing is drawn. Rollouts start from `extras["sim_state"]` (`B x W` float64) or, where
    observations determine the state, from these alone; others are refused. With an action repeat, rewards are summed over
    the environment steps up to the one that ends the task. After its end a rollout goes on in a way that nobody should
    use. A row that diverges (where MuJoCo would silently start over) gives NaN, without a termination.

    Args:
        threads: of the batched path; None takes all cores that this process may use. The numbers don't depend on it, and
            environments that are stepped one after the other use one.
        batched: whether environments that can be are stepped as a batch. False steps them one after the other, several
            times slower, and exact step by step too: a state then keeps the solver's warm start (not dm_control's).
        domain: as of `DynamicsModel`; none that projects.

    Raises:
        ConfigError: if `threads` isn't a whole number from 1 up.
    """

    former = {"domain": []}  # noqa: RUF012 - nobody changes it

    def __init__(self, threads: Count | None = None, batched: bool = True, domain: Sequence[Domain] = ()) -> None:
        super().__init__(domain)
        self.threads = threads
        self.batched = batched
        self._physics: Physics | None = None

    # life ------------------------------------------------------------------------------------------------------------

    def make_parameters(self, task: Task, generator: torch.Generator) -> None:
        """Makes the environment, and tries a few of its steps in the model; of a task from a file, when first stepped.

        Raises:
            TaskError: if the environment can't be made.
            UnsupportedError: if it isn't MuJoCo's, the model's steps don't come out as its own, or something projects.
        """
        projects = any(type(part).project is not Domain.project for part in self.domain)
        if projects or type(self).project is not DynamicsModel.project:
            raise UnsupportedError(
                f"{type(self).__name__}: expected the simulator's own states, got a project, which can't change them; leave "
                "it out."
            )
        self._physics = self._made(task) if task.allow is None else None  # loading a checkpoint makes no environment

    def __getstate__(self) -> dict[str, Any]:
        """Without the simulator, which can't be copied and is made again when next asked for."""
        return {**super().__getstate__(), "_physics": None}

    @property
    def physics(self) -> Physics:
        """The simulator that steps the environment's copies."""
        if self._physics is None:
            self._physics = self._made(self.built_task)
        return self._physics

    def _made(self, task: Task) -> Physics:
        env = make_env(task)
        try:
            return self._checked(env, task)
        finally:
            env.close()

    def _checked(self, env: gymnasium.Env[Any, Any], task: Task) -> Physics:
        supported = has_simulator_state(env) and (hasattr(env.unwrapped, "frame_skip") or hasattr(env.unwrapped, "physics"))
        if not supported:
            raise UnsupportedError(
                f"SimulatorModel can't model {task.env_id}: expected one of Gymnasium's MuJoCo environments or dm_control's "
                f"cartpole, got {type(env.unwrapped).__name__}; choose a learned model, or one in closed form."
            )
        from mbrl.models.simulator.formulas import is_dm_control
        from mbrl.models.simulator.physics import BatchedPhysics, make_physics

        threads = self.threads or _cores()
        physics = make_physics(make_env(task).unwrapped, task.obs_size, task.action_repeat, threads, self.batched)
        if is_dm_control(env.unwrapped) and not isinstance(physics, BatchedPhysics):
            raise UnsupportedError(
                f"SimulatorModel can't model {task.env_id}: of dm_control it knows the cartpole with one pole only, and "
                f"that as a batch, got batched={self.batched}; choose a learned model, or mbrl.models.CartPole."
            )
        _compare(physics, env, task)
        return physics

    def row_extras(self, task: Task) -> dict[str, int]:
        """`sim_state` and its width `W`, float64."""
        if self.task == task:
            return {"sim_state": self.physics.size}
        return {"sim_state": simulator_state_size(task)}

    # one step --------------------------------------------------------------------------------------------------------

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        """One step from the states that `obs` shows, without variance; see `DynamicsModel.predict`.

        Raises:
            UnsupportedError: if observations of this task don't determine its state.
            DataError: if one of these doesn't.
        """
        flat = Transitions.from_obs(obs.reshape(-1, obs.shape[-1]), action.shape[-1])
        state = self._start(flat, torch.Generator())
        step = self.step(state, action.reshape(-1, action.shape[-1]))
        said = _prediction(step.next_obs, step.reward, step.terminated)
        dims = obs.shape[:-1] if member is not None else (1, *obs.shape[:-1])
        reward, reward_var, logit = (part.view(dims) for part in _others(said))
        return Prediction(said.mean.view(*dims, -1), said.var.view(*dims, -1), reward, reward_var, logit)

    def predict_rows(self, rows: Transitions) -> Prediction:
        """One step from the rows' `sim_state` or, without it, from what their observations show; errors as in `start`."""
        step = self.step(self._start(rows, torch.Generator()), rows.action, ("prediction",))
        assert step.prediction is not None  # it was asked for
        return step.prediction

    # a batch of rollouts ---------------------------------------------------------------------------------------------

    def start(self, rows: Transitions, generator: Generator, *, follow: bool = False) -> SimState:
        """Rollouts that begin at `rows`: their `extras["sim_state"]`, or what `rows.obs` shows; see `DynamicsModel.start`.

        `generator` and `follow` have no effect on an exact model, which draws nothing and has one member.

        Raises:
            UnsupportedError: without `sim_state`, if observations of this task don't determine its state.
            DataError: if one of these observations doesn't, or `sim_state` isn't float64 or of another state than `obs`.
            ShapeError: if `sim_state` has another width.
        """
        return self._start(rows, generator)

    def _start(self, rows: Transitions, generator: Generator) -> SimState:
        physics, obs = self.physics, rows.obs
        given = rows.extras.get("sim_state")
        if given is None:
            shown = obs.detach().to("cpu", torch.float64).numpy()
            return SimState(obs, generator, torch.from_numpy(physics.state_from(shown)), None)
        if given.dtype is not torch.float64:
            raise DataError(
                f"SimulatorModel.start: expected sim_state in float64, got {given.dtype}; see ReplayBuffer(float64=…)."
            )
        shape = (len(obs), physics.size)
        check_shape("SimulatorModel.start(sim_state)", given, shape, "take it from Experience.snapshot of the same task")
        whole = given.detach().to("cpu")
        state = SimState(obs, generator, whole[:, : physics.physics_size], whole[:, physics.physics_size :])
        self._refuse_another_state(state)
        return state

    def _refuse_another_state(self, state: SimState) -> None:
        shown = self.physics.show(state.physics.numpy())
        if shown is None:
            return
        given = state.obs.detach().to("cpu", torch.float64).numpy()
        apart = np.abs(shown - given) > 1e-4 * np.maximum(1.0, np.abs(given))  # B x S; false for NaN
        if apart.any():
            row = int(apart.any(1).argmax())
            raise DataError(
                f"SimulatorModel.start: expected sim_state of the states that obs shows, got {shown[row].tolist()} beside "
                f"{given[row].tolist()} in row {row}; take the snapshot before the step, with the observation."
            )

    def step(self, state: ModelState, action: Tensor, want: Collection[str] = ()) -> ModelStep:
        return self.rollout(state, action.unsqueeze(-2), want)[0]

    def rollout(self, state: ModelState, actions: Tensor, want: Collection[str] = ()) -> list[ModelStep]:
        """Steps through an open-loop plan `B x H x A` in one call of the simulator; see `DynamicsModel.rollout`."""
        if not isinstance(state, SimState):
            raise UnsupportedError(
                f"SimulatorModel: expected a state from its own start, got {type(state).__name__}; call start(rows, …)."
            )
        given = actions.detach().to("cpu").numpy()
        if (np.abs(given) > 1 + 1e-6).any():  # false for NaN, which gives NaN rows
            raise DataError(f"SimulatorModel: expected actions in [−1, 1], got {np.nanmax(np.abs(given)):g}; clip them.")
        shape = (len(state.physics), "H", self.built_task.action_size)
        check_shape("SimulatorModel(actions)", given, shape, "give one plan per row")
        obs = state.obs
        rest = None if state.rest is None else state.rest.numpy()
        exact = obs.dtype is torch.float64
        frames = self.physics.run(state.physics.numpy(), rest, self._commands(given), np.float64 if exact else np.float32)
        steps = _steps(state, actions, frames, "prediction" in want)
        for step in steps:
            step.reward, step.terminated = self.leaving(step.obs, step.next_obs, step.reward, step.terminated)
            step.halt = self.halted(step.obs, step.action, step.next_obs)
        return steps

    def _commands(self, action: np.ndarray) -> np.ndarray:
        task, physics = self.built_task, self.physics
        return in_env_units(action, np.array(task.action_low), np.array(task.action_high), physics.command_dtype)


def _steps(state: SimState, actions: Tensor, frames: Frames, want_prediction: bool) -> list[ModelStep]:
    like = state.obs
    obs = torch.from_numpy(frames.obs).to(like)  # H x B x S
    reward = torch.from_numpy(frames.reward).to(like)  # H x B
    terminated = torch.from_numpy(frames.terminated).to(like.device)  # H x B
    steps, before = [], like
    for number, action in enumerate(actions.unbind(-2)):
        rest = None if frames.rest is None else torch.from_numpy(frames.rest[number])
        after = SimState(obs[number], state.generator, torch.from_numpy(frames.physics[number]), rest)
        said = _prediction(obs[number], reward[number], terminated[number]) if want_prediction else None
        steps.append(ModelStep(before, action, obs[number], reward[number], terminated[number], after, said))
        before = obs[number]
    return steps


def _prediction(next_obs: Tensor, reward: Tensor, terminated: Tensor) -> Prediction:
    """A step that happened, as the prediction `1 x B` of the only member."""
    logit = torch.where(terminated, _SURE, -_SURE).to(reward)
    nothing = torch.zeros_like(reward)
    return Prediction(next_obs[None], torch.zeros_like(next_obs)[None], reward[None], nothing[None], logit[None])


def _others(said: Prediction) -> list[Tensor]:
    parts = (said.reward_mean, said.reward_var, said.terminated_logit)
    return [part for part in parts if part is not None]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _compare(physics: Physics, env: gymnasium.Env[Any, Any], task: Task, steps: int = 4) -> None:
    """Refuses an environment whose steps don't come out of the model: one with wrappers, or with a state outside MuJoCo.

    It is reset anew in between, so that whatever else it remembers of an episode is another one's.
    """
    command = np.random.default_rng(0).uniform(-1, 1, (steps, task.action_size)).astype(np.float32)
    commands = in_env_units(command, np.array(task.action_low), np.array(task.action_high), physics.command_dtype)
    env.reset(seed=0)
    read = SimulatorState(env)
    physics.env.reset(seed=1)
    for command in commands:
        row = read.read()[None]
        obs, reward, terminated, truncated, _ = env.step(command)
        split = physics.physics_size
        frames = physics.run(row[:, :split], row[:, split:], command[None, None], np.float64)
        same = (
            frames.obs[0, 0].shape == np.shape(obs)
            and np.allclose(frames.obs[0, 0], obs, 1e-6, 1e-6)
            and np.isclose(frames.reward[0, 0], float(reward), 1e-6, 1e-6)
            and bool(frames.terminated[0, 0]) == terminated
        )
        if not same:
            raise UnsupportedError(
                f"SimulatorModel can't model {task.env_id}: expected a step from a copied state to give "
                f"{np.asarray(obs).tolist()}, reward {float(reward):g} and terminated {terminated}, got "
                f"{frames.obs[0, 0].tolist()}, {frames.reward[0, 0]:g} and {bool(frames.terminated[0, 0])}; the environment "
                "is wrapped, or keeps a state outside MuJoCo: choose a learned model."
            )
        if terminated or truncated:
            return
