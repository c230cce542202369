"""Models that no minibatch fits, run by Lightning alone; tests/models/fitting/test_lightning_fit.py has the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mbrl.data import Prediction, Task, Transitions, ValueFunction, make_generator
from mbrl.envs import OfflineData, collect, make_task
from mbrl.errors import CheckpointError, ConfigError, DivergedError, UnsupportedError
from mbrl.models import DynamicsModel, Pendulum, SimulatorModel, WantsValueFunction
from mbrl.testing import check_dynamics_model, linear_task
from mbrl.training import Trainer
from tests.models.fitting.test_lightning_fit import Rows, ensemble, trainer, weights
from tests.models.linear_task import TASK, linear_rows


class Nearest(DynamicsModel):
    """Predicts the change after the nearest row seen; how much it keeps depends on the data."""

    fitting = "closed_form"

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.fits = 0

    def make_parameters(self, task: Task, generator: torch.Generator) -> None:
        self.seen = torch.zeros(1, task.obs_size + task.action_size)
        self.change = torch.zeros(1, task.obs_size)

    def refit(
        self, rows: Transitions, generator: torch.Generator, value: ValueFunction | None = None
    ) -> dict[str, float | Tensor]:
        kept = torch.randperm(len(rows), generator=generator)[: len(rows) // 2]
        self.seen, self.change = torch.cat((rows.obs, rows.action), -1)[kept], (rows.next_obs - rows.obs)[kept]
        self.fits += 1
        return {"loss": self.scale * self.change.square().mean(), "rows": float(len(kept))}

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        nearest = torch.cdist(torch.cat((obs, action), -1), self.seen).argmin(-1)
        mean = obs + self.change[nearest]
        return Prediction(*(part if member is not None else part[None] for part in (mean, torch.zeros_like(mean))))

    def get_extra_state(self) -> dict[str, Any]:
        return {"seen": self.seen, "change": self.change}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.seen, self.change = state["seen"], state["change"]


def test_a_fit_is_one_refit_on_all_rows(tmp_path: Path) -> None:
    rows, inside = linear_rows(50), Nearest()
    inside.build(TASK, seed=3)
    expected = inside.refit(rows, make_generator("cpu", 3, "dynamics", "fit"))
    model, data, fit = Nearest(), Rows(rows), trainer(tmp_path, max_epochs=5)
    fit.fit(model, datamodule=data)
    assert (model.fits, fit.current_epoch, fit.global_step) == (1, 1, 0)
    assert torch.equal(model.seen, inside.seen)
    assert fit.callback_metrics == {"model/loss": expected["loss"], "model/rows": 25.0}
    with pytest.raises(ConfigError, match="Nearest: expected rows that it wasn't fitted to, got only rows of its fit"):
        fit.test(model, datamodule=data, verbose=False)
    other = linear_rows(50, seed=1)
    fit.test(model, datamodule=Rows(other), verbose=False)
    error = (model.predict(other.obs, other.action).mean - other.next_obs).square().mean()
    for name in ("test/mse", "test/best_member_mse"):
        assert fit.callback_metrics[name].item() == pytest.approx(error.item())
    error = (model.predict(rows.obs, rows.action).mean - rows.next_obs).square().mean()
    (found,) = fit.validate(model, datamodule=data, verbose=False)
    assert found["model/holdout_mse"] == pytest.approx(error.item())
    (predicted,) = fit.predict(model, datamodule=data)  # type: ignore[misc]
    assert torch.equal(predicted["mean"], model.predict(rows.obs, rows.action).mean)  # type: ignore[call-overload, index]


def test_numbers_that_are_not_finite_end_the_fit(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"Nearest: expected a finite loss, got inf; .* diverged: look for outliers"):
        trainer(tmp_path, max_epochs=1).fit(Nearest(scale=1e39), datamodule=Rows(linear_rows(20)))


def test_without_a_holdout_there_is_no_validation(tmp_path: Path) -> None:
    fit, data = trainer(tmp_path, max_epochs=1), Rows(linear_rows(60))
    model = ensemble(holdout=0.0, elites=None, best_weights="never")
    fit.fit(model, datamodule=data)
    assert "model/holdout_mse" not in fit.callback_metrics
    (found,) = fit.validate(model, datamodule=data, verbose=False)  # all rows
    assert found["model/holdout_mse"] == pytest.approx(model.score(data.transitions).mean().item())


def test_score_is_the_error_of_what_is_predicted() -> None:
    rows = linear_rows(30)
    model = ensemble(learn_reward=True, hidden=[8])
    model.build(TASK, 0)
    torch.testing.assert_close(DynamicsModel.score(model, rows), model.score(rows), rtol=1e-4, atol=0)


def test_what_nobody_knows_is_refused_of_a_model_in_closed_form_too() -> None:
    model = Nearest()
    model.build(TASK, 0)
    with pytest.raises(UnsupportedError, match="Nearest predicts no reward and the task has no known one"):
        model.check_known()


# with our Trainer ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> OfflineData:
    path = collect(make_task("Pendulum-v1"), str(tmp_path_factory.mktemp("data") / "random.npz"), steps=60)
    return OfflineData(str(path), env_id="Pendulum-v1")


def quiet(folder: Path, **flags: Any) -> Trainer:
    return Trainer(folder, **{"progress": False, "tensorboard": False, "accelerator": "cpu", **flags})


def test_an_exact_model_is_tested_and_predicts_as_it_is(offline: OfflineData, tmp_path: Path) -> None:
    for checkpoint in (None, "last"):
        assert quiet(tmp_path / "test").test(Pendulum(), offline, ckpt_path=checkpoint)["test/mse"] < 1e-10
    assert quiet(tmp_path / "test").predict(Pendulum(), offline).exists()
    with pytest.raises(UnsupportedError, match="expected a model that learns, got Pendulum; test it, or give it"):
        quiet(tmp_path / "fit").fit(Pendulum(), offline)
    assert not (tmp_path / "fit").exists()
    with pytest.raises(CheckpointError, match="expected a trained Nearest, got one without parameters"):
        quiet(tmp_path).test(Nearest(), offline)


class Valued(Nearest, WantsValueFunction):
    """Can't be fitted without values."""


def test_a_model_that_wants_a_value_function_is_not_fitted_alone(offline: OfflineData, tmp_path: Path) -> None:
    said = "expected a planner whose learner says values, got Valued alone, whose fit asks for them; give it to one"
    with pytest.raises(UnsupportedError, match=said):
        quiet(tmp_path / "fit").fit(Valued(), offline)
    assert not (tmp_path / "fit").exists()


def test_a_simulator_starts_from_what_was_recorded(tmp_path: Path) -> None:
    path = collect(make_task("Hopper-v5"), str(tmp_path / "rows.npz"), steps=20)
    data = OfflineData(str(path), env_id="Hopper-v5")  # whose observations don't show where it stands
    assert quiet(tmp_path).test(SimulatorModel(), data)["test/mse"] < 1e-10
    assert quiet(tmp_path).predict(SimulatorModel(), data).exists()


@pytest.mark.parametrize(
    "flag", [{"gradient_clip_val": 1.0}, {"limit_train_batches": 0.5}, {"devices": 2}, {"min_epochs": 2}]
)
def test_flags_of_minibatches_are_refused(offline: OfflineData, tmp_path: Path, flag: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"trainer\.{next(iter(flag))}: .*; it is fitted to all rows at once, on one dev"):
        quiet(tmp_path, **flag).fit(Nearest(), offline)


class Centred(DynamicsModel):
    """s' = s + c + W [s − m, a], by least squares in float64; what it says is computed in the dtype of the question."""

    fitting = "closed_form"
    weight: Tensor
    middle: Tensor
    shift: Tensor

    def make_parameters(self, task: Task, generator: torch.Generator) -> None:
        size = task.obs_size
        for name, shape in (("weight", (size + task.action_size, size)), ("middle", (size,)), ("shift", (size,))):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        self.rows_dtype = torch.float16

    def refit(
        self, rows: Transitions, generator: torch.Generator, value: ValueFunction | None = None
    ) -> dict[str, float | Tensor]:
        self.rows_dtype = rows.obs.dtype
        obs, action, next_obs = rows.obs.double(), rows.action.double(), rows.next_obs.double()
        self.middle.copy_(obs.mean(0))
        inputs, change = torch.cat((obs - self.middle, action), -1), next_obs - obs
        self.shift.copy_(change.mean(0) - (inputs.mean(0) @ (weight := torch.linalg.lstsq(inputs, change).solution)))
        self.weight.copy_(weight)
        return {"loss": (inputs @ weight + self.shift - change).square().mean()}

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        change = torch.cat((obs.double() - self.middle, action.double()), -1) @ self.weight + self.shift
        mean = (obs.double() + change).to(obs.dtype)
        return Prediction(*(part if member is not None else part[None] for part in (mean, torch.zeros_like(mean))))


def recorded(path: Path, dtype: Any) -> OfflineData:
    """100 steps around 1e6 that move by about 1e-3, less than float32 can tell there (0.06)."""
    rows = linear_rows(100, noise=0.0)
    obs = 1e6 + rows.obs.double().numpy()
    columns = {"obs": obs, "next_obs": obs + 1e-3 * rows.action.double().numpy()[:, [0, 1, 1]]}
    columns |= {"action": rows.action.double().numpy(), "reward": rows.reward.double().numpy()}
    columns = {name: column.astype(dtype) for name, column in columns.items()}
    flags = rows.terminated.numpy()
    np.savez(path, terminated=flags, truncated=flags, episode=np.arange(100), **columns)
    return OfflineData(str(path), action_low=[-1, -1], action_high=[1, 1], terminated="mbrl.envs.terminations.never")


def test_a_closed_form_is_fitted_with_all_the_digits_of_a_dataset(tmp_path: Path) -> None:
    data = recorded(tmp_path / "double.npz", np.float64)
    model = Centred()
    quiet(tmp_path / "fit").fit(model, data)
    assert model.rows_dtype is torch.float64
    expected = torch.zeros(5, 3, dtype=torch.float64)
    expected[3, 0] = expected[4, 1] = expected[4, 2] = 1e-3
    torch.testing.assert_close(model.weight, expected, rtol=1e-4, atol=1e-7)
    rows = data.precise_transitions
    said = model.predict(rows.obs, rows.action).mean[0] - rows.obs
    torch.testing.assert_close(said, rows.next_obs - rows.obs, rtol=1e-3, atol=1e-7)
    assert data.transitions.obs.dtype is torch.float32  # of these nothing can be learned
    blunt = Centred()
    blunt.build(data.task, 0)
    blunt.refit(data.transitions, make_generator("cpu", 0))
    assert (blunt.weight - expected).abs().max() > 5e-4
    check_dynamics_model(Centred, linear_task(), tolerance=1e-5)


def test_a_dataset_without_further_digits_stays_as_it_is(tmp_path: Path) -> None:
    data = recorded(tmp_path / "single.npz", np.float32)
    assert data.precise_transitions is data.transitions
    model = Centred()
    quiet(tmp_path / "fit").fit(model, data)
    assert model.rows_dtype is torch.float32


def test_a_gradient_model_takes_float64_rows_as_float32(tmp_path: Path) -> None:
    rows = linear_rows(40)
    double = rows.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
    found = []
    for given in (rows, double):
        model = ensemble(max_epochs=2)
        model.build(TASK, 3)
        model.refit(given, make_generator("cpu", 3))
        found.append(weights(model))
    assert torch.equal(*found)
