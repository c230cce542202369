"""The state of a MuJoCo environment as one row of float64 numbers: read from it, and put back.

A row is MuJoCo's `mjSTATE_FULLPHYSICS` (time, positions, velocities, activations, …), then `qacc_warmstart`, from which the
constraint solver starts, then whatever derived data the environment's reward reads *before* its step. The first two make
the physics of the next step the same, bit for bit; the last makes the reward so too: MuJoCo leaves body positions one inner
step behind the joints' after a step, so recomputing them would give other numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from mbrl.data import Task
from mbrl.envs.task import make_env
from mbrl.errors import TaskError

# (module, class) of Gymnasium's environments -> arrays of MjData that their step reads before it moves
_PACKAGE = "gymnasium.envs.mujoco."
_READ_FIRST = {
    ("ant_v4", "AntEnv"): ("xpos",),
    ("ant_v5", "AntEnv"): ("xpos",),
    ("humanoid_v4", "HumanoidEnv"): ("xipos",),
    ("humanoid_v5", "HumanoidEnv"): ("xipos",),
    ("reacher_v4", "ReacherEnv"): ("xpos",),
}


class SimulatorState:
    """Reads and writes rows of one environment.

    Args:
        env: an environment of MuJoCo, wrapped or not.

    Attributes:
        model: its `mujoco.MjModel`.
        physics_size: numbers of `mjSTATE_FULLPHYSICS`, the head of a row.
        derived: names of the arrays of `MjData` at the end of a row.
        size: `W`, numbers in a row.

    Raises:
        TaskError: if it isn't one of MuJoCo.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        found = _model_and_data(env)
        if found is None:
            raise TaskError(f"expected a MuJoCo environment (Gymnasium or dm_control), got {type(env.unwrapped).__name__}.")
        import mujoco  # its own module has been imported by the environment

        self._env = env
        self._spec = mujoco.mjtState.mjSTATE_FULLPHYSICS
        self.model, data = found
        self.derived = _read_first(env)
        self.physics_size = int(mujoco.mj_stateSize(self.model, self._spec))
        self.size = self.physics_size + self.model.nv + sum(getattr(data, name).size for name in self.derived)

    @property
    def data(self) -> Any:
        """The environment's `mujoco.MjData`, where it stands now."""
        return _model_and_data(self._env)[1]  # type: ignore[index]

    def read(self, out: np.ndarray | None = None) -> np.ndarray:
        """The state as a row, `W` float64, in `out` if given."""
        import mujoco

        data, end = self.data, self.physics_size
        row = np.empty(self.size) if out is None else out
        mujoco.mj_getState(self.model, data, row[:end], self._spec)
        for array in (data.qacc_warmstart, *(getattr(data, name) for name in self.derived)):
            row[end : end + array.size] = array.reshape(-1)
            end += array.size
        return row

    def write(self, row: np.ndarray) -> None:
        """Puts the environment where `row` (`W` float64) was read; what the next step recomputes is left as it was."""
        import mujoco

        data, end = self.data, self.physics_size
        mujoco.mj_setState(self.model, data, row[:end], self._spec)
        for array in (data.qacc_warmstart, *(getattr(data, name) for name in self.derived)):
            array.reshape(-1)[:] = row[end : end + array.size]
            end += array.size


def has_simulator_state(env: gymnasium.Env[Any, Any]) -> bool:
    """Says whether an environment is one of MuJoCo, so that its state can be read."""
    return _model_and_data(env) is not None


def snapshot_of(envs: Sequence[gymnasium.Env[Any, Any]]) -> Tensor | None:
    """The simulator states of `N` environments as `N x W` float64 on the CPU, or None if one of them isn't MuJoCo's."""
    if not all(has_simulator_state(env) for env in envs):
        return None
    return torch.from_numpy(np.stack([SimulatorState(env).read() for env in envs]))


def simulator_state_size(task: Task, *, allow: Sequence[str] | None = None) -> int:
    """`W`, the numbers in a row of the environment of `task`, which is made once to see.

    Args:
        task: the environment's task.
        allow: as in `mbrl.envs.make_env`.

    Raises:
        TaskError: if the environment can't be made, or isn't one of MuJoCo.
    """
    env = make_env(task, allow=allow)
    try:
        return SimulatorState(env).size
    finally:
        env.close()


def _model_and_data(env: gymnasium.Env[Any, Any]) -> tuple[Any, Any] | None:
    mujoco = sys.modules.get("mujoco")
    if mujoco is None:  # then no environment of it has been made
        return None
    inner = env.unwrapped
    physics = getattr(inner, "physics", None)  # dm_control's, whose own classes wrap MuJoCo's
    holder = inner if physics is None else physics
    model, data = (getattr(holder, name, None) for name in ("model", "data"))
    model, data = getattr(model, "ptr", model), getattr(data, "ptr", data)
    if not isinstance(model, mujoco.MjModel) or not isinstance(data, mujoco.MjData):
        return None
    return model, data


def _read_first(env: gymnasium.Env[Any, Any]) -> tuple[str, ...]:
    kind = type(env.unwrapped)
    if kind.__module__.startswith(_PACKAGE):
        return _READ_FIRST.get((kind.__module__.removeprefix(_PACKAGE), kind.__qualname__), ())
    if getattr(env.unwrapped, "physics", None) is not None:
        return ()  # dm_control's tasks read after their step
    return ("xpos", "xipos")  # somebody's own environment may look at either
