"""`observation_names`: what an environment calls the numbers of its observations."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import gymnasium
from gymnasium import spaces
from gymnasium.wrappers import FlattenObservation

from mbrl.counted import counted
from mbrl.data.task import is_label
from mbrl.errors import MbrlWarning

_KNOWN: dict[str, tuple[str, ...]] = {  # Gymnasium's own, by class
    "PendulumEnv": ("cos_theta", "sin_theta", "theta_dot"),
    "Continuous_MountainCarEnv": ("position", "velocity"),
    "InvertedPendulumEnv": ("x", "theta", "x_dot", "theta_dot"),
}


def observation_names(env: gymnasium.Env[Any, Any], size: int) -> tuple[str, ...] | None:
    """Names of the `S` numbers of an observation, or None where nobody has named them.

    They are those that the environment gives as `obs_names` (its outermost wrapper that has any), those of the entries of a
    dict that was flattened, or those of a simulator's joints. Names of another number than `size`, as of an environment
    whose observations a wrapper changes, are no names of these, and those that aren't letters on one line are none at all:
    a warning tells where `obs_names` are left out for that.

    Args:
        env: made.
        size: `S`.
    """
    try:
        own = env.get_wrapper_attr("obs_names")
    except AttributeError:
        own = None
    if own is not None and not _are_names(own, size):
        warnings.warn(
            f"{type(env.unwrapped).__name__}.obs_names: expected {counted(size, 'text')}, another for each number of "
            f"the observation, got {own!r}, which no report shows; change them, or name all with data.init_args.names.",
            MbrlWarning,
            2,
        )
    inner = env.unwrapped
    known = _KNOWN.get(type(inner).__name__) if type(inner).__module__.startswith("gymnasium.envs.") else None
    for found in (own, _of_entries(env), known, _of_joints(inner)):
        if found is not None and _are_names(found, size):
            return tuple(found)
    return None


def _are_names(found: Any, size: int) -> bool:
    strings = isinstance(found, list | tuple) and all(isinstance(one, str) and is_label(one) for one in found)
    return strings and len(found) == len(set(found)) == size


def _of_entries(env: gymnasium.Env[Any, Any]) -> list[str] | None:
    """Of a dict of boxes that is flattened, as `position[0]`."""
    while isinstance(env, gymnasium.Wrapper):
        below = env.env.observation_space
        if isinstance(env, FlattenObservation) and isinstance(below, spaces.Dict):
            return [name for key, space in below.spaces.items() for name in _numbered(str(key), spaces.flatdim(space))]
        env = env.env
    return None


def _of_joints(env: Any) -> list[str] | None:
    """Of a MuJoCo environment that says what it observes: joints, their velocities with `_dot`, and what follows."""
    structure, model = getattr(env, "observation_structure", None), getattr(env, "model", None)
    if not isinstance(structure, Mapping) or model is None:
        return None
    positions: list[str] = []
    velocities: list[str] = []
    for place in range(model.njnt):
        joint = model.joint(place)
        positions += _numbered(joint.name, len(joint.qpos0))
        velocities += _numbered(f"{joint.name}_dot", len(joint.dofadr) if len(joint.qpos0) == 1 else len(joint.qpos0) - 1)
    named = {"qpos": positions[structure.get("skipped_qpos", 0) :], "qvel": velocities}
    return [
        name
        for key, length in structure.items()
        if key != "skipped_qpos"
        for name in named.get(key) or _numbered(str(key), int(length))
    ]


def _numbered(name: str, size: int) -> list[str]:
    return [name] if size == 1 else [f"{name}[{place}]" for place in range(size)]
