"""A lift: a motor moves one mass, and the cabin hangs on it by a spring. An environment of one's own, in units of one's own.

Observations are the places (mm, from the floor where the cabin is to stop) and speeds (mm/s) of motor and cabin; the action
is the motor's force (N). Every 50 ms cost the square of the cabin's distance in decimetres, and a little for the force.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

MOTOR_KG, CABIN_KG = 1.0, 2.0
SPRING, DAMPING, FRICTION = 200.0, 4.0, 10.0  # N/m, N s/m, N s/m
FORCE = 10.0  # N, at most
SECONDS, PARTS = 0.05, 10  # of a step, and steps of the integrator in it


def reward(obs: Any, action: Any, next_obs: Any) -> Any:
    """What a step brings; of arrays and tensors alike, `B x feature`, so that a model can be told of it too."""
    return -((next_obs[..., 2] / 100) ** 2) - 0.01 * (action[..., 0] / FORCE) ** 2


class Lift(gymnasium.Env):
    """Begins up to 300 mm off the floor, at rest."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)
    action_space = gymnasium.spaces.Box(-FORCE, FORCE, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        start = self.np_random.uniform(-0.3, 0.3)  # m
        self.state = np.array([start, 0.0, start, 0.0])  # motor and cabin: m, m/s
        return self._obs(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        before, command = self._obs(), np.clip(action, -FORCE, FORCE)
        for _ in range(PARTS):
            motor, motor_speed, cabin, cabin_speed = self.state
            pull = SPRING * (cabin - motor) + DAMPING * (cabin_speed - motor_speed)
            motor_speed += SECONDS / PARTS * (float(command[0]) + pull - FRICTION * motor_speed) / MOTOR_KG
            cabin_speed -= SECONDS / PARTS * pull / CABIN_KG
            motor, cabin = motor + SECONDS / PARTS * motor_speed, cabin + SECONDS / PARTS * cabin_speed
            self.state = np.array([motor, motor_speed, cabin, cabin_speed])
        after = self._obs()
        return after, float(reward(before, command, after)), False, False, {}

    def _obs(self) -> np.ndarray:
        return (1000 * self.state).astype(np.float32)


gymnasium.register("Lift-v0", entry_point=Lift, max_episode_steps=100)
