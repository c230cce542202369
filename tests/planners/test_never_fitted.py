"""A run that would train nothing is refused, and what was never fitted is told so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mbrl.analysis import report
from mbrl.data import Transitions
from mbrl.envs import OnlineData, VectorExperience
from mbrl.errors import ConfigError, MbrlWarning
from mbrl.models import GaussianEnsemble, Pendulum
from mbrl.planners import PETS, Dyna
from mbrl.planners.plans import CEM, RandomShooting
from mbrl.policies import SAC
from mbrl.testing import linear_task
from tests.training.toy import data, trainer


@pytest.mark.parametrize(
    ("make", "warmup", "steps"),
    [
        (lambda: Dyna(GaussianEnsemble(), SAC()), 5000, 3000),
        (lambda: PETS(GaussianEnsemble(), CEM()), 200, 200),
    ],
)
def test_a_run_within_the_warm_up_is_refused(make: Any, warmup: int, steps: int, tmp_path: Path) -> None:
    planner = make()
    expected = (
        rf"{type(planner).__name__}: expected more steps than those of the warm-up, in which nothing is learned, got "
        rf"data.init_args.steps {steps} and model.init_args.warmup_steps {warmup}; raise the first or lower the second"
    )
    with pytest.raises(ConfigError, match=expected):
        trainer(tmp_path / "run").fit(planner, data(steps))
    assert not (tmp_path / "run").exists()


def test_a_fixed_model_may_never_end_its_warm_up(tmp_path: Path) -> None:
    planner = PETS(Pendulum(), RandomShooting(2), horizon=2)
    trainer(tmp_path).fit(planner, data(10))
    assert not planner.never_fitted


def test_evaluations_of_what_was_never_fitted_say_so(tmp_path: Path) -> None:
    planner = Dyna(GaussianEnsemble(hidden=[8]), SAC(hidden=[8]), warmup_steps=100)
    online = OnlineData("Pendulum-v1", steps=120, env_kwargs={"max_episode_steps": 5}, eval_episodes=1, test_episodes=2)
    planner.build(online.task)
    for evaluate in (trainer(tmp_path).test, trainer(tmp_path).validate):
        with pytest.raises(MbrlWarning, match="this Dyna was never fitted: it has taken 0 real steps"):  # an error in tests
            evaluate(planner, online)
    planner.env_steps = 100
    assert not planner.never_fitted


def test_a_report_of_what_was_never_fitted_says_so() -> None:
    planner = PETS(GaussianEnsemble(hidden=[8]), RandomShooting(2), horizon=2)
    planner.build(linear_task())
    experience = VectorExperience(linear_task(), 1, seed=0)
    experience.reset(0)
    rows = Transitions.cat([experience.step(torch.zeros(1, 1)) for _ in range(4)])
    experience.close()
    said: list[str] = []
    found = report(planner, rows, horizon=3, parts=(), progress=said.append)
    assert found.about["planner"] == "PETS, never fitted: all that it says is untrained"
    assert found.about["planner"] in said[-1]
    planner.env_steps = 200
    assert report(planner, rows, horizon=3, parts=()).about["planner"] == "PETS"
