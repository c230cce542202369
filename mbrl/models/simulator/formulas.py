"""Observation, reward and termination of MuJoCo environments as functions of positions and velocities, for whole batches.

They repeat the environments' own formulas in the environments' own precision (the control cost is float32 there, since the
action is), so that their numbers are equal bit for bit; weights and ranges are read off the environment, so that its keyword
arguments count. Positions `… x nq` and velocities `… x nv` are float64 arrays, `…` any leading dims.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from mbrl.errors import DataError, UnsupportedError

_CLIP = 10.0  # Gymnasium's Hopper, Walker2d and InvertedDoublePendulum show velocities clipped to this
_PACKAGE = "gymnasium.envs.mujoco."


class Formulas(ABC):
    """Formulas for what one environment shows, pays and calls an end.

    Args:
        env: the environment without its wrappers.
    """

    def __init__(self, env: Any) -> None:
        self.env_name = type(env).__name__

    @abstractmethod
    def observe(self, positions: np.ndarray, velocities: np.ndarray, out: np.ndarray) -> None:
        """Writes the observation into `out` (`… x S`, float32 or float64)."""

    @abstractmethod
    def reward(
        self, before: np.ndarray, positions: np.ndarray, velocities: np.ndarray, command: np.ndarray, ended: np.ndarray
    ) -> np.ndarray:
        """The reward of one step of the environment, `…`.

        Args:
            before: `…`, the first position before the step.
            positions: after it.
            velocities: after it.
            command: `… x A`, the action in the environment's units and precision.
            ended: `…` bool, what `terminated` says.
        """

    def terminated(self, positions: np.ndarray, velocities: np.ndarray) -> np.ndarray:
        """Tells whether the step ended the task, `…` bool; never, unless overridden."""
        return np.zeros(positions.shape[:-1], dtype=np.bool_)

    @abstractmethod
    def state_from(self, obs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions and velocities that `obs` (`B x S`, float64) shows.

        Raises:
            UnsupportedError: if observations of this environment don't determine them.
            DataError: if one of these doesn't.
        """


class Locomotion(Formulas):
    """Hopper, Walker2d, HalfCheetah and Swimmer: distance per time, less the control's cost.

    The hidden root position is taken as 0 when starting from an observation: physics and reward depend on displacements.
    """

    hidden = 1  # leading positions that the observation leaves out by default
    clipped = False

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.dt = env.dt
        self.forward_weight = env._forward_reward_weight
        self.control_weight = env._ctrl_cost_weight
        self.skipped = self.hidden if env._exclude_current_positions_from_observation else 0
        self.nq = int(env.model.nq)

    def observe(self, positions: np.ndarray, velocities: np.ndarray, out: np.ndarray) -> None:
        shown = self.nq - self.skipped
        out[..., :shown] = positions[..., self.skipped :]
        if self.clipped:
            np.clip(velocities, -_CLIP, _CLIP, out=out[..., shown:], casting="same_kind")
        else:
            out[..., shown:] = velocities

    def reward(
        self, before: np.ndarray, positions: np.ndarray, velocities: np.ndarray, command: np.ndarray, ended: np.ndarray
    ) -> np.ndarray:
        velocity = (positions[..., 0] - before) / self.dt
        cost = self.control_weight * np.sum(np.square(command), axis=-1)
        return self.earned(self.forward_weight * velocity, positions, velocities) - cost

    def earned(self, forward: np.ndarray, positions: np.ndarray, velocities: np.ndarray) -> np.ndarray:
        """The forward reward and what else is paid, `…`."""
        return forward

    def state_from(self, obs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shown = self.nq - self.skipped
        velocities = obs[:, shown:]
        if self.clipped:
            refuse_clipped(self.env_name, velocities)
        return np.concatenate([np.zeros((len(obs), self.skipped)), obs[:, :shown]], 1), velocities


class Swimmer(Locomotion):
    """Swimmer hides two root positions."""

    hidden = 2


class Walking(Locomotion):
    """Hopper and Walker2d: a reward for being healthy, and an end where they aren't.

    In version 4 the healthy reward is paid on the ending step too.
    """

    clipped = True

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.healthy_reward = env._healthy_reward
        self.ends = bool(env._terminate_when_unhealthy)
        self.always_paid = self.ends and type(env).__module__.endswith("_v4")
        self.height, self.angle = env._healthy_z_range, env._healthy_angle_range

    def healthy(self, positions: np.ndarray, velocities: np.ndarray) -> np.ndarray:
        """Within the ranges of height and angle, `…` bool."""
        height, angle = positions[..., 1], positions[..., 2]
        return (self.height[0] < height) & (height < self.height[1]) & (self.angle[0] < angle) & (angle < self.angle[1])

    def earned(self, forward: np.ndarray, positions: np.ndarray, velocities: np.ndarray) -> np.ndarray:
        if self.always_paid:
            return forward + self.healthy_reward
        return forward + self.healthy(positions, velocities) * self.healthy_reward

    def terminated(self, positions: np.ndarray, velocities: np.ndarray) -> np.ndarray:
        if not self.ends:
            return super().terminated(positions, velocities)
        return ~self.healthy(positions, velocities)


class Walker2d(Walking):
    """Walker2d, whose observations hide most of its velocities' sizes."""

    def state_from(self, obs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise undetermined("Walker2d", "they clip velocities to ±10, which its joints exceed most of the time")


class Hopper(Walking):
    """Hopper, which also ends where any other coordinate leaves a range."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.bounds = env._healthy_state_range

    def healthy(self, positions: np.ndarray, velocities: np.ndarray) -> np.ndarray:
        low, high = self.bounds
        inside = ((low < positions[..., 2:]) & (positions[..., 2:] < high)).all(-1)
        return inside & ((low < velocities) & (velocities < high)).all(-1) & super().healthy(positions, velocities)


class InvertedPendulum(Formulas):
    """Reward of 1 per step while the pole stands; in version 5 the ending step pays nothing."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.always_paid = type(env).__module__.endswith("_v4")
        self.nq = int(env.model.nq)

    def observe(self, positions: np.ndarray, velocities: np.ndarray, out: np.ndarray) -> None:
        out[..., : self.nq] = positions
        out[..., self.nq :] = velocities

    def reward(
        self, before: np.ndarray, positions: np.ndarray, velocities: np.ndarray, command: np.ndarray, ended: np.ndarray
    ) -> np.ndarray:
        return np.ones(ended.shape) if self.always_paid else (~ended).astype(np.float64)

    def terminated(self, positions: np.ndarray, velocities: np.ndarray) -> np.ndarray:
        finite = np.isfinite(positions).all(-1) & np.isfinite(velocities).all(-1)
        return ~finite | (np.abs(positions[..., 1]) > 0.2)

    def state_from(self, obs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return obs[:, : self.nq], obs[:, self.nq :]


class DmCartpole(Formulas):
    """dm_control's cartpole with one pole (Tassa2018): obs (x, cos θ, sin θ, ẋ, θ̇), reward in [0, 1], no end.

    Cosine and sine come from the angle here and from a rotation matrix there, so these agree to rounding only.
    """

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.sparse = env.task._sparse

    def observe(self, positions: np.ndarray, velocities: np.ndarray, out: np.ndarray) -> None:
        out[..., 0] = positions[..., 0]
        out[..., 1] = np.cos(positions[..., 1])
        out[..., 2] = np.sin(positions[..., 1])
        out[..., 3:] = velocities

    def reward(
        self, before: np.ndarray, positions: np.ndarray, velocities: np.ndarray, command: np.ndarray, ended: np.ndarray
    ) -> np.ndarray:
        place, upright = positions[..., 0], np.cos(positions[..., 1])
        if self.sparse:
            return ((np.abs(place) <= 0.25) & (upright >= 0.995)).astype(np.float64)
        little_control = (4 + np.maximum(1 - np.square(command[..., 0]), 0)) / 5
        slow, centred = (1 + _bell(velocities[..., 1], 5.0)) / 2, (1 + _bell(place, 2.0)) / 2
        return (upright + 1) / 2 * little_control * slow * centred

    def state_from(self, obs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.stack([obs[:, 0], np.arctan2(obs[:, 2], obs[:, 1])], 1), obs[:, 3:]


def _bell(value: np.ndarray, margin: float) -> np.ndarray:
    """exp(ln 0.1 (value / margin)²)."""
    return np.exp(math.log(0.1) * np.square(value / margin))


_FORMULAS: dict[tuple[str, str], type[Formulas]] = {
    ("inverted_pendulum", "InvertedPendulumEnv"): InvertedPendulum,
    ("hopper", "HopperEnv"): Hopper,
    ("walker2d", "Walker2dEnv"): Walker2d,
    ("half_cheetah", "HalfCheetahEnv"): Locomotion,
    ("swimmer", "SwimmerEnv"): Swimmer,
}


def formulas_of(env: Any) -> Formulas | None:
    """The formulas of an environment (without wrappers), or None if there are none for it.

    A subclass has none: it may have changed them.
    """
    kind = type(env)
    if kind.__module__.startswith(_PACKAGE):
        module, _, version = kind.__module__.removeprefix(_PACKAGE).rpartition("_")
        made = _FORMULAS.get((module, kind.__qualname__))
        return made(env) if made is not None and version in ("v4", "v5") else None
    if is_dm_control(env):
        task = type(env.task)
        is_cartpole = (task.__module__, task.__qualname__) == ("dm_control.suite.cartpole", "Balance")
        return DmCartpole(env) if is_cartpole and env.physics.model.nv == 2 else None
    return None


def is_dm_control(env: Any) -> bool:
    """Tells whether an environment (without wrappers) is one of dm_control's."""
    return type(env).__module__.startswith("shimmy.") and getattr(env, "physics", None) is not None


def positions_from(env: Any, obs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities that observations of an environment without `Formulas` show: see `Formulas.state_from`.

    Args:
        env: without wrappers.
        obs: `B x S`, float64.

    Raises:
        UnsupportedError: if observations of this environment don't determine them.
        DataError: if one of these doesn't.
    """
    kind = type(env)
    name = kind.__module__.removeprefix(_PACKAGE) if kind.__module__.startswith(_PACKAGE) else ""
    nv, rows = int(env.model.nv), len(obs)
    if name == "reacher_v5":  # cos and sin of two angles, target x and y, two velocities; the target stands still
        angles = np.arctan2(obs[:, 2:4], obs[:, 0:2])
        return np.concatenate([angles, obs[:, 4:6]], 1), np.concatenate([obs[:, 6:8], np.zeros((rows, nv - 2))], 1)
    if name.startswith("inverted_double_pendulum_"):  # x, two sines, two cosines, three velocities, forces
        refuse_clipped(kind.__name__, obs[:, 5:8])
        return np.concatenate([obs[:, 0:1], np.arctan2(obs[:, 1:3], obs[:, 3:5])], 1), obs[:, 5:8]
    why = _NOT_DETERMINED.get(name.rpartition("_")[0], "nobody has said how to read a state from them")
    raise undetermined(kind.__name__, why)


def undetermined(env_name: str, why: str) -> UnsupportedError:
    """The refusal of observations that don't determine the state, for the reason `why`."""
    return UnsupportedError(
        f"SimulatorModel: expected rows with extras['sim_state'] for {env_name}, got observations alone: {why}; keep "
        "sim_state in the buffer (Experience.snapshot)."
    )


_NOT_DETERMINED = {
    "ant": "its reward starts from a body position that MuJoCo keeps one inner step behind the joints",
    "humanoid": "its reward starts from body positions that MuJoCo keeps one inner step behind the joints",
    "humanoidstandup": "its contact forces depend on where MuJoCo's solver starts from, which they don't show",
    "reacher": "its reward starts from body positions that MuJoCo keeps one inner step behind the joints",
    "pusher": "they leave out the object's velocity",
}


def refuse_clipped(env_name: str, velocities: np.ndarray) -> None:
    """Refuses observations that show a velocity at its clip.

    Args:
        env_name: for the message.
        velocities: `B x nv` as observed.

    Raises:
        DataError: naming the first.
    """
    at_clip = np.abs(velocities) >= _CLIP  # B x nv
    if at_clip.any():
        row = int(at_clip.any(1).argmax())
        raise DataError(
            f"SimulatorModel: expected observations of {env_name} with velocities inside ±{_CLIP:g}, to which it clips, "
            f"got {velocities[row].tolist()} in row {row}; start from extras['sim_state'] (Experience.snapshot)."
        )
