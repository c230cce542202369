"""Every implementation of the library keeps its contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mbrl.data import ReplayBuffer, Task, make_generator
from mbrl.envs import VectorExperience
from mbrl.models import GaussianEnsemble
from mbrl.planners import (
    PETS,
    UPMPC,
    BatchPenalty,
    ClampToData,
    Dyna,
    HaltUnfamiliar,
    PolicyMode,
    PolicySample,
    UncertaintyBonus,
    UncertaintyPenalty,
)
from mbrl.planners.plans import CEM, ICEM, MPPI, GradientShooting
from mbrl.policies import SAC, TanhGaussianPolicy
from mbrl.testing import (
    LinearModel,
    check_batch_hook,
    check_buffer,
    check_dynamics_model,
    check_learner,
    check_planner,
    check_policy,
    check_rollout_hook,
    check_selector,
    check_uncertainty_measure,
    linear_task,
)
from mbrl.uncertainty import (
    DistanceToMean,
    LeaveOneOutKL,
    LikelihoodSpread,
    MaxAleatoric,
    MaxPairwiseDistance,
    MeanDisagreement,
    SampleSpread,
    TotalSpread,
    ValueSpread,
)

LINEAR = linear_task()
# nothing known: the model learns reward and termination
BARE = Task("", obs_size=3, action_size=2, action_low=(-1, -2), action_high=(1, 3))
SMALL = {"hidden": [8, 8], "members": 3, "elites": 2, "max_updates": 4}


@pytest.mark.parametrize(
    ("options", "task"),
    [
        ({}, LINEAR),
        ({"noise": 0.1, "members": 3, "spread": 0.2}, LINEAR),
        ({"learn_reward": True, "learn_terminated": True}, Task("", 2, 1, (-1,), (1,))),
    ],
)
def test_linear_model(options: dict[str, Any], task: Task) -> None:
    check_dynamics_model(lambda: LinearModel(**options), task)


@pytest.mark.parametrize(
    ("options", "task"),
    [
        ({}, LINEAR),
        ({"learn_reward": True, "learn_terminated": True}, BARE),
        ({"deterministic": True}, LINEAR),
    ],
)
def test_gaussian_ensemble(options: dict[str, Any], task: Task) -> None:
    check_dynamics_model(lambda: GaussianEnsemble(**SMALL, **options), task)


@pytest.mark.parametrize("options", [{}, {"log_sigma": "tanh"}, {"precision": "bf16"}])
@pytest.mark.parametrize("task", [LINEAR, BARE])
def test_tanh_gaussian_policy(options: dict[str, Any], task: Task) -> None:
    def make() -> TanhGaussianPolicy:
        return TanhGaussianPolicy(task.obs_size, task.action_size, make_generator("cpu", "policy"), (8,), **options)

    check_policy(make, task, tolerance=1e-2 if "precision" in options else 1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"critics": 4, "target_every": 2},
        {"temperature": 0.2, "critic_loss": "full", "log_sigma": "tanh"},
        {"normalize_obs": True},
    ],
)
def test_sac(options: dict[str, Any]) -> None:
    check_learner(lambda: SAC(hidden=[8, 8], **options), BARE)


@pytest.mark.parametrize("make", [PolicySample, PolicyMode, lambda: UPMPC(0.5, candidates=3, horizon=2)])
def test_selectors(make: Callable[[], Any]) -> None:
    check_selector(make, LINEAR)


@pytest.mark.parametrize("target", [None, 0.5])
@pytest.mark.parametrize("hook", [UncertaintyPenalty, UncertaintyBonus])
@pytest.mark.parametrize("measure", [MeanDisagreement, SampleSpread, ValueSpread])
def test_rollout_hooks(hook: type, measure: type, target: float | None) -> None:
    check_rollout_hook(lambda: hook(measure(), 0.7, target), LINEAR)


@pytest.mark.parametrize("target", [None, 0.5])
@pytest.mark.parametrize("measure", [MeanDisagreement, SampleSpread, ValueSpread])
def test_batch_hooks(measure: type, target: float | None) -> None:
    check_batch_hook(lambda: BatchPenalty(measure(), 0.7, target), LINEAR)


MEASURES = (
    MeanDisagreement, TotalSpread, SampleSpread, MaxAleatoric, MaxPairwiseDistance, DistanceToMean, LeaveOneOutKL,
    LikelihoodSpread, ValueSpread,
)  # fmt: skip


@pytest.mark.parametrize("members", ["elites", "all"])
@pytest.mark.parametrize("measure", MEASURES)
def test_measures(measure: Any, members: str) -> None:
    check_uncertainty_measure(lambda: measure(members=members), LINEAR)


@pytest.mark.parametrize("task", [LINEAR, BARE])
def test_replay_buffer(task: Task) -> None:
    check_buffer(lambda: ReplayBuffer(20, task.obs_size, task.action_size), task)


@pytest.mark.parametrize("num_envs", [1, 3])
def test_dyna(num_envs: int) -> None:
    def make() -> Dyna:
        return Dyna(
            GaussianEnsemble(**SMALL),
            SAC(hidden=[8, 8]),
            warmup_steps=2 * num_envs,
            refit_every=num_envs,
            rollouts_per_step=8,
            updates_per_step=2,
            batch_size=32,
            real_capacity=100,
        )

    check_planner(make, LINEAR, lambda: VectorExperience(LINEAR, num_envs, seed=0), ticks=4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: PETS(LinearModel(noise=0.1, members=3), CEM(candidates=12, elites=3, iterations=2), horizon=3, particles=3),
        lambda: PETS(LinearModel(), MPPI(candidates=12, iterations=2), horizon=3, particles=1, warmup_steps=0),
        lambda: PETS(LinearModel(), GradientShooting(candidates=2, updates=2), horizon=3, particles=1, warmup_steps=0),
        lambda: PETS(
            GaussianEnsemble(**SMALL),
            ICEM(candidates=12, elites=3, policy_candidates=2),
            horizon=3,
            particles=4,
            propagation="ts1",
            warmup_steps=10,
            refit_every=4,
            learner=SAC(hidden=[8, 8]),
            terminal_value="min",
            uncertainty=MeanDisagreement(),
            uncertainty_rate=-0.1,
            batch_size=8,
        ),
    ],
)
def test_pets(make: Callable[[], PETS]) -> None:
    check_planner(make, LINEAR, lambda: VectorExperience(LINEAR, 2, seed=0), ticks=6)


@pytest.mark.parametrize("task", [LINEAR, BARE], ids=["linear", "other sizes, nothing known"])
def test_parts_are_checked_in_any_task_and_see_rows_before_rollouts(task: Task) -> None:
    check_rollout_hook(lambda: ClampToData(0.1), task)
    check_rollout_hook(lambda: HaltUnfamiliar(pessimism=2.0), task)
    check_rollout_hook(lambda: UncertaintyPenalty(MeanDisagreement(), 0.7), task)
    check_batch_hook(lambda: BatchPenalty(MeanDisagreement(), 0.7), task)
    check_selector(PolicySample, task)
    check_uncertainty_measure(MeanDisagreement, task)
