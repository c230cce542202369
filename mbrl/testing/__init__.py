"""Conformance suites that a user's own model, planner, learner, policy, buffer or part can run, and exact fixtures.

Importing this registers the environment `mbrl/Linear-v0` with Gymnasium. Nothing in the library imports it.
"""

from mbrl.testing.batch_hook import check_batch_hook
from mbrl.testing.buffer import check_buffer
from mbrl.testing.clauses import ConformanceError
from mbrl.testing.dynamics_model import check_dynamics_model
from mbrl.testing.learner import check_learner
from mbrl.testing.linear import forecast, linear_task, lqr_gain, riccati_gains
from mbrl.testing.linear_env import LinearEnv
from mbrl.testing.linear_model import LinearModel
from mbrl.testing.no_sync import NoScalarReadback, ReadbackError
from mbrl.testing.planner import check_planner
from mbrl.testing.policy import check_policy
from mbrl.testing.rollout_hook import check_rollout_hook
from mbrl.testing.selector import check_selector
from mbrl.testing.uncertainty_measure import check_uncertainty_measure

__all__ = [
    "ConformanceError",
    "LinearEnv",
    "LinearModel",
    "NoScalarReadback",
    "ReadbackError",
    "check_batch_hook",
    "check_buffer",
    "check_dynamics_model",
    "check_learner",
    "check_planner",
    "check_policy",
    "check_rollout_hook",
    "check_selector",
    "check_uncertainty_measure",
    "forecast",
    "linear_task",
    "lqr_gain",
    "riccati_gains",
]
