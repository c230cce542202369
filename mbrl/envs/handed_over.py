"""`HandedOverExperience`: a user's own Gymnasium vector environment, in any of the three autoreset modes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor

from mbrl.arguments import check_shape
from mbrl.counted import counted
from mbrl.data import Task, Transitions, derived_seed
from mbrl.envs.checked_env import refuse_statistics, told
from mbrl.envs.experience import Experience
from mbrl.envs.simulator_state import snapshot_of
from mbrl.envs.vector_experience import check_state, env_commands, refuse_not_finite
from mbrl.errors import CheckpointError, EnvironmentFailedError, TaskError


class HandedOverExperience(Experience):
    """Steps a vector environment that the user made, and stores only real steps.

    - Disabled: ended environments are reset by `reset_mask`, with seeds from ours.
    - Same step: the step that ends an episode returns the next one's first observation; where it led is in `final_obs`.
    - Next step: the step after the end only resets, and is left out of what `step` returns, which then has fewer than `N`
      rows; the action given for it is ignored.

    It can't be replayed one environment at a time, so there is no exact resume.

    Args:
        task: the task whose environments it steps.
        vector_env: the vector environment, stepped here from now on, and closed by `close`.
        seed: seed of the first reset; in the two modes that reset themselves, later episodes follow from it.
        device: device of the tensors.
        resume: must be `next_episode` by the time a state is taken or loaded.

    Attributes:
        ended: `N` bool, whose episode ended in the last step, or was reset by it (next step).

    Raises:
        TaskError: if its spaces aren't the task's, its autoreset mode isn't stated, or it keeps running statistics.
        EnvironmentFailedError: if it raises, or answers what can't be used.
    """

    def __init__(
        self,
        task: Task,
        vector_env: VectorEnv[Any, Any, Any],
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        resume: str = "exact",
    ) -> None:
        self.task = task
        self.num_envs = vector_env.num_envs
        self.device = torch.device(device)
        self.resume = resume
        self._env = vector_env
        self._mode = _mode_of(vector_env)
        _check_spaces(vector_env, task)
        refuse_statistics(vector_env, task.env_id)
        low, high = np.array(task.action_low), np.array(task.action_high)  # A, float64
        self._low, self._high = low, high
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """Starts fresh episodes everywhere."""
        self._seed = seed
        self._resets = 0  # calls of the vector environment's reset, each with its own seed
        self._episodes = 0
        self._finished: list[tuple[float, int]] = []
        self._start_all()

    def _start_all(self) -> None:
        everywhere = np.ones(self.num_envs, dtype=np.bool_)
        self._episode = np.zeros(self.num_envs, dtype=np.int64)
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, dtype=np.int64)
        obs = self._reset(seed=self._next_seed())
        self._waiting = np.zeros(self.num_envs, dtype=np.bool_)  # next step: those that the next step only resets
        self._begin(everywhere)
        self.ended = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        self.obs = self._tensor(obs)

    def _next_seed(self) -> int:
        """One number, from which Gymnasium counts up a seed for each environment."""
        self._resets += 1
        return derived_seed(self._seed, "reset", self._resets) & 0x3FFF_FFFF

    def _begin(self, mask: np.ndarray) -> None:
        for index in np.flatnonzero(mask).tolist():
            self._episode[index] = self._episodes
            self._episodes += 1
        self._returns[mask] = 0.0
        self._lengths[mask] = 0

    def step(self, action: Tensor) -> Transitions:
        """Steps all environments once; see `Experience.step`.

        Returns:
            The real steps, at most `N` rows, with the extras `episode` (as in `VectorExperience`) and `env`, the index of
            the environment, int64.

        Raises:
            ShapeError: if `action` isn't `N x A`.
            DataError: if an action is outside [−1, 1].
            EnvironmentFailedError: if an environment raises, or answers what can't be used: what isn't finite, say.
        """
        given = action.detach().cpu().numpy()  # N x A
        wanted = (self.num_envs, self.task.action_size)
        check_shape("HandedOverExperience.step(action)", given, wanted, "give one action per environment")
        commands = env_commands(given, self._low, self._high, self._env.single_action_space.dtype)
        shown, reward, terminated, truncated, info = self._stepped(commands)
        real = ~self._waiting  # N
        ended = (terminated | truncated) & real
        led_to = shown.astype(np.float64)  # N x S
        if self._mode is AutoresetMode.SAME_STEP:
            for index in np.flatnonzero(ended).tolist():
                led_to[index] = info["final_obs"][index]
        refuse_not_finite(self.task, led_to, reward, (self._lengths + 1).tolist())
        self._returns[real] += reward[real]
        self._lengths[real] += 1
        self._finished += [(float(self._returns[i]), int(self._lengths[i])) for i in np.flatnonzero(ended).tolist()]
        rows = torch.from_numpy(np.flatnonzero(real)).to(self.device)  # R
        transitions = Transitions(
            obs=self.obs,
            action=action.detach(),
            reward=self._tensor(reward),
            next_obs=self._tensor(led_to),
            terminated=torch.from_numpy(terminated.astype(np.bool_)).to(self.device),
            truncated=torch.from_numpy(truncated.astype(np.bool_)).to(self.device),
            extras={
                "episode": torch.from_numpy(self._episode.copy()).to(self.device),
                "env": torch.arange(self.num_envs, device=self.device),
            },
        ).select(rows)
        self._after(shown, ended)
        return transitions

    def _after(self, shown: np.ndarray, ended: np.ndarray) -> None:
        fresh = ended
        if self._mode is AutoresetMode.NEXT_STEP:
            self._begin(self._waiting)  # the step that only reset them has been made
            fresh = ended | self._waiting  # for that step planners have acted where nothing follows: to be forgotten too
            self._waiting = ended
        elif ended.any():
            if self._mode is AutoresetMode.DISABLED:
                shown = self._reset(seed=self._next_seed(), options={"reset_mask": ended})
            self._begin(ended)
        self.ended = torch.from_numpy(fresh).to(self.device)
        self.obs = self._tensor(shown)

    def _reset(self, **given: Any) -> np.ndarray:
        """The observations after a reset, `N x S`."""
        answer = self._answer("reset", 2, **given)
        obs = self._array("observations", answer[0], (self.num_envs, self.task.obs_size), np.float64)
        refuse_not_finite(self.task, obs, np.zeros(self.num_envs), [0] * self.num_envs)
        return obs

    def _stepped(self, commands: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Any]:
        shown, reward, terminated, truncated, info = self._answer("step", 5, commands)
        rows = (self.num_envs,)
        return (
            self._array("observations", shown, (*rows, self.task.obs_size), np.float64),
            self._array("rewards", reward, rows, np.float64),
            self._array("terminated", terminated, rows, np.bool_),
            self._array("truncated", truncated, rows, np.bool_),
            info,
        )

    def _answer(self, method: str, values: int, *args: Any, **given: Any) -> tuple[Any, ...]:
        try:
            answer: Any = getattr(self._env, method)(*args, **given)
        except (Exception, SystemExit) as error:
            raise EnvironmentFailedError(
                f"{self.task.env_id}: expected the vector environment's {method} to answer, got {told(error)}; mend it."
            ) from error
        if not (isinstance(answer, tuple) and len(answer) == values):
            came = f"{len(answer)}" if isinstance(answer, tuple) else type(answer).__name__
            raise EnvironmentFailedError(
                f"{self.task.env_id}: expected {values} values from the vector environment's {method}, got {came}; return "
                "them all, as Gymnasium's API asks."
            )
        return answer

    def _array(self, what: str, value: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        array = np.array(
            value.detach().cpu() if isinstance(value, Tensor) else value
        )  # a copy: it may be written into again
        if array.shape != shape or array.dtype.kind not in "fiub":
            raise EnvironmentFailedError(
                f"{self.task.env_id}: expected {what} of shape {shape} from the vector environment, got {array.shape} "
                f"({array.dtype}); return one row per environment."
            )
        return array.astype(dtype)

    @property
    def snapshot(self) -> Tensor | None:
        """`N x W` float64 on the CPU: see `Experience.snapshot`; None if they live in other processes."""
        envs = getattr(self._env.unwrapped, "envs", None)
        return None if envs is None else snapshot_of(envs)

    def _tensor(self, array: np.ndarray) -> Tensor:
        own = np.array(array, dtype=np.float32)  # a copy, since the environment may write into its array again
        return torch.from_numpy(own).to(self.device)

    def finished(self) -> list[tuple[float, int]]:
        """Return and length of each episode that ended since the last call."""
        finished, self._finished = self._finished, []
        return finished

    # resume ----------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The seed and counts from which a resumed run numbers its next episodes.

        Raises:
            CheckpointError: unless `resume` is `next_episode`.
        """
        self._refuse_exact()
        return {
            "kind": "next_episode",
            "env_id": self.task.env_id,
            "seed": self._seed,
            "num_envs": self.num_envs,
            "resets": self._resets,
            "episodes": self._episodes,
            "finished": [[value, length] for value, length in self._finished],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Starts fresh episodes everywhere, numbered on from `state`."""
        self._refuse_exact()
        check_state(state, self.task, self.num_envs)
        self._seed = state["seed"]
        self._resets = state["resets"]
        self._episodes = state["episodes"]
        self._finished = [(float(value), int(length)) for value, length in state["finished"]]
        self._start_all()
        self.ended = torch.ones_like(self.ended)  # planners have unfinished business to forget

    def _refuse_exact(self) -> None:
        if self.resume != "next_episode":
            raise CheckpointError(
                f"{self.task.env_id}: expected resume='next_episode' for envs handed over, got {self.resume!r}; set it."
            )

    def close(self) -> None:
        """Closes the vector environment."""
        self._env.close()


def _mode_of(vector_env: VectorEnv[Any, Any, Any]) -> AutoresetMode:
    mode = vector_env.metadata.get("autoreset_mode")
    if not isinstance(mode, AutoresetMode):
        raise TaskError(f"expected an AutoresetMode in the vector env's metadata['autoreset_mode'], got {mode!r}; set it.")
    return mode


def _check_spaces(vector_env: VectorEnv[Any, Any, Any], task: Task) -> None:
    obs, action = vector_env.single_observation_space, vector_env.single_action_space
    same = (
        isinstance(obs, spaces.Box)
        and isinstance(action, spaces.Box)
        and obs.shape == (task.obs_size,)
        and action.shape == (task.action_size,)
        and tuple(map(float, action.low)) == task.action_low
        and tuple(map(float, action.high)) == task.action_high
    )
    if not same:
        raise TaskError(
            f"expected a vector environment of {task.env_id} ({counted(task.obs_size, 'observation')}, "
            f"{counted(task.action_size, 'action')} from {task.action_low} to {task.action_high}), got observations {obs} "
            f"and actions {action}; hand over one of these."
        )
