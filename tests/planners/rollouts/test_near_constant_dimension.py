"""A dimension that rounding alone moves: how far imagined rollouts leave the data there, and the hook that keeps them in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
import yaml
from gymnasium import spaces

from mbrl.envs import VectorExperience, make_task
from mbrl.models import GaussianEnsemble
from mbrl.planners import DataRange, Dyna
from mbrl.policies import SAC
from mbrl.spec import from_spec

OVERLAY = Path(__file__).parents[3] / "configs/clamp_to_data.yaml"


class Rotor(gymnasium.Env[np.ndarray, np.ndarray]):
    """A driven rotor that shows cos, sin, speed, and cos² + sin² − 1, which only rounding moves."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def _obs(self) -> np.ndarray:
        c, s = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        return np.array([c, s, self.speed, float(c) ** 2 + float(s) ** 2 - 1.0], dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.angle, self.speed = self.np_random.uniform(-3, 3), self.np_random.uniform(-1, 1)
        return self._obs(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.speed = 0.95 * self.speed + 0.3 * float(action[0])
        self.angle += 0.2 * self.speed
        return self._obs(), -abs(self.angle), False, False, {}


gymnasium.register("NearConstantRotor-v0", entry_point=Rotor, max_episode_steps=50)


def imagined(*, normalize: bool, clamps: bool) -> tuple[Dyna, dict[str, float]]:
    model = GaussianEnsemble(
        members=2,
        elites=1,
        hidden=[32],
        weight_decay=1e-5,
        max_epochs=15,
        normalize_targets=normalize,
        learn_terminated=False,
    )
    hooks = [from_spec(spec) for spec in yaml.safe_load(OVERLAY.read_text())["model"]["init_args"]["rollout_hooks"]]
    planner = Dyna(
        model, SAC(hidden=[8]), warmup_steps=300, refit_every=300, rollouts_per_step=1, rollout_length=[0, 1, 3, 3],
        updates_per_step=0, rollout_hooks=hooks if clamps else [],
    )  # fmt: skip
    task = make_task("NearConstantRotor-v0", terminated="mbrl.envs.terminations.never")
    planner.build(task)
    planner.make_optimizers()
    experience = VectorExperience(task, 4, seed=0)
    experience.reset(0)
    while planner.env_steps < 300:
        planner.tick(experience)
    experience.close()
    return planner, planner.metrics.pop()


@pytest.mark.parametrize("normalize", [True, False])
def test_the_hook_keeps_rollouts_in_the_range_and_the_metric_says_where_they_were(normalize: bool) -> None:
    planner, line = imagined(normalize=normalize, clamps=False)
    data, rows = DataRange.of(planner.real_buffer.all()), planner.model_buffer.all()
    assert float(data.width[3]) < 1e-6
    assert line["rollout/outside"] == pytest.approx(float(data.outside(rows.next_obs).float().mean()))
    assert (line["rollout/outside"] > 0.9) is not normalize, "targets in the environment's units drown that dimension"
    planner, line = imagined(normalize=normalize, clamps=True)
    data, rows = DataRange.of(planner.real_buffer.all()), planner.model_buffer.all()
    assert line["rollout/outside"] == 0 and not bool(data.outside(rows.next_obs, 0.51).any())
    assert torch.isfinite(rows.next_obs).all() and float(rows.next_obs[:, 3].abs().max()) < 1e-6
    assert normalize or line["rollout/clamped"] > 0.9
