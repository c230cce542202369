"""Two ways to step many copies of one MuJoCo environment: all at once, and one after the other.

Both take rows of `mbrl.envs.SimulatorState` and commands in the environment's units, and give back what the environment
would have shown, paid and ended. A row whose physics diverges (where MuJoCo would silently start over) becomes NaN.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from mujoco.rollout import Rollout

from mbrl.envs import SimulatorState
from mbrl.models.simulator.formulas import Formulas, formulas_of, is_dm_control, positions_from

_CLOCK = 1.0  # each call starts its clock here: a row that MuJoCo has reset, or has stopped stepping, shows by its time
_UNSTABLE = ("mjWARN_BADQPOS", "mjWARN_BADQVEL", "mjWARN_BADQACC", "mjWARN_BADCTRL")
_orphans: list[Rollout] = []


@dataclass
class Frames:
    """`H` steps of `B` rows.

    Attributes:
        obs: `H x B x S`, in the precision asked for.
        reward: `H x B` float64.
        terminated: `H x B` bool.
        physics: `H x B x P` float64, a view where the physics wrote it.
        rest: `H x B x (W − P)`, or None where it isn't given back.
    """

    obs: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    physics: np.ndarray
    rest: np.ndarray | None


class Physics(ABC):
    """Steps rows of one environment.

    Args:
        env: of MuJoCo, without wrappers, owned from now on.
        obs_size: `S`.
        repeat: steps of the environment in one step of the task; rewards are summed, and a row that ends stops there.

    Attributes:
        size: `W`, numbers in a row.
        physics_size: `P`, of them MuJoCo's physics.
        command_dtype: the precision in which the environment takes actions.
    """

    def __init__(self, env: Any, obs_size: int, repeat: int) -> None:
        state = SimulatorState(env)
        self.env = env
        self.obs_size = obs_size
        self.repeat = repeat
        self.size = state.size
        self.physics_size = state.physics_size
        self.command_dtype = env.action_space.dtype
        self.model = state.model
        self.nq, self.nv = int(state.model.nq), int(state.model.nv)

    @abstractmethod
    def run(self, physics: np.ndarray, rest: np.ndarray | None, commands: np.ndarray, obs_dtype: Any) -> Frames:
        """Steps `B` rows through `H` commands each.

        Args:
            physics: `B x P` float64; left as it was.
            rest: `B x (W − P)` float64, or None if unknown.
            commands: `B x H x A` in the environment's units and precision.
            obs_dtype: float32 or float64.
        """

    @abstractmethod
    def show(self, physics: np.ndarray) -> np.ndarray | None:
        """Observations `B x S` float64 of rows `B x P`, or None where it takes a step to know them."""

    @abstractmethod
    def positions(self, obs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions and velocities that observations `B x S` (float64) show, or a refusal."""

    def state_from(self, obs: np.ndarray) -> np.ndarray:
        """The physics `B x P` that observations `B x S` (float64) show.

        Raises:
            UnsupportedError, DataError: if they don't determine it.
        """
        positions, velocities = self.positions(obs)
        rows = np.zeros((len(obs), self.physics_size))
        rows[:, 1 : 1 + self.nq] = positions
        rows[:, 1 + self.nq : 1 + self.nq + self.nv] = velocities
        return rows


class BatchedPhysics(Physics):
    """All rows at once, on several threads, by `mujoco.rollout`, with our own formulas for what the environment says.

    `mujoco.rollout` gives no warm start back, so it's known on a row's first step only: the physics of one call is the
    environment's bit for bit, and a next call's to what the solver's tolerance leaves.

    Args:
        env: see `Physics`.
        obs_size: see `Physics`.
        repeat: see `Physics`.
        formulas: of the environment.
        threads: 1 steps on the caller's.
    """

    def __init__(self, env: Any, obs_size: int, repeat: int, formulas: Formulas, threads: int) -> None:
        super().__init__(env, obs_size, repeat)
        self.formulas = formulas
        self.inner = int(env._n_sub_steps if is_dm_control(env) else env.frame_skip)  # physics steps of an environment step
        self.threads = threads
        self._data = [mujoco.MjData(self.model) for _ in range(threads)]
        self._here = Rollout(nthread=0)
        self._pool: Rollout | None = None
        self._pool_owner = 0
        self._models: list[Any] = []

    def show(self, physics: np.ndarray) -> np.ndarray | None:
        positions, velocities = self._split(physics)
        out = np.empty((len(physics), self.obs_size))
        self.formulas.observe(positions, velocities, out)
        return out

    def positions(self, obs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.formulas.state_from(obs)

    def run(self, physics: np.ndarray, rest: np.ndarray | None, commands: np.ndarray, obs_dtype: Any) -> Frames:
        rows, horizon, repeat = len(physics), commands.shape[1], self.repeat
        steps = horizon * repeat * self.inner
        start = np.array(physics, order="C")  # B x P, a copy: its clock is set
        start[:, 0] = _CLOCK
        warm = None if rest is None else np.ascontiguousarray(rest[:, : self.nv])
        control = np.empty((rows, horizon, repeat * self.inner, commands.shape[2]))
        control[:] = commands[:, :, None]
        path = np.empty((rows, steps, self.physics_size))
        with quiet():
            if rows > 0:
                self._roll(start, warm, control.reshape(rows, steps, commands.shape[2]), path)
        last = path.reshape(rows, horizon, repeat, self.inner, self.physics_size)[:, :, :, -1]  # B x H x repeat x P
        diverged = self._diverged(last[..., 0], commands)  # B x H x repeat
        if diverged.any():
            last[diverged] = np.nan
        return self._frames(start, last, commands, diverged, obs_dtype)

    def _diverged(self, clock: np.ndarray, commands: np.ndarray) -> np.ndarray:
        """Which of the steps aren't the physics', `B x H x repeat` bool.

        At its first warning `mujoco.rollout` leaves a row where it is: reset if it diverged, else as after the last step.
        For a command that isn't a number that step was one with no command at all.
        """
        _, horizon, repeat = clock.shape
        step = self.inner * self.model.opt.timestep
        due = _CLOCK + step * np.arange(1, horizon * repeat + 1).reshape(horizon, repeat)
        stopped: np.ndarray = (clock < due - 0.5 * self.model.opt.timestep) | ~np.isfinite(commands).all(-1)[..., None]
        return stopped

    def _roll(self, start: np.ndarray, warm: np.ndarray | None, control: np.ndarray, path: np.ndarray) -> None:
        rows = len(start)
        if len(self._models) != rows:
            self._models = [self.model] * rows
        pool, data = (self._here, self._data[:1]) if self.threads == 1 or rows == 1 else (self._threads(), self._data)
        pool.rollout(
            self._models, data, start, control, skip_checks=True, nstep=path.shape[1], initial_warmstart=warm, state=path
        )

    def _threads(self) -> Rollout:
        if self._pool is None or self._pool_owner != os.getpid():
            if self._pool is not None:  # a forked process inherits a pool without its threads, and closing it waits for them
                _orphans.append(self._pool)
            self._pool, self._pool_owner = Rollout(nthread=self.threads), os.getpid()
        return self._pool

    def _frames(
        self, start: np.ndarray, last: np.ndarray, commands: np.ndarray, diverged: np.ndarray, obs_dtype: Any
    ) -> Frames:
        rows, horizon, repeat = diverged.shape
        positions, velocities = self._split(last)  # B x H x repeat x …
        ended = self.formulas.terminated(positions, velocities)  # B x H x repeat
        before = np.empty((rows, horizon * repeat))  # the first position before each step of the environment
        before[:, 0] = start[:, 1]
        before[:, 1:] = positions[..., 0].reshape(rows, horizon * repeat)[:, :-1]
        reward = self.formulas.reward(
            before.reshape(rows, horizon, repeat), positions, velocities, commands[:, :, None], ended
        )  # B x H x repeat
        if diverged.any():
            reward, ended = np.where(diverged, np.nan, reward), ended & ~diverged
        if repeat == 1:
            final, paid, over = last[:, :, 0], reward[:, :, 0], ended[:, :, 0]
        else:
            final, paid, over = _until_the_end(last, reward, ended)
        by_time = final.swapaxes(0, 1)  # H x B x P
        obs = np.empty((horizon, rows, self.obs_size), dtype=obs_dtype)
        self.formulas.observe(*self._split(by_time), obs)
        return Frames(obs, np.ascontiguousarray(paid.T), np.ascontiguousarray(over.T), by_time, None)

    def _split(self, physics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        middle = 1 + self.nq
        return physics[..., 1:middle], physics[..., middle : middle + self.nv]


def _until_the_end(last: np.ndarray, reward: np.ndarray, ended: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums rewards over the repeats up to the first that ends, whose state is the step's: `B x H x …`."""
    over: np.ndarray = np.asarray(ended.any(-1))  # B x H
    stop = np.where(over, ended.argmax(-1), ended.shape[-1] - 1)  # B x H
    made = np.arange(ended.shape[-1]) <= stop[..., None]  # B x H x repeat
    paid = np.where(made, reward, 0.0).sum(-1)
    if not over.any():
        return last[:, :, -1], paid, over
    return np.take_along_axis(last, stop[..., None, None], 2)[:, :, 0], paid, over


class StepwisePhysics(Physics):
    """One row after the other, by the environment's own step: right wherever a row holds all that the step reads.

    Args: see `Physics`.
    """

    def __init__(self, env: Any, obs_size: int, repeat: int) -> None:
        super().__init__(env, obs_size, repeat)
        self._state = SimulatorState(env)
        self._unstable = [int(getattr(mujoco.mjtWarning, name)) for name in _UNSTABLE]

    def show(self, physics: np.ndarray) -> np.ndarray | None:
        return None

    def positions(self, obs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return positions_from(self.env, obs)

    def run(self, physics: np.ndarray, rest: np.ndarray | None, commands: np.ndarray, obs_dtype: Any) -> Frames:
        rows, horizon = commands.shape[:2]
        obs = np.full((horizon, rows, self.obs_size), np.nan, dtype=obs_dtype)
        reward = np.full((horizon, rows), np.nan)
        ended = np.zeros((horizon, rows), dtype=np.bool_)
        after = np.full((horizon, rows, self.size), np.nan)
        known = np.zeros((rows, self.size - self.physics_size)) if rest is None else rest
        with quiet():
            for row, start in enumerate(np.concatenate([physics, known], 1)):
                if not np.isfinite(start).all():
                    continue
                self._state.write(start)
                for step in range(horizon):
                    shown, paid, over = self._step(commands[row, step])
                    if self._diverged():
                        break
                    obs[step, row], reward[step, row], ended[step, row] = shown, paid, over
                    self._state.read(after[step, row])
        return Frames(obs, reward, ended, after[..., : self.physics_size], after[..., self.physics_size :])

    def _step(self, command: np.ndarray) -> tuple[np.ndarray, float, bool]:
        total = 0.0
        for _ in range(self.repeat):
            obs, reward, terminated, _, _ = self.env.step(command)
            total += float(reward)
            if terminated:
                break
        return obs, total, bool(terminated)

    def _diverged(self) -> bool:
        warnings = self._state.data.warning
        found = False
        for index in self._unstable:
            found = found or warnings[index].number > 0
            warnings[index].number = 0
        return found


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps MuJoCo from printing, and writing to a log file where the program runs, that a state diverged: rows say so."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(_ignore)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


def _ignore(message: str) -> None:
    """The warning's fact is in the rows."""


def make_physics(env: Any, obs_size: int, repeat: int, threads: int, batched: bool = True) -> Physics:
    """The faster of the two ways that is right for an environment without its wrappers; not the batch unless `batched`."""
    formulas = formulas_of(env)
    if batched and formulas is not None and _is_plain(env):
        return BatchedPhysics(env, obs_size, repeat, formulas, threads)
    return StepwisePhysics(env, obs_size, repeat)


def _is_plain(env: Any) -> bool:
    """Tells whether positions and velocities are all the physics there is, so that nothing depends on the clock."""
    state = SimulatorState(env)
    return bool(state.physics_size == 1 + state.model.nq + state.model.nv)
