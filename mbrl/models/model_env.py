"""A dynamics model as a Gymnasium environment: `ModelEnv` alone, `ModelVectorEnv` in a batch. Neither is registered."""

from __future__ import annotations

from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from mbrl.arguments import check_argument, check_shape
from mbrl.data import Transitions
from mbrl.errors import ConfigError, UnsupportedError
from mbrl.models.base import DynamicsModel
from mbrl.models.model_episodes import Bounds, ModelEpisodes

Array = np.ndarray[Any, Any]
Autoreset = Literal["next_step", "same_step", "disabled"]


class ModelEnv(gymnasium.Env[Array, Array]):
    """A model as an environment: any agent that speaks Gymnasium can act in it.

    Actions, observations and rewards are in environment units; an action that rounding in float32 puts a unit outside its
    bounds counts as at the bound. Where the model halts a rollout of its own, the episode is truncated. Episodes start at
    stored rows. `reset` draws the row, and the seed of the model's noise in this episode, from the environment's own
    generator, so that a seed repeats an episode whatever was done before.

    Args:
        model: built, and fitted if it has to be.
        rows: where episodes start, with the extras that the model's `start` reads (such as `sim_state`):
            `Transitions.from_obs` makes them from observations, a buffer's `all()` and a dataset's rows will do.
        time_limit: steps after which an episode is truncated; None never does; default: the task's. Raising it lets a
            learned model's errors grow for longer.
        clip: False shows predictions as they are, in an unbounded space; True clips each to `bounds`, and the model goes
            on from there.
        bounds: what to clip to, a pair of lows and highs of `S` numbers; None takes the observation space of the real
            environment, which is made once for it.
        follow: whether an episode keeps one member of the model throughout (TS∞) instead of drawing at every step (TS1).

    Raises:
        NotBuiltError: before the model's `build`.
        ShapeError, DataError: if `rows` has another size of observation, none at all, or one that isn't finite.
        ConfigError: if `time_limit` is no whole number of 1 or more, `rows` are no `Transitions`, or `clip` finds no bounds.
        UnsupportedError: for `clip` with a model whose state is more than its observation.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own type

    def __init__(
        self,
        model: DynamicsModel,
        rows: Transitions,
        *,
        time_limit: int | Literal["task"] | None = "task",
        clip: bool = False,
        bounds: Bounds | None = None,
        follow: bool = False,
    ) -> None:
        self.episodes = ModelEpisodes("ModelEnv", model, rows, 1, time_limit, clip, bounds, follow)
        self.observation_space = self.episodes.observation_space
        self.action_space = self.episodes.action_space
        self.ended = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Starts an episode at a stored row.

        Args:
            seed: of the environment's generator; None goes on from where it stands.
            options: none are known.

        Raises:
            ConfigError: if options are given.
        """
        _refuse_options("ModelEnv", options)
        super().reset(seed=seed)
        self.episodes.begin([0], [self.np_random])
        self.ended = False
        return self.episodes.obs()[0], {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """One step of the model.

        Args:
            action: `A`, environment units.

        Raises:
            ShapeError, DataError: if the action has another shape or lies outside the action space.
            UnsupportedError: before `reset`, at first and after an episode has ended.
            DivergedError: if the prediction isn't finite.
        """
        self.episodes.started()
        if self.ended:
            raise UnsupportedError("ModelEnv: expected reset after the end of an episode, got another step; call reset.")
        given = np.asarray(action)
        check_shape("ModelEnv(action)", given, (self.episodes.task.action_size,), "give one number per action of the task")
        reward, terminated, truncated = self.episodes.step(given[None], np.ones(1, dtype=bool))
        self.ended = bool(terminated[0] or truncated[0])
        return self.episodes.obs()[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), {}


class ModelVectorEnv(VectorEnv[Array, Array, Array]):
    """`N` environments of one model, stepped as one batch: the same episodes as `N` times `ModelEnv`, faster.

    Each has its own generator, seeded as in Gymnasium's vector environments (`seed + i`, or a list), so none depends on
    the others beside it. On models whose arithmetic doesn't depend on the size of the batch (closed forms) it equals `N`
    single ones bit for bit; on networks each step agrees to rounding.

    Args:
        model: as of `ModelEnv`.
        rows: as of `ModelEnv`.
        time_limit: as of `ModelEnv`.
        clip: as of `ModelEnv`.
        bounds: as of `ModelEnv`.
        follow: as of `ModelEnv`.
        num_envs: `N`; more makes a step of one environment cheaper.
        autoreset_mode: what happens to an environment whose episode has ended: `"next_step"` (Gymnasium's default) resets
            it in the next step, whose action and reward are void; `"same_step"` resets it at once, with the last
            observation in `info["final_obs"]`; `"disabled"` leaves it to `reset(options={"reset_mask": mask})`, which
            wastes no step and hides no observation. Declared in `metadata`.

    Raises:
        ConfigError: for an unknown mode or number of environments, and as `ModelEnv`.
        NotBuiltError, ShapeError, DataError, UnsupportedError: as `ModelEnv`.
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
        autoreset_mode: Autoreset = "next_step",
    ) -> None:
        check_argument("ModelVectorEnv(autoreset_mode=…)", autoreset_mode, Autoreset)
        self.autoreset_mode = AutoresetMode[autoreset_mode.upper()]
        self.metadata = {"render_modes": [], "autoreset_mode": self.autoreset_mode}
        self.episodes = ModelEpisodes("ModelVectorEnv", model, rows, num_envs, time_limit, clip, bounds, follow)
        self.num_envs = num_envs
        self.single_observation_space = self.episodes.observation_space
        self.single_action_space = self.episodes.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.ended = np.zeros(num_envs, dtype=bool)  # N
        self.randoms: list[np.random.Generator | None] = [None] * num_envs

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Starts episodes at stored rows.

        Args:
            seed: environment i gets `seed + i`, or the i-th of a list; None goes on from where its generator stands.
            options: `{"reset_mask": mask}`, `N` bool, resets these alone.

        Returns:
            The observations of all, `N x S`, and an empty info.

        Raises:
            ConfigError, ShapeError: if seeds, mask or options can't be used.
            UnsupportedError: if the first reset is of a part.
        """
        seeds: list[int | None] | None
        if isinstance(seed, int | np.integer):
            seeds = [int(seed) + i for i in range(self.num_envs)]
        else:
            seeds = seed
        if seeds is not None:
            check_shape("ModelVectorEnv(seed)", seeds, (self.num_envs,), "give one seed per environment")
        others = dict(options or {})
        mask = np.asarray(others.pop("reset_mask", np.ones(self.num_envs, dtype=bool)))  # N
        _refuse_options("ModelVectorEnv", others)
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            raise ConfigError(
                f"ModelVectorEnv: expected reset_mask of {self.num_envs} booleans, one at least True, got {mask.tolist()}."
            )
        self._begin(mask, seeds)
        return self.episodes.obs(), {}

    def _begin(self, mask: Array, seeds: list[int | None] | None = None) -> None:
        envs = np.flatnonzero(mask).tolist()
        randoms = []
        for env in envs:
            seed, random = None if seeds is None else seeds[env], self.randoms[env]
            if random is None or seed is not None:
                random, _ = seeding.np_random(seed)  # as gymnasium.Env does
            self.randoms[env] = random
            randoms.append(random)
        self.episodes.begin(envs, randoms)
        self.ended[mask] = False

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """One step of each environment, `actions` `N x A` in environment units.

        Returns:
            Observations `N x S`, rewards, terminated, truncated (`N` each) and info, as the autoreset mode has them.

        Raises:
            ShapeError, DataError, DivergedError: as `ModelEnv.step`.
            UnsupportedError: before `reset`; in the mode `"disabled"` also if an ended environment wasn't reset.
        """
        going = ~self.ended  # N
        if self.autoreset_mode is AutoresetMode.DISABLED and not going.all():
            raise UnsupportedError(
                "ModelVectorEnv: expected a reset of the environments that have ended, got a step with "
                f"{np.flatnonzero(self.ended).tolist()} at their end; reset them with options={{'reset_mask': mask}}."
            )
        reward, terminated, truncated = self.episodes.step(actions, going)
        if not going.all():  # the next step of an ended one is its reset
            self._begin(~going)
            reward, terminated, truncated = np.where(going, reward, 0.0), terminated & going, truncated & going
        self.ended = terminated | truncated
        info: dict[str, Any] = {}
        if self.autoreset_mode is AutoresetMode.SAME_STEP and self.ended.any():
            final, over = self.episodes.obs(), self.ended.copy()
            for env in np.flatnonzero(over):
                info = self._add_info(info, {"final_obs": final[env], "final_info": {}}, int(env))
            self._begin(over)
        return self.episodes.obs(), reward, terminated, truncated, info


def _refuse_options(who: str, options: dict[str, Any] | None) -> None:
    if options:
        known = "reset_mask alone" if who == "ModelVectorEnv" else "none"
        raise ConfigError(f"{who}: expected {known} in reset's options, got {sorted(options)}; leave the others out.")
