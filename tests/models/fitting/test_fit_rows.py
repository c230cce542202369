"""Rows keep what they carry through a fit: their place, their extras, and what a model computes of each once per fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.data import Transitions, ValueFunction, make_generator
from mbrl.errors import DataError
from mbrl.models import GaussianEnsemble
from mbrl.testing import check_dynamics_model
from tests.models.fitting.test_lightning_fit import Interrupt, Rows, trainer, weights
from tests.models.linear_task import TASK, linear_rows


class Weighted(GaussianEnsemble):
    """Weighs rows by a value of their next observation, computed once per fit; keeps what it was given."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"members": 3, "elites": 2, "hidden": [16], "batch_size": 32, "lr": 1e-2, **options})
        self.computed, self.values = 0, []  # type: ignore[var-annotated]
        self.batches: list[Transitions] = []
        self.scored: list[Transitions] = []

    def fit_extras(self, rows: Transitions, value: ValueFunction | None = None) -> dict[str, Tensor]:
        self.computed += 1
        # of the weights too, which are others in the middle of a fit
        said = self.predict(rows.obs, rows.action).mean.mean(0)  # N x S
        worth = rows.next_obs.sum(-1) if value is None else value.value(rows.next_obs)[0]
        return {"weight": (said - rows.next_obs).square().mean(-1) + worth.sigmoid(), "two": rows.next_obs[:, :2]}

    def loss(self, batch: Transitions, value: ValueFunction | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        self.batches.append(batch)
        loss, metrics = super().loss(batch, value)
        return loss * batch.extras["weight"].mean(), metrics

    def score(self, rows: Transitions, value: ValueFunction | None = None) -> Tensor:
        self.scored.append(rows)
        self.values.append(value)
        weight = rows.extras["weight"].mean() if "weight" in rows.extras else 1.0
        return super().score(rows, value) * weight


class Sum:
    """The sum of the observation is its value."""

    def value(self, obs: Tensor, action: Tensor | None = None, critics: str = "online") -> Tensor:
        return obs.sum(-1)[None]


def rows_with_extras(n: int = 100) -> Transitions:
    rows = linear_rows(n)
    rows.row = torch.arange(n) + 7_000  # a buffer's insertion numbers, which are not places
    rows.extras["step"] = torch.arange(n, dtype=torch.float64)[:, None] * 0.5
    return rows


@pytest.mark.parametrize("bootstrap", ["replacement", "permutation", "none"])
def test_batches_and_holdout_carry_place_and_extras(bootstrap: Any) -> None:
    model, rows, value = Weighted(max_epochs=2, bootstrap=bootstrap, stopping="mbrl-lib"), rows_with_extras(), Sum()
    model.build(TASK)
    model.refit(rows, make_generator("cpu", 0, "fit"), value)
    assert model.computed == 1
    first, seen = model.batches[0], set()
    assert first.extras["weight"].shape == (3, 32) and first.extras["two"].shape == (3, 32, 2)
    assert not first.extras["weight"].requires_grad
    for batch in [*model.batches, *model.scored]:
        assert batch.row is not None and torch.equal(rows.obs[batch.row], batch.obs)
        assert torch.equal(rows.extras["episode"][batch.row], batch.extras["episode"])
        assert torch.equal(rows.extras["step"][batch.row], batch.extras["step"]) and batch.extras["step"].dtype.itemsize == 8
        assert torch.equal(rows.next_obs[batch.row][..., :2], batch.extras["two"])
        seen |= set(batch.row.flatten().tolist())
    assert len(model.scored) == 4 and model.values == [value] * 4, "before the fit, after each epoch, and at the end"
    assert seen <= set(range(100)) and len(model.scored[0]) == 20
    weight = torch.full((100,), torch.nan)
    for batch in [*model.batches, *model.scored]:  # one number per row throughout
        known = weight[batch.row]
        assert torch.equal(torch.where(known.isnan(), batch.extras["weight"], known), batch.extras["weight"])
        weight[batch.row] = batch.extras["weight"]
    model.refit(rows, make_generator("cpu", 0, "again"), value)
    assert model.computed == 2 and not model.state_dict()["_extra_state"]
    assert "weight" not in rows.extras, "and nothing of it is left in the rows"


def test_a_fit_alone_that_is_resumed_keeps_what_was_computed_before_it_began(tmp_path: Path) -> None:
    rows, path, options = rows_with_extras(), tmp_path / "epoch.ckpt", {"threshold": 0.99, "patience": 50}
    whole = Weighted(**options)
    trainer(tmp_path, max_epochs=5, callbacks=[Interrupt(2, path)]).fit(whole, datamodule=Rows(rows))
    resumed = Weighted(**options)
    trainer(tmp_path, max_epochs=5).fit(resumed, datamodule=Rows(rows), ckpt_path=path, weights_only=True)
    assert torch.equal(weights(whole), weights(resumed))
    assert torch.equal(whole.batches[-1].extras["weight"], resumed.batches[-1].extras["weight"])
    assert torch.equal(whole.scored[-1].extras["weight"], resumed.scored[-1].extras["weight"])


def test_a_fits_state_of_before_has_no_extras() -> None:
    model = Weighted()
    model.build(TASK)
    run = model.begin_fit(rows_with_extras(), make_generator("cpu", 0, "fit"))
    state = run.state_dict()
    assert set(state["extras"]) == {"weight", "two"}, "those of the rows come with the rows"
    del state["extras"]
    run.load_state_dict(state)
    assert "weight" in run.holdout.extras  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("extras", "said"),
    [
        ({"episode": torch.zeros(100)}, r"expected names that the rows don't bring, got 'episode'; choose another"),
        ({"weight": torch.zeros(99)}, r"expected 100 rows of 'weight', got shape \(99,\); compute one per row"),
        ({"weight": torch.zeros(())}, r"expected 100 rows of 'weight', got shape \(\); compute one per row"),
        ({"weight": torch.full((100,), torch.inf)}, r"expected finite 'weight', got NaN or infinity; bound"),
    ],
)
def test_refusals(extras: dict[str, Tensor], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Weighted()
    model.build(TASK)
    monkeypatch.setattr(Weighted, "fit_extras", lambda self, rows, value=None: extras)
    with pytest.raises(DataError, match=said):
        model.refit(linear_rows(100), make_generator("cpu", 0, "fit"))


def test_a_value_aware_ensemble_keeps_the_contract() -> None:
    check_dynamics_model(lambda: Weighted(max_epochs=2), TASK)
