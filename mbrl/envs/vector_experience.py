"""`VectorExperience`: our own environments of one task, stepped one after the other.

A plain loop over the environments, since Gymnasium's vector classes copy every observation twice and gather infos that
nobody reads: a step costs tens of microseconds less. Nothing resets itself: an ended episode's environment is reset
with a seed of its own stream (seed, environment, episode), so a run never draws from a generator that something else
moves, and the state of an environment is its last reset seed and the actions since (`state_dict`). Replaying them is
exact for Gymnasium's MuJoCo tasks, whose pickled or copied environments silently lose the physics.

A step is whole or absent: nothing is noted of it before every environment has answered, so that the state after one that
failed is that of the step before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mbrl.arguments import Count, check_shape, checked
from mbrl.data import Task, Transitions, derived_seed
from mbrl.envs.experience import Experience
from mbrl.envs.resolution import Resolution
from mbrl.envs.simulator_state import snapshot_of
from mbrl.envs.task import make_env
from mbrl.errors import CheckpointError, DataError, EnvironmentFailedError

REPLAYED_STEPS = 100_000  # at most, of an unfinished episode: a few seconds of MuJoCo, and as long a wait on resume
_LARGEST = float(np.finfo(np.float32).max)

Resume = Literal["exact", "next_episode"]


class VectorExperience(Experience):
    """`N` environments of a task, made, stepped and reset here.

    Args:
        task: the task whose environments are made.
        num_envs: `N`; more gives planners wider batches, and the same number of steps in fewer ticks.
        seed: seed of all episodes' starts.
        device: device of the tensors; observations become float32 there and stay float64 inside.
        resume: `exact` replays the unfinished episodes of a loaded state and refuses if they come out otherwise, or are
            longer than 100,000 steps; `next_episode` drops them and starts fresh ones, for environments that can't be
            replayed.
        allow: modules in which the environment's names may be looked up; None if the user wrote them.

    Attributes:
        ended: `N` bool, whose episode ended in the last step.

    Raises:
        TaskError: if the environment can't be made.
        EnvironmentFailedError: if its reset raises, or answers what can't be used.
    """

    @checked
    def __init__(
        self,
        task: Task,
        num_envs: Count = 1,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        resume: Resume = "exact",
        allow: Sequence[str] | None = None,
    ) -> None:
        self.task = task
        self.num_envs = num_envs
        self.device = torch.device(device)
        self.resume = resume
        self.envs = [make_env(task, allow=allow) for _ in range(num_envs)]
        low, high = np.array(task.action_low), np.array(task.action_high)  # A, float64
        self._low, self._high = low, high
        space = self.envs[0].action_space
        self._action_dtype = space.dtype
        self._now = np.zeros((num_envs, task.obs_size))  # N x S, float64: what the environments show now
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """Starts fresh episodes everywhere, as if just made with `seed`."""
        self._seed = seed
        self._starts = [0] * self.num_envs  # episodes started, one number per environment
        self._episode = np.zeros(self.num_envs, dtype=np.int64)  # the running number of each one's episode
        self._episodes = 0  # episodes started by all
        self._reset_seeds = [0] * self.num_envs
        self._actions: list[list[np.ndarray]] = [[] for _ in range(self.num_envs)]  # since the reset, as given
        self._lengths = [0] * self.num_envs  # steps since then, of which no more than REPLAYED_STEPS are kept
        self._returns = [0.0] * self.num_envs
        self._finished: list[tuple[float, int]] = []
        self._resolution: Resolution | None = Resolution(self.task.env_id)
        for index in range(self.num_envs):
            self._start_episode(index, *self._fresh(index))
        self.ended = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        self.obs = self._tensor(self._now)

    def _fresh(self, index: int) -> tuple[int, np.ndarray]:
        """Resets an environment for its next episode: the reset's seed, and where it starts, `S`. Notes nothing."""
        seed = derived_seed(self._seed, "episode", index, self._starts[index]) & 0x7FFF_FFFF
        obs, _ = self.envs[index].reset(seed=seed)
        refuse_not_finite(self.task, obs[None], np.zeros(1), [0])
        return seed, obs

    def _start_episode(self, index: int, seed: int, obs: np.ndarray) -> None:
        self._reset_seeds[index] = seed
        self._starts[index] += 1
        self._episode[index] = self._episodes
        self._episodes += 1
        self._actions[index] = []
        self._lengths[index] = 0
        self._returns[index] = 0.0
        self._now[index] = obs

    def step(self, action: Tensor) -> Transitions:
        """Steps every environment once; see `Experience.step`.

        Returns:
            `N` transitions, with the extra `episode`, `N` int64: the running number of the episode in this run.

        Raises:
            ShapeError: if `action` isn't `N x A`.
            DataError: if an action is outside [−1, 1].
            EnvironmentFailedError: if an environment raises, or answers what can't be used: what isn't finite, say.
        """
        given = action.detach().cpu().numpy()  # N x A
        wanted = (self.num_envs, self.task.action_size)
        check_shape("VectorExperience.step(action)", given, wanted, "give one action per environment")
        commands = env_commands(given, self._low, self._high, self._action_dtype)
        number = self.num_envs
        led_to = np.empty_like(self._now)  # N x S
        reward = np.empty(number)  # N
        terminated = np.zeros(number, dtype=np.bool_)
        truncated = np.zeros(number, dtype=np.bool_)
        for index, env in enumerate(self.envs):
            led_to[index], reward[index], terminated[index], truncated[index], _ = env.step(commands[index])
        refuse_not_finite(self.task, led_to, reward, [length + 1 for length in self._lengths])
        ended = terminated | truncated
        fresh = {index: self._fresh(index) for index in np.flatnonzero(ended).tolist()}
        # whatever an environment may refuse is behind us: from here on the step counts
        for index in range(number):
            if self._lengths[index] < REPLAYED_STEPS:
                self._actions[index].append(given[index].copy())
            self._lengths[index] += 1
            self._returns[index] += float(reward[index])
        if self._resolution is not None and self._resolution.watch(self._now, led_to):
            self._resolution = None
        episode = torch.from_numpy(self._episode.copy())
        obs, next_obs = self.obs, self._tensor(led_to)
        self._now = led_to
        self.obs = next_obs
        if fresh:
            self._now = led_to.copy()
            for index, start in fresh.items():
                self._finished.append((self._returns[index], self._lengths[index]))
                self._start_episode(index, *start)
            self.obs = self._tensor(self._now)
        self.ended = torch.from_numpy(ended).to(self.device)
        return Transitions(
            obs=obs,
            action=action.detach(),
            reward=self._tensor(reward),
            next_obs=next_obs,
            terminated=torch.from_numpy(terminated).to(self.device),
            truncated=torch.from_numpy(truncated).to(self.device),
            extras={"episode": episode.to(self.device)},
        )

    @property
    def snapshot(self) -> Tensor | None:
        """`N x W` float64 on the CPU, one `SimulatorState` row per environment, or None: see `Experience.snapshot`."""
        return snapshot_of(self.envs)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array.astype(np.float32)).to(self.device)

    def finished(self) -> list[tuple[float, int]]:
        """Return and length of each episode that ended since the last call."""
        finished, self._finished = self._finished, []
        return finished

    # resume ----------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The record that `load_state_dict` replays: a reset seed and the actions since, per environment."""
        return {
            "kind": "replay",
            "env_id": self.task.env_id,
            "num_envs": self.num_envs,
            "seed": self._seed,
            "starts": list(self._starts),
            "episode": self._episode.tolist(),
            "episodes": self._episodes,
            "reset_seeds": list(self._reset_seeds),
            "actions": [self._stacked(actions) for actions in self._actions],  # T x A each
            "lengths": list(self._lengths),
            "returns": list(self._returns),
            "finished": [[value, length] for value, length in self._finished],
            "ended": self.ended.cpu(),
            "obs": torch.from_numpy(self._now.copy()),  # N x S, float64
        }

    def _stacked(self, actions: list[np.ndarray]) -> Tensor:
        if not actions:
            return torch.zeros(0, self.task.action_size, dtype=torch.float32)
        return torch.from_numpy(np.stack(actions))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replays every unfinished episode of `state`, or with `resume="next_episode"` starts the next ones.

        Raises:
            CheckpointError: if `state` is of other environments, or its replay comes out otherwise.
        """
        check_state(state, self.task, self.num_envs)
        if state["kind"] != "replay":
            raise CheckpointError(
                f"{self.task.env_id}: expected the state of environments made here, got that of a vector environment that "
                "was handed over; hand one over again before resuming."
            )
        self._seed = state["seed"]
        self._starts = list(state["starts"])
        self._episode = np.array(state["episode"], dtype=np.int64)
        self._episodes = state["episodes"]
        self._finished = [(float(value), int(length)) for value, length in state["finished"]]
        self.ended = state["ended"].to(self.device)
        for index in range(self.num_envs):
            if self.resume == "exact":
                self._replay(index, state)
            else:
                self._start_episode(index, *self._fresh(index))
        if self.resume == "next_episode":
            self.ended = torch.ones_like(self.ended)  # planners have unfinished business to forget
        self.obs = self._tensor(self._now)

    def _replay(self, index: int, state: dict[str, Any]) -> None:
        env = self.envs[index]
        self._reset_seeds[index] = state["reset_seeds"][index]
        obs, _ = env.reset(seed=self._reset_seeds[index])
        actions = state["actions"][index].cpu().numpy()  # T x A
        length = state.get("lengths", [len(steps) for steps in state["actions"]])[index]  # older states kept all
        if length > len(actions):
            raise CheckpointError(
                f"{self.task.env_id}: expected an unfinished episode of at most {len(actions)} steps to replay, got one of "
                f'{length}; choose resume="next_episode" to go on with fresh episodes, or give the environment a time limit '
                "(env_kwargs: {max_episode_steps: …})."
            )
        over = False
        for command in env_commands(actions, self._low, self._high, self._action_dtype) if len(actions) else ():
            obs, _, terminated, truncated, _ = env.step(command)
            over = over or terminated or truncated
        self._now[index] = obs
        self._actions[index] = list(actions)
        self._lengths[index] = length
        self._returns[index] = float(state["returns"][index])
        saved = state["obs"][index].cpu().numpy()  # S
        if over or self._now[index].tobytes() != saved.tobytes():
            gap = float(np.abs(self._now[index] - saved).max())
            what = "the end of the episode" if over else f"observations that differ by up to {gap:.3g}"
            raise CheckpointError(
                f"{self.task.env_id}: expected a replay of {len(actions)} steps from reset seed {self._reset_seeds[index]} "
                f"to reach the saved observation, got {what}; its environment is random or has changed: choose "
                'resume="next_episode" to go on with fresh episodes.'
            )

    def close(self) -> None:
        """Closes the environments."""
        for env in self.envs:
            env.close()


def env_commands(action: np.ndarray, low: np.ndarray, high: np.ndarray, dtype: Any) -> np.ndarray:
    """Actions in environment units and the environment's dtype, `… x A`, in float64 until the last moment.

    Args:
        action: `… x A` in [−1, 1].
        low: `A` lower bounds, float64, environment units.
        high: `A` upper bounds, float64, environment units.
        dtype: the dtype of the environment's actions.

    Raises:
        DataError: if an action is outside [−1, 1], or NaN.
    """
    if not (np.abs(action) <= 1 + 1e-6).all():  # also false for NaN
        raise DataError(
            f"Experience.step: expected actions in [−1, 1], got {action.tolist()}; clip them, or if NaN find what diverged."
        )
    return in_env_units(action, low, high, dtype)


def in_env_units(action: np.ndarray, low: np.ndarray, high: np.ndarray, dtype: Any) -> np.ndarray:
    """Converts as `env_commands` does, without its check: actions outside [−1, 1] are clipped, NaN stays NaN."""
    return np.clip(action * ((high - low) / 2) + (high + low) / 2, low, high).astype(dtype)


def refuse_not_finite(task: Task, led_to: np.ndarray, reward: np.ndarray, steps: Sequence[int]) -> None:
    """Refuses what an environment returned if it isn't finite once it is stored as float32.

    Args:
        task: what the environments are.
        led_to: `N x S` observations.
        reward: `N`.
        steps: `N`, steps in each one's episode, for the message; 0 for a reset.

    Raises:
        EnvironmentFailedError: naming the first.
    """
    fine = (np.abs(led_to) <= _LARGEST).all(1) & (np.abs(reward) <= _LARGEST)  # N; also false for NaN
    if not fine.all():
        index = int(np.argmin(fine))
        numbers = [*led_to[index].tolist(), float(reward[index])]
        held = ", which float32 can't hold" if np.isfinite(numbers).all() else ""
        raise EnvironmentFailedError(
            f"{task.env_id}: expected finite observations and rewards, got {numbers[:-1]} and {numbers[-1]} at step "
            f"{steps[index]} of an episode{held}; check the environment."
        )


def check_state(state: dict[str, Any], task: Task, num_envs: int) -> None:
    """Refuses the state of other environments, or of another number of them."""
    if state["env_id"] != task.env_id or state["num_envs"] != num_envs:
        raise CheckpointError(
            f"expected the state of {num_envs} environments {task.env_id}, got that of {state['num_envs']} of "
            f"{state['env_id']}; resume with the settings that the run began with."
        )
