"""SAC's observation normaliser: no number depends on units, and its statistics go where the policy goes."""

from __future__ import annotations

import copy
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import mbrl
from mbrl.data import Task, Transitions, make_generator
from mbrl.envs import OnlineData
from mbrl.planners import PETS, Dyna
from mbrl.planners.plans import CEM
from mbrl.policies import SAC
from mbrl.testing import LinearModel
from mbrl.training import Trainer
from tests.training.toy import KillAt, in_child

TASK = Task("", obs_size=3, action_size=2, action_low=(-1, -1), action_high=(1, 1))
POWERS = torch.tensor([2.0**10, 2.0**-7, 8.0])


def rows_of(n: int = 64) -> Transitions:
    generator = make_generator("cpu", "rows")
    obs = torch.randn(n, 3, generator=generator) + torch.tensor([0.5, 0.0, -2.0])
    return Transitions(
        obs=obs,
        action=torch.rand(n, 2, generator=generator) * 2 - 1,
        reward=torch.randn(n, generator=generator),
        next_obs=obs + 0.1 * torch.randn(n, 3, generator=generator),
        terminated=torch.rand(n, generator=generator) < 0.2,
        truncated=torch.zeros(n, dtype=torch.bool),
    )


def in_units(rows: Transitions, scale: Tensor | float, offset: float = 0.0) -> Transitions:
    return replace(rows, obs=rows.obs * scale + offset, next_obs=rows.next_obs * scale + offset)


def learned(rows: Transitions, updates: int = 5, **options: Any) -> tuple[SAC, list[dict[str, Tensor]]]:
    learner = SAC(hidden=[16, 16], normalize_obs=True, **options)
    learner.build(TASK, 0)
    learner.make_optimizers()
    learner.fit_inputs(rows)
    noise = make_generator("cpu", "noise")
    return learner, [learner.update(rows, noise) for _ in range(updates)]


def said(learner: SAC, obs: Tensor, action: Tensor) -> list[Tensor]:
    """All that a learner says of observations."""
    policy, noise = learner.policy, [make_generator("cpu", "said", i) for i in range(3)]
    wide = obs.expand(2, *obs.shape)  # of which the network sees one copy
    return [
        *policy.sample(obs, noise[0]),
        *policy.sample(wide, noise[1]),
        *policy.sequence(obs, None, 2, noise[2]),
        policy.mode(obs),
        policy.log_prob(obs, action),
        learner.value(obs, critics="both"),
        learner.value(obs, action, "both"),
    ]


def test_powers_of_two_change_no_bit() -> None:
    rows = rows_of()
    plain, metrics = learned(rows)
    scaled, scaled_metrics = learned(in_units(rows, POWERS))
    for one, other in zip(metrics, scaled_metrics, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    for here, there in zip(said(plain, rows.obs, rows.action), said(scaled, rows.obs * POWERS, rows.action), strict=True):
        assert torch.equal(here, there)
    assert any(metrics[0][name] != metrics[-1][name] for name in metrics[0])


@pytest.mark.parametrize(("scale", "offset"), [(57.0, 0.0), (1.0, 1e3), (57.0, 1e3), (0.01, 0.0)])
def test_other_units_change_only_rounding(scale: float, offset: float) -> None:
    rows = rows_of()
    moved = in_units(rows, scale, offset)
    plain, metrics = learned(rows)
    other, other_metrics = learned(moved)
    # the offset leaves each number 1e-7 of 1e3, hence 1e-4 of its sd
    close = {"atol": 3e-3, "rtol": 3e-3}
    for name, value in metrics[-1].items():
        torch.testing.assert_close(other_metrics[-1][name], value, **close)
    for here, there in zip(said(plain, rows.obs, rows.action), said(other, moved.obs, rows.action), strict=True):
        torch.testing.assert_close(there, here, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("constant", [0.0, 5.0, 1e6])
def test_a_constant_column_is_harmless(constant: float) -> None:
    rows = rows_of()
    rows.obs[:, 1] = rows.next_obs[:, 1] = constant
    learner, metrics = learned(rows)
    assert all(torch.isfinite(value) for update in metrics for value in update.values())
    stirred = rows.obs.clone()
    stirred[:, 1] += torch.finfo(torch.float32).eps * max(constant, 1.0)  # float32's rounding alone
    for here, there in zip(said(learner, rows.obs, rows.action), said(learner, stirred, rows.action), strict=True):
        torch.testing.assert_close(there, here, atol=1e-4, rtol=1e-4)


def test_statistics_are_constant_between_fits_and_off_by_default() -> None:
    rows = rows_of()
    learner, _ = learned(rows)
    before = copy.deepcopy(learner.policy.normalizer)
    learner.update(in_units(rows, 100.0), make_generator("cpu", "noise"))
    assert before is not None and learner.policy.normalizer is not None
    for name, value in before.state_dict().items():
        assert torch.equal(value, learner.policy.normalizer.state_dict()[name])
    plain = SAC(hidden=[8])
    plain.build(TASK)
    state = copy.deepcopy(plain.state_dict())
    plain.fit_inputs(rows)
    assert not any("normalizer" in name for name in state)
    assert all(torch.equal(state[name], value) for name, value in plain.state_dict().items() if isinstance(value, Tensor))


# in planners ---------------------------------------------------------------------------------------------------------


def sac() -> SAC:
    return SAC(hidden=[8], normalize_obs=True)


def model() -> LinearModel:
    return LinearModel(learn_reward=True, learn_terminated=True)


FITS: dict[str, Any] = {"warmup_steps": 8, "refit_every": 8, "updates_per_step": 1, "batch_size": 8}
PLANNERS: dict[str, Any] = {
    "Dyna": lambda: Dyna(model(), sac(), rollouts_per_step=1, **FITS),
    "Dyna without rollouts": lambda: Dyna(model(), sac(), real_ratio=1.0, **FITS),
    "PETS": lambda: PETS(
        model(), CEM(candidates=6, elites=2, iterations=1), horizon=3, learner=sac(), terminal_value="min", **FITS
    ),
}


def trained(planner: Any, folder: Path, steps: int = 20, **options: Any) -> None:
    trainer = Trainer(folder, tensorboard=False, progress=False, eval_every=1000, checkpoint_every=4, **options)
    data = OnlineData("mbrl.testing:mbrl/Linear-v0", steps=steps, eval_episodes=1, test_episodes=1)
    trainer.fit(planner, data, ckpt_path="last" if (folder / "config.yaml").exists() else None)


@pytest.mark.parametrize("name", PLANNERS)
def test_statistics_are_those_of_the_real_rows_at_the_last_fit(name: str, tmp_path: Path) -> None:
    planner = PLANNERS[name]()
    trained(planner, tmp_path / "run")
    rows = planner.real_buffer.all()
    normalizer = planner.learner.policy.normalizer
    expected = copy.deepcopy(normalizer)
    expected.fit(rows.obs[:16])  # fits at 8 and 16 steps
    for key, value in normalizer.state_dict().items():
        assert torch.equal(value, expected.state_dict()[key])
    assert not torch.equal(normalizer.sd, torch.ones_like(normalizer.sd))
    for module in (planner.learner.critics, planner.learner.target_critics):
        assert module.normalizer is normalizer


@pytest.mark.parametrize("name", PLANNERS)
def test_a_loaded_policy_has_them(name: str, tmp_path: Path) -> None:
    planner = PLANNERS[name]()
    trained(planner, tmp_path / "run")
    loaded = mbrl.load(tmp_path / "run")
    obs = planner.real_buffer.all().obs
    assert torch.equal(loaded.learner.policy.mode(obs), planner.learner.policy.mode(obs))  # type: ignore[attr-defined]
    assert torch.equal(loaded.learner.value(obs), planner.learner.value(obs))  # type: ignore[attr-defined]
    if name != "PETS":
        policy = mbrl.load_policy(tmp_path / "run")
        assert torch.equal(policy.predict(obs[0]), planner.predict(obs[0]))


def test_a_resumed_run_is_the_unbroken_one(tmp_path: Path) -> None:
    def run(folder: Path, **options: Any) -> None:
        trained(PLANNERS["Dyna"](), folder, steps=28, checkpoint_min_ratio=0.0, **options)

    run(tmp_path / "whole")
    assert in_child(lambda: run(tmp_path / "broken", callbacks=[KillAt(14)])) == -signal.SIGKILL
    run(tmp_path / "broken")
    whole, resumed = (mbrl.load(tmp_path / name).state_dict() for name in ("whole", "broken"))
    assert any("normalizer" in key for key in whole)
    for key, value in whole.items():
        assert not isinstance(value, Tensor) or torch.equal(value, resumed[key]), key
