"""An environment that fails, or never ends, in mid-run: nothing that was stepped is lost, and nothing hangs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import pytorch_lightning as pl
from gymnasium.envs.classic_control import PendulumEnv

from mbrl.envs import OnlineData
from mbrl.errors import EnvironmentFailedError
from mbrl.training.checkpoint import checkpoint_folders
from tests.training.test_kill_and_resume import dyna, same_run
from tests.training.toy import ToyPlanner, in_child, lines, trainer

WAYS: dict[str, Callable[[], Any]] = {
    "raises": lambda: {}["arm"],
    "exits": lambda: exit(0),
    "NaN": lambda: (np.full(3, np.nan), 0.0, False, False, {}),
    "overflows": lambda: (np.full(3, 1e39), 0.0, False, False, {}),
    "another shape": lambda: (np.zeros(2), 0.0, False, False, {}),
}


class Failing(PendulumEnv):
    """Pendulum that fails at its next step or reset, in one of the `WAYS`, once it is told to."""

    everywhere = False  # all of them, those of evaluations too
    at_step = at_reset = ""

    def step(self, action: np.ndarray) -> Any:
        answer = super().step(action)
        return WAYS[self.at_step]() if self.at_step else answer

    def reset(self, **given: Any) -> Any:
        answer = super().reset(**given)
        return WAYS[self.at_reset]()[:2] if self.at_reset else answer


class At(pl.Callback):
    """Does something before the tick that follows `step` real steps."""

    def __init__(self, step: int, do: Callable[[Any], None]) -> None:
        self.step = step
        self.do = do

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        if pl_module.env_steps == self.step:
            self.do(trainer)


@pytest.fixture(autouse=True, scope="module")
def _registered() -> Iterator[None]:
    gymnasium.register("Failing-v0", entry_point=Failing, max_episode_steps=12)
    gymnasium.register("Endless-v0", entry_point=Failing)
    yield
    gymnasium.registry.pop("Failing-v0")
    gymnasium.registry.pop("Endless-v0")


def data(env_id: str = "Failing-v0", **options: Any) -> OnlineData:
    return OnlineData(env_id, steps=60, num_envs=2, eval_episodes=2, test_episodes=2, **options)


def fit(folder: Path, *, last: bool = False, planner: Any = None, env_id: str = "Failing-v0", **options: Any) -> None:
    made = trainer(folder, **{"checkpoint_every": 1000, **options})
    made.fit(planner or dyna(), data(env_id), ckpt_path="last" if last else None)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    fit(folder)
    return folder


def fails(env: int, method: str, way: str) -> Callable[[Any], None]:
    return lambda run: setattr(run.datamodule.experience.envs[env].unwrapped, method, way)


@pytest.mark.parametrize(
    ("way", "env", "method", "step"),
    [
        *((way, 1, "at_step", 36) for way in WAYS),
        ("raises", 0, "at_step", 36),
        ("raises", 0, "at_step", 58),  # the last tick
        ("raises", 1, "at_reset", 46),  # the tick that ends the second episode
        ("NaN", 1, "at_reset", 46),
    ],
)
def test_all_that_was_stepped_is_kept_and_the_resumed_run_equals_the_unbroken(
    way: str, env: int, method: str, step: int, unbroken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(EnvironmentFailedError, match=r"^Failing-v0: expected "):
        fit(tmp_path, callbacks=[At(step, fails(env, method, way))], progress=True)
    assert f"a checkpoint holds all that was stepped, up to {step}: resume with --ckpt_path last" in capsys.readouterr().err
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == [f"ckpt-{step}"]
    fit(tmp_path, last=True)
    # Lightning counts the tick that failed among those begun, and a batch more or less than it does at a tick's end
    counts = ("batch_progress.total.ready", "batch_progress.total.started", "_batches_that_stepped")
    assert [name for name in same_run(unbroken, tmp_path) if not name.endswith(counts)] == []


def test_an_evaluation_in_which_it_fails_is_made_up_for(unbroken: Path, tmp_path: Path) -> None:
    def spoil(run: Any) -> None:
        request = run.datamodule.evaluation_request(0)
        request.experience.envs[1].unwrapped.at_step = "raises"

    with pytest.raises(EnvironmentFailedError, match="got KeyError: 'arm'"):
        fit(tmp_path, callbacks=[At(38, spoil)])
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["ckpt-40"]
    assert [line["env_steps"] for line in lines(tmp_path)] == [10, 20, 30]
    fit(tmp_path, last=True)
    assert same_run(unbroken, tmp_path) == []


def test_a_failure_before_the_first_step_leaves_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailedError):
        fit(tmp_path, callbacks=[At(0, fails(0, "at_step", "raises"))])
    assert checkpoint_folders(tmp_path) == []


# episodes without an end ---------------------------------------------------------------------------------------------


def test_evaluations_and_tests_of_an_endless_environment_are_cut(tmp_path: Path) -> None:
    made = trainer(tmp_path)
    planner = ToyPlanner()
    made.fit(planner, data("Endless-v0", eval_limit=15))
    assert {line["eval/length"] for line in lines(tmp_path) if "eval/length" in line} == {15.0}
    assert made.test(planner, data("Endless-v0", eval_limit=7))["test/length"] == 7.0
    assert data("Endless-v0").evaluation_task.time_limit == 1000
    assert data().evaluation_task.time_limit == 12


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_in_an_evaluation_ends_it_and_a_resume_makes_it_up(
    number: int, code: int, unbroken: Path, tmp_path: Path
) -> None:
    def interrupted() -> None:
        steps = 0
        step = Failing.step

        def count(self: Failing, action: np.ndarray) -> Any:
            nonlocal steps
            steps += 1
            if steps == 5:
                os.kill(os.getpid(), number)
            assert steps < 10
            return step(self, action)

        fit(tmp_path, callbacks=[At(38, lambda run: arm(run, count))])

    def arm(run: Any, count: Any) -> None:
        for env in run.datamodule.evaluation_request(0).experience.envs:
            env.unwrapped.step = count.__get__(env.unwrapped)

    assert in_child(interrupted) == code
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["ckpt-40"]
    fit(tmp_path, last=True)
    assert same_run(unbroken, tmp_path) == []


def test_a_signal_in_the_last_evaluation_keeps_the_last_line(tmp_path: Path) -> None:
    def interrupted() -> None:
        fit(tmp_path, planner=ToyPlanner(), callbacks=[At(58, arm)])

    def arm(run: Any) -> None:
        env = run.datamodule.evaluation_request(0).experience.envs[0].unwrapped
        step = env.step
        env.step = lambda action: (os.kill(os.getpid(), signal.SIGTERM), step(action))[1]

    assert in_child(interrupted) == 143
    assert [line["env_steps"] for line in lines(tmp_path)] == [10, 20, 30, 40, 50, 60]
    fit(tmp_path, planner=ToyPlanner(), last=True)
    assert (tmp_path / "summary.json").exists()


def test_a_signal_ends_a_test_too(tmp_path: Path) -> None:
    fit(tmp_path, planner=ToyPlanner())

    def tested() -> None:
        made = trainer(tmp_path)
        request = data("Endless-v0", eval_limit=100_000)
        before = Failing.step

        def step(self: Failing, action: np.ndarray) -> Any:
            os.kill(os.getpid(), signal.SIGTERM)
            Failing.step = before  # type: ignore[method-assign]
            return before(self, action)

        Failing.step = step  # type: ignore[method-assign]
        planner = ToyPlanner()
        planner.build(request.task)
        made.test(planner, request)

    assert in_child(tested) == 143
