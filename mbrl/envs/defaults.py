"""Reward and termination functions that are known, by environment id.

An entry holds for the environment's default arguments and for those named in `HARMLESS`; with any other argument the
functions may be wrong, so that `make_task` leaves both to the model unless the user names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DISTRACTED = "mbrl.envs.distractors:Distracted-v0"  # its functions are those of its base
DIMS = 10  # of its distractors, by default

_TERMINATIONS = "mbrl.envs.terminations."
_REWARDS = "mbrl.envs.rewards."

# environment id -> (reward, termination); None is for the model to learn
KNOWN: dict[str, tuple[str | None, str | None]] = {
    "Pendulum-v1": ("pendulum", "never"),
    "MountainCarContinuous-v0": ("mountain_car_continuous", "mountain_car_continuous"),
    "InvertedPendulum-v4": ("one", "inverted_pendulum"),
    "InvertedPendulum-v5": ("inverted_pendulum", "inverted_pendulum"),
    "InvertedDoublePendulum-v4": (None, "inverted_double_pendulum"),
    "InvertedDoublePendulum-v5": (None, "inverted_double_pendulum"),
    "Reacher-v4": ("reacher_v4", "never"),
    "Reacher-v5": ("reacher", "never"),
    "Pusher-v4": (None, "never"),  # it asks for mujoco below 3, so its reward was never checked
    "Pusher-v5": ("pusher", "never"),
    "Swimmer-v4": (None, "never"),
    "Swimmer-v5": (None, "never"),
    "HalfCheetah-v4": (None, "never"),
    "HalfCheetah-v5": (None, "never"),
    "HumanoidStandup-v4": (None, "never"),
    "HumanoidStandup-v5": (None, "never"),
    "Hopper-v4": (None, "hopper"),
    "Hopper-v5": (None, "hopper"),
    "Walker2d-v4": (None, "walker2d"),
    "Walker2d-v5": (None, "walker2d"),
    "Ant-v4": (None, "ant"),
    "Ant-v5": (None, "ant"),
    "Humanoid-v4": (None, "humanoid"),
    "Humanoid-v5": (None, "humanoid"),
    "dm_control/cartpole-balance-v0": ("dm_cartpole", "never"),
    "dm_control/cartpole-swingup-v0": ("dm_cartpole", "never"),
    "dm_control/cartpole-balance_sparse-v0": ("dm_cartpole_sparse", "never"),
    "dm_control/cartpole-swingup_sparse-v0": ("dm_cartpole_sparse", "never"),
    "dm_control/pendulum-swingup-v0": ("dm_pendulum", "never"),
}

# suite domains whose tasks end by the time limit alone (lqr, which ends at its goal, isn't one)
_DM_NEVER = (
    "acrobot", "ball_in_cup", "cartpole", "cheetah", "dog", "finger", "fish", "hopper", "humanoid", "humanoid_CMU",
    "manipulator", "pendulum", "point_mass", "quadruped", "reacher", "stacker", "swimmer", "walker",
)  # fmt: skip

# arguments that change neither function: what is added to the observation's end, how episodes start and are drawn
HARMLESS = frozenset(
    {
        "camera_id", "camera_name", "height", "include_cfrc_ext_in_observation", "include_cinert_in_observation",
        "include_cvel_in_observation", "include_qfrc_actuator_in_observation", "max_episode_steps", "max_geom",
        "render_mode", "reset_noise_scale", "width",
    }
)  # fmt: skip


def known_functions(env_id: str, env_kwargs: Mapping[str, Any] | None = None) -> tuple[str | None, str | None]:
    """Dotted names of the reward and the termination function of an environment, None where it isn't known."""
    if env_id == DISTRACTED and isinstance((env_kwargs or {}).get("base_id"), str):
        assert env_kwargs is not None
        return known_functions(env_kwargs["base_id"], env_kwargs.get("base_kwargs"))
    name = env_id.split(":")[-1]
    if not set(env_kwargs or {}) <= HARMLESS:
        return None, None
    if name in KNOWN:
        reward, termination = KNOWN[name]
    elif name.startswith("dm_control/") and name.removeprefix("dm_control/").split("-")[0] in _DM_NEVER:
        reward, termination = None, "never"
    else:
        return None, None
    return (
        None if reward is None else _REWARDS + reward,
        None if termination is None else _TERMINATIONS + termination,
    )
