"""`fit_to`: a planner's model is fitted to real rows, which its learner and its parts then see."""

from __future__ import annotations

from time import perf_counter

from mbrl.data import Transitions, ValueFunction
from mbrl.parts import fitted_parts
from mbrl.planners.base import Planner
from mbrl.planners.capabilities import HasDynamics, LearnsPolicy, dynamics_of


def fit_to(planner: Planner, rows: Transitions, value: ValueFunction | None) -> None:
    """Fits the model, if there is one, to all real rows, and shows these to the learner and to all parts.

    Args:
        planner: it takes `model/…` and `time/refit_s`, and its stream `model_fit` is drawn from.
        rows: all `N` real rows.
        value: what value-aware models are fitted with, or None.
    """
    began = perf_counter()
    dynamics = dynamics_of(planner)
    if isinstance(planner, HasDynamics) and dynamics is not None:
        planner.metrics.add(planner.fit_dynamics(rows, planner.streams["model_fit"], value), prefix="model/")
        if planner.built_task.known_terminated is None:  # else nobody sees that there is nothing to learn an end from
            planner.metrics.add({"model/ends": rows.terminated.double().mean()})
        planner.metrics.add({"time/refit_s": perf_counter() - began})
    if isinstance(planner, LearnsPolicy) and planner.learner is not None:
        planner.learner.fit_inputs(rows)
    fitted_parts(planner, dynamics, rows)
