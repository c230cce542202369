"""The weights that were best on the holdout stay, with their buffers, on both ways to fit; `after_update` comes on both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.data import Prediction, Task, Transitions, ValueFunction, make_generator
from mbrl.models import GaussianEnsemble, GradientModel, HasMembers
from tests.models.fitting.test_lightning_fit import Rows, trainer, weights
from tests.models.linear_task import TASK, linear_rows

BEST = (2.0, 4.0)  # updates after which each member is best


class Walks(GradientModel, HasMembers):
    """Every update adds 1 to each weight, whose distance to `BEST` is the score; its buffers follow."""

    weight: Tensor
    norm: Tensor
    clock: Tensor

    def __init__(self, patience: int = 2, best_weights: Any = "member", max_epochs: int | None = 9) -> None:
        super().__init__(
            members=2,
            batch_size=1000,
            patience=patience,
            best_weights=best_weights,
            max_epochs=max_epochs,
            bootstrap="none",
            lr=1e-30,
        )
        self.updates = 0

    def make_parameters(self, task: Task, generator: torch.Generator) -> None:
        self.weight = torch.nn.Parameter(torch.zeros(2, 1))
        self.register_buffer("norm", torch.zeros(2))  # each member's own
        self.register_buffer("clock", torch.zeros(()))  # of all

    def loss(self, batch: Transitions, value: ValueFunction | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        return (0 * self.weight).sum(), {}

    def after_update(self) -> None:
        assert not torch.is_grad_enabled()
        self.updates += 1
        self.weight.add_(1.0).round_()
        self.norm = 10 * self.weight.detach()[:, 0]  # another tensor each time
        self.clock.add_(1.0)

    def score(self, rows: Transitions, value: ValueFunction | None = None) -> Tensor:
        return 1 + (self.weight.detach()[:, 0] - torch.tensor(BEST)).abs()

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        mean = obs if member is not None else obs.expand(2, *obs.shape)
        return Prediction(mean, torch.zeros_like(mean))


def fitted(path: str, folder: Path, model: Walks, **options: Any) -> Walks:
    if path == "refit":
        model.build(TASK, 3)
        model.refit(linear_rows(20), make_generator("cpu", 3, "fit"))
    else:
        trainer(folder, num_sanity_val_steps=0, **{"max_epochs": 30, **options}).fit(model, datamodule=Rows(linear_rows(20)))
    return model


@pytest.mark.parametrize("path", ["refit", "lightning"])
@pytest.mark.parametrize(
    ("keep", "weight", "norm", "clock"),
    [("member", [2, 4], [20, 40], 4), ("ensemble", [4, 4], [40, 40], 4), ("never", [7, 7], [70, 70], 7)],
)
def test_buffers_belong_to_the_best_weights(
    path: str, keep: str, weight: list[float], norm: list[float], clock: float, tmp_path: Path
) -> None:
    model = fitted(path, tmp_path, Walks(best_weights=keep))
    assert model.updates == 7  # 4 until the last improvement, and 3 idle epochs
    assert model.weight[:, 0].tolist() == weight
    assert model.norm.tolist() == norm
    assert model.clock.item() == clock


@pytest.mark.parametrize(("minimum", "updates"), [({"min_epochs": 12}, 12), ({"min_steps": 15}, 15), ({}, 7)])
@pytest.mark.parametrize("cap", [None, 5])
def test_a_minimum_does_not_train_over_the_best_weights(
    minimum: dict[str, int], updates: int, cap: int | None, tmp_path: Path
) -> None:
    model = fitted("lightning", tmp_path, Walks(max_epochs=cap), **minimum)
    assert model.updates == (updates if minimum or cap is None else cap)
    assert model.weight[:, 0].tolist() == list(BEST)
    assert model.norm.tolist() == [20, 40]
    assert model.state_dict()["_extra_state"] == {}


def test_kept_buffers_survive_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "epoch.ckpt"
    rows = Rows(linear_rows(20))
    first = Walks(patience=5)
    trainer(tmp_path, max_epochs=6, num_sanity_val_steps=0).fit(first, datamodule=rows)
    saving = trainer(tmp_path, max_epochs=6, num_sanity_val_steps=0)
    model = Walks(patience=5)

    def save(*_: Any) -> None:
        if saving.current_epoch == 4:
            saving.save_checkpoint(path)

    model.on_train_epoch_start = save  # type: ignore[method-assign]
    saving.fit(model, datamodule=rows)
    resumed = Walks(patience=5)
    trainer(tmp_path, max_epochs=6).fit(resumed, datamodule=rows, ckpt_path=path, weights_only=True)
    assert resumed.updates < first.updates
    for name in ("weight", "norm", "clock"):
        assert torch.equal(getattr(resumed, name), getattr(first, name))
    state = torch.load(path, weights_only=True)["state_dict"]["_extra_state"]["fit"]["best"]
    assert state["buffers"]["norm"].tolist() == [20, 40]


@pytest.mark.parametrize("path", ["refit", "lightning"])
def test_after_update_comes_after_each_step_of_the_optimiser(path: str, tmp_path: Path) -> None:
    """A projection of the weights holds at the end, and the two ways to fit give the same bits."""
    model = Clipped(max_epochs=3)
    model.build(TASK, 3)
    if path == "refit":
        model.refit(linear_rows(100), make_generator("cpu", 3, "dynamics", "fit"))
    else:
        fit = trainer(tmp_path, max_epochs=3, num_sanity_val_steps=0)
        fit.fit(model, datamodule=Rows(linear_rows(100)))
        assert fit.global_step == model.projected
        other = Clipped(max_epochs=3)
        other.build(TASK, 3)
        other.refit(linear_rows(100), make_generator("cpu", 3, "dynamics", "fit"))
        assert torch.equal(weights(model), weights(other))
    assert model.projected == 9
    assert all(weight.abs().max() <= 0.1 for weight in model.network.weights)


def test_after_update_counts_accumulated_batches_once(tmp_path: Path) -> None:
    model = Clipped()
    fit = trainer(tmp_path, max_epochs=2, accumulate_grad_batches=3)
    fit.fit(model, datamodule=Rows(linear_rows(100)))  # 3 batches an epoch
    assert model.projected == fit.global_step == 2


class Clipped(GaussianEnsemble):
    """An ensemble whose weights are clipped to ±0.1."""

    def __init__(self, max_epochs: int | None = 9) -> None:
        super().__init__(members=3, elites=2, hidden=[16], batch_size=32, lr=1e-2, max_epochs=max_epochs)
        self.projected = 0

    def after_update(self) -> None:
        self.projected += 1
        for weight in self.network.weights:
            weight.clamp_(-0.1, 0.1)
