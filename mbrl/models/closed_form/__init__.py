"""Exact models in closed form: the equations of an environment, batched and differentiable."""

from mbrl.models.closed_form.base import ClosedForm
from mbrl.models.closed_form.cart_pole import CartPole
from mbrl.models.closed_form.linear_quadratic import LinearQuadratic
from mbrl.models.closed_form.pendulum import Pendulum

__all__ = ["CartPole", "ClosedForm", "LinearQuadratic", "Pendulum"]
