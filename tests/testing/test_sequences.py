"""SRL and what it is made of keep their contracts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mbrl.data import Task, make_generator
from mbrl.envs import VectorExperience
from mbrl.models import DynamicsModel, GaussianEnsemble, NextObsNetwork, SINDy
from mbrl.planners import SRL, ModelRolled
from mbrl.policies import SAC, RecurrentPolicy, SequenceSAC
from mbrl.testing import LinearModel, check_dynamics_model, check_planner, check_policy, linear_task

LINEAR = linear_task()
BARE = Task("", obs_size=3, action_size=2, action_low=(-1, -2), action_high=(1, 3))
SMALL = {"hidden": [8, 8], "members": 3, "elites": 2, "max_updates": 4}


@pytest.mark.parametrize("options", [{}, {"cell": "rnn", "log_sigma": "tanh"}, {"precision": "bf16"}])
@pytest.mark.parametrize("task", [LINEAR, BARE])
def test_recurrent_policy(options: dict[str, Any], task: Task) -> None:
    def make() -> RecurrentPolicy:
        return RecurrentPolicy(task.obs_size, task.action_size, make_generator("cpu", "policy"), (8, 6), **options)

    check_policy(make, task, tolerance=1e-2 if "precision" in options else 1e-5)


@pytest.mark.parametrize("options", [{}, {"delta": True}, {"normalize": True}, {"delta": True, "normalize": True}])
def test_next_obs_network(options: dict[str, Any]) -> None:
    check_dynamics_model(lambda: NextObsNetwork(hidden=[8, 6], max_updates=4, **options), LINEAR)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SRL(
            NextObsNetwork([8, 8]),
            SequenceSAC(3, hidden=[8, 8], time_aware_critic=True),
            warmup_steps=8,
            refit_every=8,
            batch_size=8,
        ),
        lambda: SRL(NextObsNetwork([8, 8]), SequenceSAC(3, hidden=[8, 8]), warmup_steps=4, refit_every=4, batch_size=8),
        lambda: SRL(
            GaussianEnsemble(**SMALL),
            SequenceSAC(4, hidden=[8, 8], bp_through_time=True, normalize_obs=True),
            warmup_steps=4,
            warmup="held",
            refit_every=4,
            actor_update_every=2,
            updates_per_step=2,
            batch_size=8,
            model_target=False,
        ),
        lambda: SRL(
            LinearModel(),
            SequenceSAC(2, hidden=[8, 8]),
            warmup_steps=4,
            warmup="policy",
            collect="closed_loop",
            batch_size=8,
            model_target=False,
            recall_ends=True,
        ),
    ],
)
def test_srl(make: Callable[[], SRL]) -> None:
    check_planner(make, LINEAR, lambda: VectorExperience(LINEAR, 2, seed=0), ticks=6)


@pytest.mark.parametrize("model", [LinearModel, lambda: NextObsNetwork(hidden=[8]), lambda: SINDy(2)])
def test_model_rolled(model: Callable[[], DynamicsModel]) -> None:
    """With a fixed model and with models that were fitted elsewhere, which stay as they are."""
    check_planner(lambda: ModelRolled(model(), SAC(hidden=[8, 8])), LINEAR, lambda: VectorExperience(LINEAR, 2, seed=0))
