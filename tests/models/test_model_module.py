"""Models that no minibatch fits, run by Lightning alone; tests/models/fitting/test_lightning_fit.py has the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.data import Prediction, Task, Transitions, ValueFunction, make_generator
from mbrl.envs import OfflineData, collect, make_task
from mbrl.errors import CheckpointError, ConfigError, DivergedError, UnsupportedError
from mbrl.models import DynamicsModel, Pendulum, SimulatorModel, WantsValueFunction
from mbrl.training import Trainer
from tests.models.fitting.test_lightning_fit import Rows, ensemble, trainer
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
    fit.test(model, datamodule=data, verbose=False)
    error = (model.predict(rows.obs, rows.action).mean - rows.next_obs).square().mean()
    for name in ("test/mse", "test/best_member_mse"):
        assert fit.callback_metrics[name].item() == pytest.approx(error.item())
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
    with pytest.raises(UnsupportedError, match="expected a model that learns, got a Pendulum; test it, or give it"):
        quiet(tmp_path / "fit").fit(Pendulum(), offline)
    assert not (tmp_path / "fit").exists()
    with pytest.raises(CheckpointError, match="expected a trained Nearest, got one without parameters"):
        quiet(tmp_path).test(Nearest(), offline)


class Valued(Nearest, WantsValueFunction):
    """Can't be fitted without values."""


def test_a_model_that_wants_a_value_function_is_not_fitted_alone(offline: OfflineData, tmp_path: Path) -> None:
    said = "expected a planner whose learner says values, got a Valued alone, whose fit asks for them; give it to one"
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
