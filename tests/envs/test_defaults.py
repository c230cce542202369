"""Which functions are known for which environment."""

from __future__ import annotations

import pytest

from mbrl.envs import known_functions
from mbrl.envs.defaults import KNOWN
from mbrl.names import import_name


def test_every_name_can_be_imported() -> None:
    for env_id in KNOWN:
        for name in known_functions(env_id):
            assert name is None or callable(import_name(name))


@pytest.mark.parametrize(
    ("env_id", "kwargs", "reward", "terminated"),
    [
        ("Hopper-v5", {}, None, "hopper"),
        ("Hopper-v5", {"reset_noise_scale": 0.1}, None, "hopper"),
        ("Hopper-v5", {"terminate_when_unhealthy": False}, None, None),
        ("Hopper-v5", {"exclude_current_positions_from_observation": False}, None, None),
        ("Reacher-v5", {}, "reacher", "never"),
        ("Reacher-v5", {"reward_dist_weight": 2.0}, None, None),
        ("dm_control/walker-walk-v0", {}, None, "never"),
        ("dm_control/cartpole-swingup-v0", {}, "dm_cartpole", "never"),
        ("dm_control/lqr-lqr_2_1-v0", {}, None, None),
        ("Unheard-v0", {}, None, None),
    ],
)
def test_known_functions(env_id: str, kwargs: dict, reward: str | None, terminated: str | None) -> None:
    expected = (
        reward and f"mbrl.envs.rewards.{reward}",
        terminated and f"mbrl.envs.terminations.{terminated}",
    )
    assert known_functions(env_id, kwargs) == expected
