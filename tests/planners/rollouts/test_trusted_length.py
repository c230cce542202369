"""The rollout length that a model has just earned: how it is measured, and when it takes effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import mbrl
from mbrl.cli import main
from mbrl.data import Prediction, ReplayBuffer, Transitions, make_generator
from mbrl.errors import ConfigError
from mbrl.parts import states_of_parts
from mbrl.planners import Dyna, TrustedLength
from mbrl.training.commands.parsed import parsed
from tests.planners.exact_models import WALK, WalkModel
from tests.planners.test_dyna import Recorder, dyna, run

CONFIGS = Path(mbrl.__file__).parent / "configs"


class Biased(WalkModel):
    """Off by `bias` metres a step; `unit` of them are a metre."""

    def __init__(self, bias: float = 0.0, unit: float = 1.0, noise: float = 0.0) -> None:
        super().__init__(noise=noise * unit)
        self.bias, self.unit = bias, unit

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        found = super().predict(obs, action * self.unit, member)
        found.mean = found.mean + self.bias * self.unit
        return found


def walks(episodes: int = 40, steps: int = 20, unit: float = 1.0, seed: int = 0) -> ReplayBuffer:
    """Walks of steps of 0.1 to the right, begun anywhere in [−1, 1]."""
    start = torch.rand(episodes, 1, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    obs = (start + 0.1 * torch.arange(steps)).reshape(-1, 1)
    action, zeros = torch.ones(len(obs), 1), torch.zeros(len(obs))
    episode = torch.arange(episodes).repeat_interleave(steps)
    rows = Transitions(
        obs * unit, action, zeros, (obs + 0.1) * unit, zeros.bool(), zeros.bool(), extras={"episode": episode}
    )
    buffer = ReplayBuffer(len(obs), 1, 1, store_episodes=True)
    buffer.add(rows)
    return buffer


def trusted(model: WalkModel, rows: ReplayBuffer, new: int | None = None, **options: Any) -> int:
    model.build(WALK)
    part = TrustedLength(**options)
    part.seen = 0 if new is None else rows.added - new
    part.measure(model, rows, make_generator("cpu", 0, "x"))
    return part.trusted


def test_an_exact_model_is_trusted_as_far_as_it_may_go() -> None:
    assert trusted(Biased(), walks()) == 15
    assert trusted(Biased(), walks(), longest=4) == 4


@pytest.mark.parametrize("unit", [1.0, 1e-3, 1e5])
def test_a_bias_is_trusted_until_it_adds_up_to_the_error_in_any_unit(unit: float) -> None:
    rows = walks(unit=unit)
    sd = rows.all().obs.double().std(correction=0).item() / unit
    bias = 0.2 * sd / 4.6  # 4 steps stay within a fifth of a standard deviation, 5 don't
    assert trusted(Biased(bias, unit), rows) == 4
    assert trusted(Biased(bias, unit), rows, error=0.4) == 9


def test_a_forecast_worse_than_no_change_is_not_trusted() -> None:
    """A step of 0.1 is far within the error; a model that walks 0.25 to the right is off by more than that."""
    assert trusted(Biased(0.15), walks(), error=5.0) == 0
    assert trusted(Biased(0.05), walks(), error=5.0) == 15


def test_noise_counts_as_in_rollouts() -> None:
    assert trusted(Biased(noise=1.0), walks(), error=0.5) == 0


def test_numbers_that_are_none_are_not_trusted() -> None:
    assert trusted(WalkModel(bad_above=-100.0), walks()) == 0


def test_lengths_that_too_few_windows_reach_are_not_trusted() -> None:
    assert trusted(Biased(), walks(episodes=100, steps=6)) == 6
    assert trusted(Biased(), walks(episodes=3, steps=5)) == 0  # 15 windows, however often each is drawn
    assert trusted(Biased(), walks(episodes=4, steps=5)) == 2  # 16 of two steps, 12 of three
    with pytest.raises(ConfigError, match=r"TrustedLength\(windows=….*at least 16, got 15"):
        TrustedLength(windows=15)


def test_only_the_newest_rows_count() -> None:
    rows, model = walks(), Biased()
    later = walks(episodes=20, seed=1).all()
    jumped = Transitions(
        later.obs, later.action, later.reward, later.next_obs + 5, later.terminated, later.truncated,
        extras={"episode": later.extras["episode"] + 100},
    )  # fmt: skip
    both = ReplayBuffer(len(rows) + len(jumped), 1, 1, store_episodes=True)
    for part in (rows.all(), jumped):
        both.add(part)
    assert trusted(model, both, new=len(jumped)) == 0
    both = ReplayBuffer(len(rows) + len(jumped), 1, 1, store_episodes=True)
    for part in (jumped, rows.all()):
        both.add(part)
    assert trusted(model, both, new=len(rows)) == 15


def test_a_dimension_that_stands_still_does_not_count() -> None:
    still = walks(episodes=1, steps=1)
    assert trusted(Biased(), still) == 0  # one row: nothing varies, nothing is known
    rows = walks(episodes=400, steps=1)
    assert trusted(Biased(), rows) == 1


def test_a_length_stays_in_its_range_and_in_checkpoints() -> None:
    part = TrustedLength(shortest=2, longest=6)
    part.seen = 30
    assert part.length == 2
    for found, length in ((0, 2), (4, 4), (6, 6)):
        part.trusted = found
        assert part.length == length
    again = TrustedLength(shortest=2, longest=6)
    again.load_state_dict(part.state_dict())
    assert again.length == 6 and again.seen == 30
    again.reset()
    assert again.length == 2 and again.seen is None
    with pytest.raises(ConfigError, match=r"longest=….*expected"):
        TrustedLength(shortest=3, longest=2)


def test_dyna_measures_before_each_fit_but_the_first_and_rolls_out_as_far() -> None:
    planner = dyna(dynamics=Biased(noise=0.0), rollout_length="auto", warmup_steps=20, refit_every=30)
    assert isinstance(planner.rollout_length, TrustedLength)
    run(planner, 20)
    assert planner.rollout_length.trusted == 0  # nothing had been fitted
    assert planner.model_buffer.all().extras["depth"].max() == 0  # rollouts of one step
    run(planner, 30)
    assert planner.rollout_length.trusted > 1
    assert states_of_parts(planner)["rollout_length"] == planner.rollout_length.state_dict()
    assert planner.model_buffer.all().extras["depth"].max() + 1 == planner.rollout_length.trusted
    assert planner.metrics.pop()["rollout/trusted_steps"] > 0


def test_rows_that_the_model_was_fitted_to_measure_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of twenty environments 20 rows come at a time, so that fits every 30 are 40 and 20 apart."""
    found: list[int] = []
    drawn = ReplayBuffer.sample_cut_windows
    monkeypatch.setattr(ReplayBuffer, "sample_cut_windows", lambda *a, newest: (found.append(newest), drawn(*a, newest))[1])
    planner = dyna(dynamics=Biased(), rollout_length="auto", warmup_steps=20, refit_every=30)
    run(planner, 7, num_envs=20)
    assert found == [40, 20, 40, 20]


def test_its_draws_move_no_others() -> None:
    """A run whose length is fixed by its bounds has the numbers of one with that length in a schedule."""
    fixed = dyna(dynamics=Biased(noise=0.01), rollout_length=(0, 1, 3, 3))
    bound = dyna(dynamics=Biased(noise=0.01), rollout_length=TrustedLength(shortest=3, longest=3))
    for planner in (fixed, bound):
        run(planner, 60)
    assert isinstance(fixed.learner, Recorder) and isinstance(bound.learner, Recorder)
    for one, other in zip(fixed.learner.batches, bound.learner.batches, strict=True):
        assert torch.equal(one.obs, other.obs)


def test_it_is_set_in_yaml_and_refused_without_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(CONFIGS / name) for name in ("base/mbpo.yaml", "mbpo/pendulum.yaml", "debug.yaml")]
    config = [*(option for file in files for option in ("--config", file)), "--trainer.folder", str(tmp_path)]
    length = "--model.init_args.rollout_length"
    for given in (["auto"], ['{"class_path": "mbrl.planners.TrustedLength", "init_args": {"longest": 4}}']):
        assert parsed(["fit", *config, length, *given])["model"]["init_args"]["rollout_length"] is not None
    for way in ("auto", TrustedLength()):
        with pytest.raises(ConfigError, match=r"rollout_length TrustedLength \(default"):
            Dyna(None, Recorder(), rollout_length=way, real_ratio=1.0)
    capsys.readouterr()
    assert main(["fit", *config, length, "[1, 2, 3]"]) == 2
    assert "rollout_length: expected [first epoch, last epoch, length before" in capsys.readouterr().err
    assert main(["fit", *config, length, "5"]) == 2
    assert "rollout_length: expected a list, or auto, or a TrustedLength, got 5." in capsys.readouterr().err
