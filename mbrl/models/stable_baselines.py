"""`ModelVecEnv`: a dynamics model as a vector environment of Stable-Baselines3, so that its agents learn in it.

Stable-Baselines3 isn't installed with this package: `pip install stable-baselines3`. Nothing else here imports it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from mbrl.data import Transitions
from mbrl.errors import ConfigError, UnsupportedError
from mbrl.models.base import DynamicsModel
from mbrl.models.model_env import ModelVectorEnv
from mbrl.models.model_episodes import Bounds

try:
    from stable_baselines3.common.vec_env import VecEnv
except ImportError as error:
    raise ConfigError(
        "expected Stable-Baselines3, which ModelVecEnv is made for, found none; install it: pip install stable-baselines3."
    ) from error

Array = np.ndarray[Any, Any]


class ModelVecEnv(VecEnv):
    """`N` environments of one model, stepped as one batch, for agents of Stable-Baselines3.

        agent = PPO("MlpPolicy", ModelVecEnv(model, rows, 16))

    It is `ModelVectorEnv` in the mode that resets an ended episode at once: the same episodes, units and refusals. What a
    step says of an ended episode is what Stable-Baselines3 reads: `terminal_observation`, and `TimeLimit.truncated`, upon
    which its agents bootstrap, where the episode was truncated by the limit or because the model halted the rollout.

    Args:
        model: built, and fitted if it has to be. It may be fitted again between the agent's rollouts.
        rows: where episodes start, as of `ModelVectorEnv`.
        num_envs: `N`; more makes a step of one environment cheaper.
        time_limit: as of `ModelVectorEnv`.
        clip: as of `ModelVectorEnv`.
        bounds: as of `ModelVectorEnv`.
        follow: as of `ModelVectorEnv`.

    Raises:
        ConfigError, NotBuiltError, ShapeError, DataError, UnsupportedError: as `ModelVectorEnv`.
    """

    def __init__(
        self,
        model: DynamicsModel,
        rows: Transitions,
        num_envs: int,
        *,
        time_limit: int | Literal["task"] | None = "task",
        clip: bool = False,
        bounds: Bounds | None = None,
        follow: bool = False,
    ) -> None:
        self.envs = ModelVectorEnv(
            model, rows, num_envs, time_limit=time_limit, clip=clip, bounds=bounds, follow=follow, autoreset_mode="same_step"
        )
        self.actions: Array | None = None  # N x A, those of the step under way
        super().__init__(num_envs, self.envs.single_observation_space, self.envs.single_action_space)

    def reset(self) -> Array:
        """Starts all episodes at stored rows, by the seeds of `seed` if it was called since; observations `N x S`.

        Raises:
            ConfigError: if options were set, of which none are known.
        """
        given = next(filter(None, self._options), None)
        self._reset_options()
        if given is not None:
            raise ConfigError(f"ModelVecEnv: expected no options of a reset, got {sorted(given)}; leave set_options out.")
        unseeded = all(seed is None for seed in self._seeds)
        obs, _ = self.envs.reset(seed=None if unseeded else self._seeds)
        self._reset_seeds()
        self.actions = None
        self.reset_infos = [{} for _ in range(self.num_envs)]
        return obs

    def step_async(self, actions: Array) -> None:
        """Takes the actions of the next step, `N x A` in environment units."""
        self.actions = actions

    def step_wait(self) -> tuple[Array, Array, Array, list[dict[str, Any]]]:
        """Makes the step.

        Returns:
            Observations `N x S`, of the next episode where one has ended, rewards `N`, whether an episode ended (`N` bool),
            and per environment what is known of its end.

        Raises:
            ShapeError, DataError, DivergedError, UnsupportedError: as `ModelVectorEnv.step`; also without `step_async`.
        """
        if self.actions is None:
            raise UnsupportedError("ModelVecEnv: expected step_async before step_wait, got no actions; call step.")
        actions, self.actions = self.actions, None
        obs, reward, terminated, truncated, info = self.envs.step(actions)
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": bool(cut)} for cut in truncated & ~terminated]
        done = terminated | truncated
        for env in np.flatnonzero(done):
            infos[env]["terminal_observation"] = info["final_obs"][env]
        return obs, reward.astype(np.float32), done, infos

    def close(self) -> None:
        """Closes the environments, which hold nothing open."""
        self.envs.close()

    def get_attr(self, attr_name: str, indices: int | Iterable[int] | None = None) -> list[Any]:
        """An attribute of `ModelVectorEnv`, the same one for each of the environments asked for."""
        return [getattr(self.envs, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: int | Iterable[int] | None = None) -> None:
        """Refuses to set an attribute.

        Raises:
            UnsupportedError: always, as the environments share their attributes.
        """
        raise UnsupportedError(
            f"ModelVecEnv: expected no attribute to be set, as the environments of a model share theirs, got {attr_name!r}; "
            "give it to the constructor, or set it on .envs."
        )

    def env_method(
        self, method_name: str, *method_args: Any, indices: int | Iterable[int] | None = None, **method_kwargs: Any
    ) -> list[Any]:
        """Refuses to call a method.

        Raises:
            UnsupportedError: always, as there are no single environments.
        """
        raise UnsupportedError(
            f"ModelVecEnv: expected no method of a single environment, as a model steps all at once, got {method_name!r}; "
            "make single ones by DummyVecEnv([lambda: ModelEnv(model, rows)]), or call it on .envs."
        )

    def env_is_wrapped(self, wrapper_class: Any, indices: int | Iterable[int] | None = None) -> list[bool]:
        """None is wrapped."""
        return [False for _ in self._get_indices(indices)]
