"""`CartPole`: the cart-pole of the dm_control suite in closed form, the soft stop at the end of its rail included."""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl.data import Task
from mbrl.data.task import TaskFunction
from mbrl.envs.defaults import known_functions
from mbrl.errors import TaskError
from mbrl.models.closed_form.base import ClosedForm
from mbrl.names import import_name

ENV_IDS = tuple(f"dm_control/cartpole-{name}-v0" for name in ("balance", "balance_sparse", "swingup", "swingup_sparse"))

# the suite's model (Tassa2018, cartpole.xml)
STEP = 0.01  # s
GRAVITY = 9.81  # m/s²
CART_MASS, POLE_MASS = 1.0, 0.1  # kg
POLE_LENGTH, POLE_RADIUS = 1.0, 0.045  # m, a capsule without its two caps
SLIDE_DAMPING, HINGE_DAMPING = 5e-4, 2e-6  # N s/m, N m s
GEAR = 10.0  # N at control 1
RAIL = 1.8  # m, where the stop begins
STOP_TIME, STOP_DAMPING = 0.08, 1.0  # solref: time constant in s, damping ratio
IMPEDANCE_LOW, IMPEDANCE_HIGH, IMPEDANCE_WIDTH = 0.9, 0.95, 0.001  # solimp: from d0 to dw within a width in m


def _pole_inertia() -> float:
    """Moment of inertia of the capsule about its middle, kg m²: a cylinder and two half spheres of one density."""
    h, r = POLE_LENGTH, POLE_RADIUS
    sphere = POLE_MASS * 4 * r / (4 * r + 3 * h)  # both caps
    cylinder = POLE_MASS - sphere
    return cylinder * (3 * r**2 + h**2) / 12 + sphere * (0.4 * r**2 + h * (3 * r + 2 * h) / 8)


ARM = POLE_MASS * POLE_LENGTH / 2  # m l, kg m: mass times the distance of its middle from the hinge
MASS = CART_MASS + POLE_MASS  # kg
HINGE_INERTIA = _pole_inertia() + POLE_MASS * (POLE_LENGTH / 2) ** 2  # kg m², about the hinge
# 1/kg: what the stop's softness is scaled by, the cart's inverse inertia with the pole upright
INVERSE_WEIGHT = HINGE_INERTIA / (MASS * HINGE_INERTIA - ARM**2)
STOP_STIFFNESS = 1 / (IMPEDANCE_HIGH * STOP_TIME * STOP_DAMPING) ** 2  # 1/s²
STOP_DRAG = 2 / (IMPEDANCE_HIGH * STOP_TIME)  # 1/s


class CartPole(ClosedForm):
    """The suite's cart-pole (Tassa2018), obs (x, cos θ, sin θ, ẋ, θ̇), θ = 0 upright, all four single-pole tasks.

    One simulator step is one classical Runge-Kutta step of 0.01 s of

        (M + m) ẍ + m l cos θ θ̈ = 10 u − d ẋ + m l sin θ θ̇² + f
        m l cos θ ẍ + (I + m l²) θ̈ = m g l sin θ − c θ̇

    where f is the stop's force beyond ±1.8 m. A joint limit is one scalar constraint, whose solution in MuJoCo's soft
    model (Todorov2014) is closed: with depth r, velocity v and unconstrained acceleration a, all outwards, inverse
    inertia A of the cart and impedance d(r),

        |f| = max(0, (b v + k d(r) r + a) / (A + R)),   R = (1 − d(r)) / d(r) A₀

    It is evaluated at each of the four stages, as MuJoCo does. The reward is the task's own, dense or sparse.
    """

    task_reward: TaskFunction

    def make_parameters(self, task: Task, generator: torch.Generator) -> None:
        """Takes the task's reward; there is nothing else to make.

        Raises:
            TaskError: if the task isn't one of the suite's single-pole cart-poles.
        """
        sizes, bounds = (task.obs_size, task.action_size), (task.action_low, task.action_high)
        name, _ = known_functions(task.env_id, task.env_kwargs)
        if task.env_id not in ENV_IDS or name is None or sizes != (5, 1) or bounds != ((-1.0,), (1.0,)):
            raise TaskError(
                f"CartPole: expected a task of {', '.join(ENV_IDS)} without arguments, of sizes (5, 1) and actions in ±1, "
                f"got {task.env_id or 'none named'} with {dict(task.env_kwargs)}, {sizes} and {bounds}; take another model."
            )
        self.task_reward = import_name(name, None)

    def advance(self, obs: Tensor, action: Tensor) -> Tensor:
        position, cos, sin, velocity, spin = obs.unbind(-1)  # B each
        angle = torch.atan2(sin, cos)  # B
        force = GEAR * action[..., 0].clamp(-1.0, 1.0)  # B, N
        # one row per coordinate: (x, θ) and (ẋ, θ̇), each 2 x B
        start = torch.stack([position, angle])
        speed = torch.stack([velocity, spin])
        half = STEP / 2
        first = accelerations(start, speed, force)
        speed_2 = torch.add(speed, first, alpha=half)
        second = accelerations(torch.add(start, speed, alpha=half), speed_2, force)
        speed_3 = torch.add(speed, second, alpha=half)
        third = accelerations(torch.add(start, speed_2, alpha=half), speed_3, force)
        speed_4 = torch.add(speed, third, alpha=STEP)
        fourth = accelerations(torch.add(start, speed_3, alpha=STEP), speed_4, force)
        position, angle = _advanced(start, speed, speed_2, speed_3, speed_4).unbind(0)
        velocity, spin = _advanced(speed, first, second, third, fourth).unbind(0)
        return torch.stack([position, angle.cos(), angle.sin(), velocity, spin], -1)

    def earned(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        return self.task_reward(obs, action.clamp(-1.0, 1.0), next_obs)


def accelerations(place: Tensor, speed: Tensor, force: Tensor) -> Tensor:
    """ẍ and θ̈, `2 x B` in m/s² and rad/s².

    Args:
        place: x and θ, `2 x B`.
        speed: ẋ and θ̇, `2 x B`.
        force: on the cart, `B`, in N.
    """
    (x, angle), (velocity, spin) = place.unbind(0), speed.unbind(0)  # B each
    sin, arm = angle.sin(), ARM * angle.cos()
    inverse = (MASS * HINGE_INERTIA - arm * arm).reciprocal()  # of the mass matrix's determinant
    push = torch.addcmul(torch.add(force, velocity, alpha=-SLIDE_DAMPING), sin, spin * spin, value=ARM)  # N
    turn = torch.add((GRAVITY * ARM) * sin, spin, alpha=-HINGE_DAMPING)  # N m
    free = inverse * torch.addcmul(HINGE_INERTIA * push, arm, turn, value=-1)  # ẍ without the stop
    # the stop; every operation counts, since small batches pay for their number: no branch, sums and products fused
    outwards = x.sign()
    depth = x.abs() - RAIL  # m
    part = (depth * (1 / IMPEDANCE_WIDTH)).clamp(0.0, 1.0)
    late = (part - 0.5).clamp_min(0.0)
    rise = torch.addcmul(part * part, late, late, value=-2)  # half of: 2 p² up to the middle, then 1 − 2 (1 − p)²
    impedance = 2 * (IMPEDANCE_HIGH - IMPEDANCE_LOW) * rise + IMPEDANCE_LOW  # d
    softened = torch.add(HINGE_INERTIA * inverse - INVERSE_WEIGHT, impedance.reciprocal(), alpha=INVERSE_WEIGHT)  # A + R
    wanted = outwards * torch.add(free, velocity, alpha=STOP_DRAG)
    wanted = torch.addcmul(wanted, impedance, depth, value=STOP_STIFFNESS)  # m/s²
    stop = (wanted / softened).clamp_min(0.0) * (depth > 0)  # N
    push = torch.addcmul(push, outwards, stop, value=-1)
    return inverse * torch.stack(
        [
            torch.addcmul(HINGE_INERTIA * push, arm, turn, value=-1),
            torch.addcmul(MASS * turn, arm, push, value=-1),
        ]
    )


def _advanced(start: Tensor, first: Tensor, second: Tensor, third: Tensor, fourth: Tensor) -> Tensor:
    """`start` and a Runge-Kutta step's weighted slopes."""
    slope = torch.add(first + fourth, second + third, alpha=2)
    return torch.add(start, slope, alpha=STEP / 6)


def inertia_constants() -> dict[str, float]:
    """Quantities that follow from the masses and lengths, by the name of MuJoCo's field, to compare with a loaded model."""
    return {
        "body_inertia": _pole_inertia(),
        "dof_M0": HINGE_INERTIA,
        "dof_invweight0": INVERSE_WEIGHT,
        "gravity": -GRAVITY,
    }
