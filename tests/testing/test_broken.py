"""Each suite finds what is broken, and says which clause."""

from __future__ import annotations

import re

import pytest

from mbrl.data import Task, make_generator
from mbrl.envs import VectorExperience
from mbrl.errors import ConfigError
from mbrl.testing import (
    ConformanceError,
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
from tests.testing import broken, broken_parts

TASK = linear_task()


@pytest.mark.parametrize(("cls", "clause"), broken.MODELS.items())
def test_models(cls: type, clause: str) -> None:
    options = {"noise": 0.1, "members": 3, "spread": 0.2}
    with pytest.raises(ConformanceError, match=clause) as caught:
        check_dynamics_model(lambda: cls(**options), TASK)
    assert str(caught.value).startswith(f"{cls.__name__}: the contract says that")


@pytest.mark.parametrize(("cls", "clause"), broken.FITS.items())
def test_fits(cls: type, clause: str) -> None:
    with pytest.raises(ConformanceError, match=clause):
        check_dynamics_model(lambda: cls(members=2, elites=1, hidden=[8], max_epochs=2), TASK)


def test_an_exact_model_with_variance() -> None:
    with pytest.raises(ConformanceError, match="an exact model has no variance, got 1"):
        check_dynamics_model(broken.NoisyAndExact, TASK)


@pytest.mark.parametrize(("cls", "clause"), broken.POLICIES.items())
def test_policies(cls: type, clause: str) -> None:
    with pytest.raises(ConformanceError, match=clause):
        check_policy(lambda: cls(2, 1, make_generator("cpu", "policy"), (8,)), TASK)


@pytest.mark.parametrize(("cls", "clause"), broken.LEARNERS.items())
def test_learners(cls: type, clause: str) -> None:
    with pytest.raises(ConformanceError, match=clause):
        check_learner(lambda: cls(hidden=[8], target_every=3), TASK)


@pytest.mark.parametrize("cls", [broken.Walker, broken.Fitter])
def test_a_planner_that_keeps_its_contract(cls: type) -> None:
    check_planner(cls, TASK, lambda: VectorExperience(TASK, 3, seed=0))


def test_a_planner_is_trained_in_its_tasks_own_environment() -> None:
    with pytest.raises(ConformanceError, match="3 ticks of 2 environments saw no refit of Fits"):
        check_planner(broken.NeverFits, TASK)
    nowhere = Task("", TASK.obs_size, TASK.action_size, TASK.action_low, TASK.action_high)
    with pytest.raises(ConfigError, match="expected a task that names an environment, or make_experience"):
        check_planner(broken.Fitter, nowhere)


@pytest.mark.parametrize(("cls", "clause"), broken.PLANNERS.items())
def test_planners(cls: type, clause: str) -> None:
    with pytest.raises(ConformanceError, match=clause):
        check_planner(cls, TASK, lambda: VectorExperience(TASK, 3, seed=0))


@pytest.mark.parametrize(("cls", "clause"), broken.SELECTORS.items())
def test_selectors(cls: type, clause: str) -> None:
    with pytest.raises(ConformanceError, match=clause):
        check_selector(cls, TASK)


@pytest.mark.parametrize(("cls", "clause"), broken_parts.HOOKS.items())
def test_rollout_hooks(cls: type, clause: str) -> None:
    with pytest.raises(ConformanceError, match=clause):
        check_rollout_hook(cls, TASK)


@pytest.mark.parametrize(("cls", "clause"), broken_parts.BATCH_HOOKS.items())
def test_batch_hooks(cls: type, clause: str) -> None:
    with pytest.raises(ConformanceError, match=clause):
        check_batch_hook(cls, TASK)


def test_a_measure_that_keeps_its_contract() -> None:
    check_uncertainty_measure(broken_parts.Spread, TASK)


@pytest.mark.parametrize(("cls", "clause"), broken_parts.MEASURES.items())
def test_measures(cls: type, clause: str) -> None:
    with pytest.raises(ConformanceError, match=clause):
        check_uncertainty_measure(cls, TASK)


@pytest.mark.parametrize(("cls", "clause"), broken.BUFFERS.items())
def test_buffers(cls: type, clause: str) -> None:
    with pytest.raises(ConformanceError, match=clause):
        check_buffer(lambda: cls(20, 2, 1), TASK)


def test_messages_say_what_came() -> None:
    with pytest.raises(ConformanceError, match=re.escape("that differ by up to 1")):
        check_dynamics_model(broken.OwnReward, TASK)
