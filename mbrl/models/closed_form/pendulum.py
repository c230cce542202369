"""`Pendulum`: Gymnasium's Pendulum-v1 in closed form."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mbrl.arguments import Positive
from mbrl.data import Task
from mbrl.envs import rewards
from mbrl.errors import TaskError
from mbrl.models.closed_form.base import ClosedForm
from mbrl.models.domains import Domain

ENV_ID = "Pendulum-v1"


class Pendulum(ClosedForm):
    """The swing-up pendulum of Gymnasium (Towers2024), obs (cos θ, sin θ, θ̇), θ = 0 upright.

        θ̇' = clip(θ̇ + dt (3g/(2l) sin θ + 3/(m l²) u), ±max_speed),   θ' = θ + dt θ̇'

    and reward −(θ² + 0.1 θ̇² + 0.001 u²) of the state before the step.

    Args:
        g: gravity, m/s²; more makes the pendulum fall faster and harder to lift.
        m: mass, kg; more makes the same torque weaker.
        l: length, m; more slows the fall, and the torque's effect more so.
        dt: seconds in a simulator step.
        max_speed: at which θ̇ is clipped, rad/s.
        max_torque: at which u is clipped, N m; the task's action bound.
        domain: as of `DynamicsModel`.

    Raises:
        ConfigError: if a number isn't positive and finite.
    """

    former = {"domain": []}  # noqa: RUF012 - nobody changes it

    def __init__(
        self,
        g: Positive = 10.0,
        m: Positive = 1.0,
        l: Positive = 1.0,  # noqa: E741 - the environment's own name
        dt: Positive = 0.05,
        max_speed: Positive = 8.0,
        max_torque: Positive = 2.0,
        domain: Sequence[Domain] = (),
    ) -> None:
        super().__init__(domain)
        constants = {"g": g, "m": m, "l": l, "dt": dt, "max_speed": max_speed, "max_torque": max_torque}
        self.constants = constants
        self.fall = 3 * g / (2 * l)  # 1/s²
        self.push = 3 / (m * l**2)  # 1/(kg m²)

    def make_parameters(self, task: Task, generator: torch.Generator) -> None:
        """Checks that the task is this pendulum; there is nothing to make.

        Raises:
            TaskError: if its sizes, bounds, environment or constants are another's.
        """
        torque = self.constants["max_torque"]
        sizes, bounds = (task.obs_size, task.action_size), (task.action_low, task.action_high)
        if sizes != (3, 1) or bounds != ((-torque,), (torque,)):
            raise TaskError(
                f"Pendulum: expected a task of sizes (3, 1) and actions in ±{torque:g} N m, got {sizes} and {bounds} "
                f"({task.env_id or 'none named'}); give it the task of {ENV_ID}, or its own max_torque."
            )
        if task.env_id == ENV_ID:
            true = {"g": 10.0, "m": 1.0, "l": 1.0, "dt": 0.05, "max_speed": 8.0, "max_torque": 2.0}
            true |= {name: float(value) for name, value in task.env_kwargs.items() if name == "g"}
            ours = self.constants
            differ = [f"{name} {ours[name]:g} against {true[name]:g}" for name in true if ours[name] != true[name]]
            if differ:
                raise TaskError(
                    f"Pendulum: expected the constants of {ENV_ID}, got {', '.join(differ)}; change them, or env_kwargs."
                )
        elif task.env_id and ":" not in task.env_id:
            raise TaskError(f"Pendulum: expected the task of {ENV_ID}, got {task.env_id}; name one of your own module:Id.")

    def advance(self, obs: Tensor, action: Tensor) -> Tensor:
        constants = self.constants
        torque = action[..., 0].clamp(-constants["max_torque"], constants["max_torque"])  # B
        angle = torch.atan2(obs[..., 1], obs[..., 0])  # B
        turn = self.fall * angle.sin() + self.push * torque  # B, rad/s²
        speed = (obs[..., 2] + constants["dt"] * turn).clamp(-constants["max_speed"], constants["max_speed"])  # B
        angle = angle + constants["dt"] * speed
        return torch.stack([angle.cos(), angle.sin(), speed], -1)

    def earned(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        limit = self.constants["max_torque"]
        return rewards.pendulum(obs, action.clamp(-limit, limit), next_obs)
