"""`ModelEpisodes`: episodes in a dynamics model, batched, as environments show them; what the model's environments share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from mbrl.arguments import check_argument, check_shape, check_whole
from mbrl.data import InterleavedGenerator, ModelState, Transitions
from mbrl.envs import make_env
from mbrl.errors import ConfigError, DataError, DivergedError, MbrlError, UnsupportedError
from mbrl.models.base import DynamicsModel

Bounds = tuple[Sequence[float], Sequence[float]]


class ModelEpisodes:
    """`N` episodes of a model, each with a noise generator of its own.

    It speaks environment units and float32 outwards, and keeps the dtype of `rows` inwards.

    Args:
        who: starts messages.
        model: built, and fitted if it has to be.
        rows: where episodes start: `obs` and what extras the model's `start` reads (such as `sim_state`).
        num_envs: `N`.
        time_limit: steps after which an episode is truncated; None never does; `"task"` takes the task's.
        clip: whether observations are clipped, and the model goes on from the clipped one.
        bounds: what to clip to, lows and highs of `S` numbers (±inf for none); None takes the real environment's.
        follow: whether an episode keeps one member of the model throughout (TS∞) instead of drawing at every step.

    Raises:
        NotBuiltError: before the model's `build`.
        ShapeError: if rows have another size of observation.
        DataError: if there are no rows, or one isn't finite.
        ConfigError: if a number is out of range, `rows` are no `Transitions`, or `clip` finds no bounds.
        UnsupportedError: for `clip` with a model whose state is more than its observation.
    """

    def __init__(
        self,
        who: str,
        model: DynamicsModel,
        rows: Transitions,
        num_envs: int,
        time_limit: int | Literal["task"] | None,
        clip: bool,
        bounds: Bounds | None,
        follow: bool,
    ) -> None:
        check_argument(f"{who}(model=…)", model, DynamicsModel)
        task = model.built_task
        check_whole(f"{who}(num_envs=…)", num_envs)
        check_argument(f"{who}(rows=…)", rows, Transitions)
        self.who = who
        self.model = model
        self.task = task
        self.num_envs = num_envs
        self.time_limit = task.time_limit if time_limit == "task" else time_limit
        self.follow = follow
        if self.time_limit is not None:
            check_whole(f"{who}(time_limit=…)", self.time_limit)
        check_shape(f"{who}(rows.obs)", rows.obs, ("N", task.obs_size), "give it rows of the model's task")
        if len(rows) == 0:
            raise DataError(f"{who}: expected at least one initial row to start episodes from, got none; give it some.")
        if not bool(torch.isfinite(rows.obs).all()):
            raise DataError(f"{who}: expected finite initial observations, got NaN or infinity; leave those rows out.")
        self.rows = rows.to(model.device)
        self.generators = [torch.Generator(device=model.device) for _ in range(num_envs)]
        self.state: ModelState | None = None
        self.elapsed = np.zeros(num_envs, dtype=np.int64)  # N
        self.clip = self._clip_bounds(bounds) if clip else None
        if bounds is not None and not clip:
            raise ConfigError(f"{who}: expected bounds only with clip=True, got them with clip=False; set it, or drop them.")
        edge = np.full(task.obs_size, np.inf, dtype=np.float32)  # S
        low, high = (-edge, edge) if self.clip is None else (bound.cpu().numpy() for bound in self.clip)
        self.observation_space = spaces.Box(low, high, dtype=np.float32)
        self.action_space = spaces.Box(
            np.array(task.action_low, dtype=np.float32), np.array(task.action_high, dtype=np.float32), dtype=np.float32
        )
        # A, one unit of float32: where a bound ends up that was scaled from [−1, 1] in float32, as RescaleAction does
        low, high = self.action_space.low, self.action_space.high
        self.rounding = np.spacing(np.maximum(high - low, np.maximum(np.abs(low), np.abs(high))))

    def _clip_bounds(self, bounds: Bounds | None) -> tuple[Tensor, Tensor]:
        """Lows and highs, `S` float32 each."""
        size = self.task.obs_size
        if bounds is None:
            try:
                env = make_env(self.task)
            except MbrlError as error:
                raise ConfigError(
                    f"{self.who}: expected bounds with clip=True, got none, and the environment's can't be read: {error}"
                ) from error
            space = env.observation_space
            env.close()
            if isinstance(space, spaces.Box):  # else the task was made of another environment
                bounds = (space.low.tolist(), space.high.tolist())
        lows, highs = (torch.as_tensor(np.asarray(bound, dtype=np.float32)) for bound in bounds or ((), ()))
        if lows.shape != (size,) or highs.shape != (size,) or not bool((lows < highs).all()):
            raise ConfigError(f"{self.who}: expected bounds of {size} lows, each below its high, got {bounds}.")
        if not bool((torch.isfinite(lows) | torch.isfinite(highs)).any()):
            raise ConfigError(f"{self.who}: expected a finite bound to clip to, got none; give bounds, or leave clip off.")
        probe = self.model.start(self.rows.select(slice(0, 1)), torch.Generator(device=self.model.device))
        try:
            probe.moved(probe.obs)
        except UnsupportedError as error:
            raise UnsupportedError(
                f"{self.who}: expected a model whose state is an observation, got {type(self.model).__name__}; unset clip."
            ) from error
        return lows.to(self.model.device), highs.to(self.model.device)

    def begin(self, envs: Sequence[int], randoms: Sequence[np.random.Generator]) -> None:
        """Starts a new episode in each of `envs`, at a stored row and with a noise seed that its generator draws.

        Args:
            envs: distinct numbers from 0 to N−1; at first all of them.
            randoms: one NumPy generator for each of `envs`.

        Raises:
            UnsupportedError: if the first call leaves environments out, or the model can't begin a part of them anew.
        """
        if self.state is None and len(envs) != self.num_envs:
            raise UnsupportedError(
                f"{self.who}: expected a first reset of all {self.num_envs}, got {len(envs)}; leave the mask out."
            )
        picks = []
        for env, draws in zip(envs, randoms, strict=True):
            picks.append(int(draws.integers(len(self.rows))))
            self.generators[env].manual_seed(int(draws.integers(2**63)))
        device = self.model.device
        rows = self.rows.select(torch.tensor(picks, device=device, dtype=torch.int64))
        noise = InterleavedGenerator([self.generators[env] for env in envs])
        with torch.no_grad():
            fresh = self._clipped(self.model.start(rows, noise, follow=self.follow))
            if self.state is None or len(envs) == self.num_envs:
                self.state = fresh
            else:
                self.state = self.state.replaced(torch.tensor(list(envs), device=device, dtype=torch.int64), fresh)
        self.elapsed[list(envs)] = 0

    def _clipped(self, state: ModelState) -> ModelState:
        if self.clip is None:
            return state
        low, high = (bound.to(state.obs.dtype) for bound in self.clip)
        return state.moved(state.obs.clamp(low, high))

    def obs(self) -> np.ndarray[Any, Any]:
        """Observations, `N x S` float32, a fresh array.

        Raises:
            UnsupportedError: before the first episode.
        """
        return self.started().obs.float().cpu().numpy().copy()

    def started(self) -> ModelState:
        """The state.

        Raises:
            UnsupportedError: before the first episode.
        """
        if self.state is None:
            raise UnsupportedError(f"{self.who}: expected reset before anything else, got a step without one; call reset.")
        return self.state

    def step(
        self, actions: np.ndarray[Any, Any], going: np.ndarray[Any, Any]
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Steps all episodes.

        Args:
            actions: `N x A`, environment units.
            going: `N` bool, the episodes that count; what comes of the others is without meaning.

        Returns:
            Rewards `N` float64, terminated and truncated `N` bool.

        Raises:
            ShapeError: if `actions` has another shape.
            DataError: if one that counts lies outside the action space by more than a unit of float32.
            DivergedError: if a prediction that counts isn't finite.
        """
        state = self.started()
        space, shape = self.action_space, (self.num_envs, self.task.action_size)
        given = np.asarray(actions, dtype=np.float32)
        check_shape(f"{self.who}(actions)", given, shape, "give one row per environment")
        inside = ((given >= space.low - self.rounding) & (given <= space.high + self.rounding)).all(-1)  # N, and no NaN
        if not (inside | ~going).all():
            worst = given[np.argmin(inside | ~going)]
            raise DataError(
                f"{self.who}: expected actions between {space.low.tolist()} and {space.high.tolist()}, got {worst.tolist()}"
                "; clip them, or scale them to the environment's units (gymnasium.wrappers.RescaleAction)."
            )
        action = torch.from_numpy(given).to(state.obs)  # N x A
        with torch.no_grad():
            step = self.model.step(state, self.task.from_env_action(action).clamp(-1.0, 1.0))
        finite = step.finite.cpu().numpy()  # N
        if not (finite | ~going).all():
            number = int(np.argmin(finite | ~going))
            raise DivergedError(
                f"{self.who}: expected finite predictions, got {step.next_obs[number].tolist()} with reward "
                f"{step.reward[number].item()} after {self.elapsed[number] + 1} steps; shorten time_limit, clip, or refit."
            )
        self.state = self._clipped(step.state)
        self.elapsed += 1
        truncated = np.zeros(self.num_envs, dtype=bool)
        if self.time_limit is not None:
            truncated = self.elapsed >= self.time_limit
        if step.halt is not None:
            truncated = truncated | (step.halt & ~step.terminated).cpu().numpy()
        return step.reward.double().cpu().numpy(), step.terminated.cpu().numpy().copy(), truncated
