"""A network's policy as a sparse sum."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mbrl
from mbrl.cli import main
from mbrl.data import Generator, Transitions, make_generator
from mbrl.envs import make_task
from mbrl.errors import MbrlWarning
from mbrl.models import GaussianEnsemble, NextObsNetwork, SINDy
from mbrl.networks import Library
from mbrl.planners import SRL, Dyna, FixedPolicy, distill
from mbrl.policies import SAC, Policy, SequenceSAC, SparsePolicy
from mbrl.testing import LinearModel, check_planner, check_policy, linear_task
from tests.training.toy import data, trainer

PENDULUM = make_task("Pendulum-v1", {"max_episode_steps": 25})


class Feedback(Policy):
    """tanh of −0.7 of the first observation and its cube's tenth, times a gain."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain

    def mode(self, obs: torch.Tensor, prev_action: torch.Tensor | None = None) -> torch.Tensor:
        return torch.tanh(self.gain * (-0.7 * obs[..., :1] + 0.1 * obs[..., :1] ** 3))

    def sample(
        self, obs: torch.Tensor, generator: Generator, prev_action: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        action = self.mode(obs)
        return action, action[..., 0] * 0


def starts(n: int = 40) -> Transitions:
    obs = 0.5 * torch.randn(n, linear_task().obs_size, generator=make_generator("cpu", 0))
    return Transitions.from_obs(obs, linear_task().action_size)


def model() -> LinearModel:
    made = LinearModel()
    made.build(linear_task())
    return made


def built() -> SparsePolicy:
    policy = SparsePolicy(Library(1))
    policy.build(PENDULUM)
    obs = torch.randn(50, 3, generator=make_generator("cpu", 1))
    policy.fit(obs, torch.tanh(obs[:, :1] - 0.3 * obs[:, 2:]), 1e-3, 1e-6)
    return policy


def test_it_keeps_the_contracts() -> None:
    check_policy(built, PENDULUM)
    check_planner(lambda: FixedPolicy(SparsePolicy(Library(1))), PENDULUM)


def test_it_finds_the_terms_of_a_teacher_that_has_some() -> None:
    found = distill(Feedback(), model(), starts(), SparsePolicy(), steps=10)
    (line,) = found.policy.equations()
    assert line == "u0 = tanh(-0.7 x0 + 0.1 x0^3)" and found.terms == 2 and found.error < 1e-5
    assert found.model_return == pytest.approx(found.teacher_return, rel=1e-4) and found.saturated == 0
    again = distill(Feedback(), model(), starts(), SparsePolicy(), steps=10)
    assert torch.equal(again.policy.map.coefficients, found.policy.map.coefficients)


def test_a_teacher_that_switches_is_told() -> None:
    with pytest.warns(MbrlWarning, match=r"expected a teacher whose actions lie between their bounds, got"):
        found = distill(Feedback(1e3), model(), starts(), SparsePolicy(Library(1)), steps=5)
    assert found.saturated > 0.5


def test_a_run_is_distilled_tested_and_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dynamics = SINDy(members=2, library=Library(bias=False))
    planner = Dyna(dynamics, SAC(hidden=[8, 8]), warmup_steps=30, refit_every=10, rollouts_per_step=4, updates_per_step=1)
    trainer(tmp_path / "run", eval_every=100).fit(planner, data(40))
    out = str(tmp_path / "sparse")
    assert main(["distill", str(tmp_path / "run"), "--folder", out, "--degree", "1", "--steps", "5"]) == 0
    printed = capsys.readouterr()
    said = printed.out + printed.err
    assert "u0 = tanh(" in said and "3 coefficients" in said
    assert main(["distill", str(tmp_path / "run"), "--folder", out]) == 2
    again = capsys.readouterr()
    assert "holds a run" in again.err and "u0 =" not in again.out + again.err, "before it takes time"
    assert main(["test", "--ckpt_path", out]) == 0
    loaded = mbrl.load_policy(out)
    assert isinstance(loaded, FixedPolicy) and isinstance(loaded.policy, SparsePolicy)
    assert loaded.policy.equations()[0] in said
    assert main(["distill", out, "--folder", str(tmp_path / "again")]) == 2
    assert "expected the run of a planner with a learner and a dynamics model, got FixedPolicy" in capsys.readouterr().err


def test_nobody_knows_the_reward_nor_the_end_and_the_model_is_left_as_it_was() -> None:
    task = make_task("Pendulum-v1", {"max_episode_steps": 25}, reward="learned", terminated="learned")
    dynamics, teacher = NextObsNetwork(hidden=[8]), built()
    dynamics.build(task)
    rows = Transitions.from_obs(torch.randn(40, 3, generator=make_generator("cpu", 0)), 1)
    assert dynamics.unknown() == ["reward", "termination"]
    with pytest.warns(MbrlWarning, match=r"the reward and the termination of .*by the error of its actions alone, and"):
        found = distill(teacher, dynamics, rows, SparsePolicy(Library(1)), steps=5)
    assert found.model_return is None and found.teacher_return is None and found.error < 1e-2
    assert dynamics.task == task
    dynamics.task = replace(task, known_reward="mbrl.envs.rewards.pendulum")
    with pytest.warns(MbrlWarning, match=r"the termination of .*, so rollouts never end; name a function \(terminated\)"):
        assert distill(teacher, dynamics, rows, SparsePolicy(Library(1)), steps=5).model_return is not None


def test_a_reward_that_the_model_has_learned_chooses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planner = Dyna(
        GaussianEnsemble(hidden=[8], members=2, elites=1, max_epochs=1), SAC(hidden=[8, 8]), warmup_steps=30, refit_every=10,
        rollouts_per_step=4, updates_per_step=1,
    )  # fmt: skip
    trainer(tmp_path / "run", eval_every=100).fit(planner, data(40, reward="learned"))
    asked = ["distill", str(tmp_path / "run"), "--degree", "1", "--steps", "5"]
    assert main([*asked, "--folder", str(tmp_path / "learned")]) == 0
    learned = capsys.readouterr().err
    assert main([*asked, "--folder", str(tmp_path / "named"), "--reward", "mbrl.envs.rewards.pendulum"]) == 0
    named = capsys.readouterr().err
    assert "return in the model -" in named and learned.splitlines()[-2] != named.splitlines()[-2]
    assert main([*asked, "--folder", str(tmp_path / "wrong"), "--reward", "mbrl.envs.rewards.one"]) == 2
    assert "expected mbrl.envs.rewards.one to agree with the environment" in capsys.readouterr().err
    assert main([*asked, "--folder", str(tmp_path / "none"), "--reward", "nowhere.reward"]) == 2
    assert not (tmp_path / "wrong").exists() and not (tmp_path / "none").exists()


def test_a_run_whose_model_has_no_reward(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planner = SRL(NextObsNetwork(hidden=[8]), SequenceSAC(2, hidden=[8]), warmup_steps=20, batch_size=8)
    trainer(tmp_path / "run", eval_every=100).fit(planner, data(30, reward="learned", terminated="learned"))
    asked = ["distill", str(tmp_path / "run"), "--degree", "1", "--steps", "5"]
    assert main([*asked, "--folder", str(tmp_path / "blind")]) == 0
    told = capsys.readouterr().err
    assert "return in the model unknown" in told and "name a function (reward and terminated)" in told
    functions = ["--reward", "mbrl.envs.rewards.pendulum", "--terminated", "mbrl.envs.terminations.never"]
    assert main([*asked, "--folder", str(tmp_path / "seeing"), *functions]) == 0
    told = capsys.readouterr().err
    assert "return in the model -" in told and "warning" not in told
    assert main(["test", str(tmp_path / "seeing")]) == 0
