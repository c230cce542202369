"""Losses that a model is given: what they ask for, what travels with the rows, and who is judged by what."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.data import Task, Transitions, ValueFunction, make_generator
from mbrl.errors import ConfigError, UnsupportedError
from mbrl.models import GaussianEnsemble, GradientModel, IterVAML, ModelLoss, SquaredError, VaGraM
from mbrl.models.losses.vagram import WEIGHT
from mbrl.parts import load_states_of_parts, states_of_parts
from mbrl.planners import PETS, RandomShooting
from mbrl.policies import SAC
from mbrl.spec import from_spec
from mbrl.testing import check_dynamics_model
from tests.models.linear_task import TASK, S, linear_rows
from tests.models.losses.values import linear

ROWS = linear_rows(120)
VALUE = linear([1.0, -2.0, 0.0], [0.5, 1.0, 0.0])


def made(loss: ModelLoss | None, task: Task = TASK, **options: Any) -> GaussianEnsemble:
    given = {"members": 3, "elites": 2, "hidden": [16], "max_epochs": 2, "loss": loss, **options}
    model = GaussianEnsemble(**given)
    model.build(task)
    return model


def batch(model: GaussianEnsemble, rows: Transitions = ROWS, value: ValueFunction | None = VALUE) -> Transitions:
    """`E x B` rows with their extras."""
    rows = copy.deepcopy(rows)
    rows.extras = model.fit_extras(rows, value)
    return rows.map(lambda tensor: tensor.expand(model.members, *tensor.shape).clone())


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        (SquaredError(), {}),
        (VaGraM(), {}),
        (VaGraM(score="plain"), {"members": 1, "elites": 1, "deterministic": True, "normalize_targets": False}),
        (IterVAML(), {"deterministic": True}),
        (IterVAML(samples=2), {}),
    ],
    ids=["squared error", "vagram", "vagram single", "iter_vaml", "calibrated"],
)
def test_it_keeps_the_contract_of_models(loss: ModelLoss, options: dict[str, Any]) -> None:
    def make() -> GaussianEnsemble:
        given = {"members": 2, "elites": 1, "hidden": [8], "max_epochs": 2, **options}
        return GaussianEnsemble(loss=from_spec(loss.spec), **given)

    check_dynamics_model(make, TASK)


def test_a_loss_that_wants_a_value_and_has_none_is_refused() -> None:
    for loss, wants in ((VaGraM(), True), (IterVAML(), True), (SquaredError(), False), (None, False)):
        assert made(loss).wants_value is wants
    with pytest.raises(UnsupportedError, match="expected a value function, which VaGraM asks for, got none; hand one on"):
        made(VaGraM()).refit(ROWS, make_generator("cpu", 0))
    with pytest.raises(UnsupportedError, match="its fit asks for values, and there is no learner"):
        PETS(GaussianEnsemble(loss=VaGraM()), RandomShooting(candidates=4)).build(TASK)


class Own(GradientModel):
    """A model that asks no other loss."""

    def __init__(self, **fit: Any) -> None:
        super().__init__(**fit)

    def loss(self, batch: Transitions, value: ValueFunction | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        raise NotImplementedError

    predict = None  # type: ignore[assignment]


def test_a_model_without_use_for_a_loss_refuses_it() -> None:
    with pytest.raises(UnsupportedError, match="hands no errors to a loss, got VaGraM; leave it out"):
        Own(loss=VaGraM())
    with pytest.raises(ConfigError, match="expected a loss of the mean beside deterministic=True, got IterVAML of samples"):
        GaussianEnsemble(deterministic=True, loss=IterVAML(samples=2))


def test_its_numbers_have_limits() -> None:
    for make in (
        lambda: VaGraM(clip=0.0), lambda: VaGraM(clip=1.1), lambda: VaGraM(floor=-1.0), lambda: VaGraM(warm_fits=-1),
        lambda: VaGraM(critics="some"), lambda: IterVAML(mse=-1.0), lambda: IterVAML(samples=1),  # type: ignore[arg-type]
    ):  # fmt: skip
        with pytest.raises(ConfigError, match="expected"):
            make()


def test_the_squared_error_is_the_loss_of_a_deterministic_model() -> None:
    plain, given = made(None, deterministic=True), made(SquaredError(), deterministic=True)
    torch.testing.assert_close(given.loss(batch(given))[0], plain.loss(batch(plain))[0])
    torch.testing.assert_close(given.score(ROWS), plain.score(ROWS))


@pytest.mark.check("vagram-K4")
@pytest.mark.parametrize("deterministic", [True, False])
def test_what_the_value_ignores_moves_no_weight(deterministic: bool) -> None:
    model = made(VaGraM(warm_fits=0), deterministic=deterministic)
    rows = batch(model)
    assert float(rows.extras[WEIGHT][..., 2].abs().max()) == 0.0
    model.loss(rows, VALUE)[0].backward()
    gradient = model.network.weights[-1].grad
    assert gradient is not None
    assert float(gradient[..., 2].abs().max()) == 0.0 and float(gradient[..., 1].abs().min()) > 0.0


def test_the_variance_is_fitted_by_its_likelihood_and_the_mean_is_not() -> None:
    model, certain = made(VaGraM(), bounds="frozen"), made(VaGraM(), deterministic=True)
    certain.load_state_dict({  # the same means
        name: tensor[..., : certain.network.sizes[-1]] if name in ("network.weights.1", "network.biases.1") else tensor
        for name, tensor in model.state_dict().items() if "log_var" not in name
    })  # fmt: skip
    rows = batch(model)
    for each in (model, certain):
        each.loss(rows, VALUE)[0].backward()
    one, other = (each.network.weights[-1].grad for each in (model, certain))
    assert one is not None and other is not None
    torch.testing.assert_close(one[..., : model.outputs], other)
    plain = made(None, bounds="frozen")
    plain.load_state_dict(model.state_dict())
    plain.loss(rows)[0].backward()
    variance = plain.network.weights[-1].grad
    assert variance is not None
    torch.testing.assert_close(one[..., model.outputs :], variance[..., model.outputs :])


def test_a_loss_of_samples_leaves_the_rewards_variance_alone_to_the_likelihood() -> None:
    model = made(IterVAML(samples=4), bounds="frozen")
    model.loss(batch(model), VALUE)[0].backward()
    gradient = model.network.weights[-1].grad
    assert gradient is not None
    of_variance = gradient[..., model.outputs :].abs().sum((0, 1))
    assert float(of_variance[2]) == 0.0  # which no value depends on
    assert bool((of_variance[[0, 1, S]] > 0).all())


@pytest.mark.check("vagram-K10")
@pytest.mark.parametrize(
    "options", [{}, {"members": 1, "elites": 1}, {"bootstrap": "permutation"}], ids=["", "one", "permuted"]
)
def test_what_is_kept_of_each_row_is_what_would_be_computed_anew(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = SAC(hidden=[8, 8])
    learner.build(TASK)
    learner.make_optimizers()
    bare = VaGraM(clip=1.0, normalize=False, warm_fits=0)
    model = made(bare, batch_size=16, **options)
    seen: list[Transitions] = []
    loss = model.loss
    monkeypatch.setattr(model, "loss", lambda batch, value=None: seen.append(batch) or loss(batch, value))
    model.refit(ROWS, make_generator("cpu", 0), learner)
    assert len(seen) == 2 * 6
    for part in seen:
        for member in range(model.members):
            rows = part.map(lambda tensor, member=member: tensor[member])
            anew = bare.extras(rows, learner, model.target_scale())[WEIGHT]
            torch.testing.assert_close(rows.extras[WEIGHT], anew, rtol=1e-4, atol=1e-7)
    before = model.fit_extras(ROWS, learner)[WEIGHT]
    learner.update(ROWS, make_generator("cpu", 0))
    assert not torch.equal(model.fit_extras(ROWS, learner)[WEIGHT], before)


@pytest.mark.parametrize("loss", [VaGraM(), IterVAML()], ids=["vagram", "iter_vaml"])
def test_no_unit_decides_anything(loss: ModelLoss) -> None:
    def fit(unit: float, money: float) -> tuple[GaussianEnsemble, dict[str, Any]]:
        rows = copy.deepcopy(ROWS)
        rows.obs.mul_(unit), rows.next_obs.mul_(unit), rows.reward.mul_(money)
        value = linear(*([w * money / unit for w in slopes] for slopes in ([1.0, -2.0, 0.1], [0.5, 1.0, 0.0])))
        model = made(from_spec(loss.spec), deterministic=True)
        return model, model.refit(rows, make_generator("cpu", 0), value)

    (one, said), (other, again) = fit(1.0, 1.0), fit(57.0, 1e4)
    for name in ("holdout_loss", "holdout_mse"):
        assert float(again[name]) == pytest.approx(float(said[name]), rel=1e-3)
    with torch.no_grad():
        x = torch.randn(3, 20, S + 2, generator=make_generator("cpu", 1))
        torch.testing.assert_close(other.network(x), one.network(x), rtol=1e-2, atol=1e-2)


def test_members_are_judged_by_the_loss_or_by_the_squared_error() -> None:
    value = linear([1.0, 0.0, 0.0])
    for score, best in (("weighted", 1), ("plain", 0)):
        model = made(
            VaGraM(score=score, clip=1.0, warm_fits=0), deterministic=True, normalize_targets=False, learn_reward=False
        )  # type: ignore[arg-type]
        rows = copy.deepcopy(ROWS)
        rows.next_obs.copy_(rows.obs)
        with torch.no_grad():
            for parameter in model.network.parameters():
                parameter.zero_()
            model.network.biases[-1].copy_(torch.tensor([[0.2, 0.0, 0.0], [0.1, 9.0, 0.0], [0.3, 0.0, 0.0]]).unsqueeze(1))
        rows.extras = model.fit_extras(rows, value)
        assert int(model.score(rows, value).argmin()) == best
        assert int(model.score(rows).argmin()) == 0  # outside a fit, where nobody says values
        report = made(VaGraM(score=score)).refit(ROWS, make_generator("cpu", 0), VALUE)  # type: ignore[arg-type]
        assert ("holdout_loss" in report) == (score == "weighted") and "holdout_mse" in report
    assert "holdout_loss" not in made(SquaredError()).refit(ROWS, make_generator("cpu", 0))


def test_fits_are_counted_kept_and_forgotten() -> None:
    model = made(VaGraM(warm_fits=1))
    loss = model.model_loss
    assert isinstance(loss, VaGraM)
    warm = model.fit_extras(ROWS, VALUE)[WEIGHT]
    model.refit(ROWS, make_generator("cpu", 0), VALUE)
    assert loss.fits == 1
    scale = model.target_scale()
    torch.testing.assert_close(loss.extras(ROWS, VALUE, scale)[WEIGHT][:, S], torch.ones(len(ROWS)))
    assert float(warm[0, S]) == pytest.approx(1 + 1 / (S + 1))
    other = made(VaGraM(warm_fits=1))
    load_states_of_parts(other, states_of_parts(model))
    assert other.model_loss is not None and other.model_loss.fits == 1
    model.build(TASK)
    assert loss.fits == 0
