"""A model between two: its ends are the two bit for bit, and in between everything moves with the weight."""

from __future__ import annotations

import pytest
import torch

from mbrl.data import Task, Transitions, make_generator
from mbrl.envs import make_task
from mbrl.errors import ConfigError, UnsupportedError
from mbrl.models import Blend, Differentiable, DynamicsModel, GaussianEnsemble, Pendulum, SimulatorModel, require
from mbrl.models.blend import mixed_logit
from mbrl.testing import LinearModel, check_dynamics_model, linear_task

TASK = make_task("Pendulum-v1")
LEARNED = {"members": 3, "elites": 2, "hidden": [8], "max_epochs": 2, "weight_decay": 0.0}


def ensemble(**options: object) -> GaussianEnsemble:
    return GaussianEnsemble(**{**LEARNED, **options})  # type: ignore[arg-type]


def rows(n: int = 64) -> Transitions:
    truth = Pendulum()
    truth.build(TASK)
    noise = make_generator("cpu", 0, "rows")
    angle, speed = (torch.rand(n, generator=noise) * 6.28, torch.rand(n, generator=noise) * 8 - 4)
    obs = torch.stack((angle.cos(), angle.sin(), speed), -1)
    step = truth.step(truth.start(Transitions.from_obs(obs, 1), noise), torch.rand(n, 1, generator=noise) * 2 - 1)
    return Transitions(obs, step.action, step.reward, step.next_obs, step.terminated, step.terminated)


def fitted(model: DynamicsModel, data: Transitions) -> DynamicsModel:
    model.build(TASK, 1)
    model.make_optimizers()
    if model.fitting != "fixed":
        model.refit(data, make_generator("cpu", 1, "fit"))
    return model


@pytest.mark.parametrize("make", [lambda: ensemble(), lambda: ensemble(learn_reward=True, learn_terminated=True)])
@pytest.mark.parametrize(("weight", "place"), [(0.0, 0), (1.0, 1)])
def test_a_weight_of_0_is_the_first_and_1_the_second_bit_for_bit(make: object, weight: float, place: int) -> None:
    data, pair = rows(), (ensemble, Pendulum) if place == 0 else (Pendulum, ensemble)
    kinds = [kind if kind is Pendulum else make for kind in pair]
    blend = fitted(Blend(kinds[0](), kinds[1](), weight), data)  # type: ignore[operator]
    alone = fitted(make(), data)  # type: ignore[operator]
    action = torch.linspace(-1, 1, 8).unsqueeze(-1)
    for follow in (False, True):
        steps = []
        for model in (blend, alone):
            state = model.start(data.select(slice(0, 8)), make_generator("cpu", 3), follow=follow)
            steps.append(model.step(state, action, ("prediction",)))
        assert torch.equal(steps[0].next_obs, steps[1].next_obs) and torch.equal(steps[0].reward, steps[1].reward)
        assert steps[0].prediction is not None and steps[1].prediction is not None
        assert torch.equal(steps[0].prediction.var, steps[1].prediction.var)
        assert torch.equal(blend.drawn_members, alone.drawn_members)


def test_its_optimisers_are_those_of_both_in_their_order() -> None:
    """Also of one of weight 0, whose state a checkpoint keeps."""
    for weight in (0.0, 0.5, 1.0):
        blend = Blend(ensemble(), ensemble(hidden=[4]), weight)
        blend.build(TASK, 0)
        made = blend.make_optimizers()
        assert len(made) == 2
        for optimizer, model in zip(made, (blend.first, blend.second), strict=True):
            moved = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
            assert sorted(moved) == sorted(id(parameter) for parameter in model.parameters()) and moved
    exact = Blend(Pendulum(), ensemble(), 0.5)
    exact.build(TASK, 0)
    assert len(exact.make_optimizers()) == 1


def test_at_its_exact_end_it_is_that_of_equal_members() -> None:
    data = rows()
    blend, truth = fitted(Blend(ensemble(), Pendulum(), 1.0), data), fitted(Pendulum(), data)
    assert blend.fitting == "fixed"
    action = data.action[:8]
    steps = [m.step(m.start(data.select(slice(0, 8)), make_generator("cpu", 3)), action) for m in (blend, truth)]
    assert torch.equal(steps[0].next_obs, steps[1].next_obs) and torch.equal(steps[0].reward, steps[1].reward)
    said = blend.predict(data.obs, data.action)
    assert said.mean.shape == (3, 64, 3) and torch.equal(said.mean[0], said.mean[2]) and not said.var.any()


def test_error_spread_and_deviation_shrink_with_the_weight() -> None:
    data, truth = rows(), rows().next_obs
    found = {}
    for weight in (0.0, 0.25, 0.75):
        said = fitted(Blend(ensemble(), Pendulum(), weight), data).predict(data.obs, data.action)
        found[weight] = ((said.mean - truth), said.mean.std(0), said.var.sqrt())
    for weight in (0.25, 0.75):  # the same fit at every weight, or these would be no multiples
        for at, at_0 in zip(found[weight], found[0.0], strict=True):
            torch.testing.assert_close(at, (1 - weight) * at_0, rtol=1e-3, atol=1e-5)


def test_two_learned_models_are_each_fitted_as_if_alone_and_say_so() -> None:
    data = rows()
    untrained = {"max_epochs": 1, "lr": 1e-30}
    model = Blend(ensemble(**untrained), ensemble(), 0.5)
    model.build(TASK, 1)
    model.make_optimizers()
    report = model.refit(data, make_generator("cpu", 1, "fit"))
    assert {"first_holdout_mse", "second_holdout_mse"} <= set(report)
    alone = fitted(ensemble(), data).predict(data.obs, data.action).mean
    assert torch.equal(model.second.predict(data.obs, data.action).mean, alone)
    middle = (alone + model.first.predict(data.obs, data.action).mean) / 2
    torch.testing.assert_close(model.predict(data.obs, data.action).mean, middle)


def test_the_logit_of_mixed_probabilities_holds_where_they_round() -> None:
    one, other = torch.tensor([0.0, 90.0, -90.0]), torch.tensor([2.0, 95.0, 3.0])
    expected = torch.logit(0.75 * torch.sigmoid(one[:1].double()) + 0.25 * torch.sigmoid(other[:1].double()))
    found = mixed_logit(one, other, 0.25)
    torch.testing.assert_close(found[:1].double(), expected)
    assert 90 < found[1] < 95 and torch.isfinite(found).all()


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_it_keeps_the_contract(weight: float) -> None:
    check_dynamics_model(lambda: Blend(ensemble(), LinearModel(noise=0.1), weight), linear_task())


@pytest.mark.parametrize("ends", ["obs_action", "next_obs"])
def test_it_keeps_the_contract_where_ends_are_learned(ends: str) -> None:
    learns = {"learn_reward": True, "learn_terminated": True}
    check_dynamics_model(
        lambda: Blend(ensemble(**learns, termination_input=ends), LinearModel(**learns), 0.4),  # type: ignore[arg-type]
        Task("", 2, 1, (-1.0,), (1.0,)),
    )


def test_it_can_do_what_both_can() -> None:
    simulator = SimulatorModel(threads=1)
    for weight, able in ((0.0, True), (0.5, False), (1.0, False)):
        blend = Blend(ensemble(), simulator, weight)
        if able:
            require(blend, Differentiable, "a test", "it asks for gradients", "take another")
        else:
            with pytest.raises(UnsupportedError, match="a test can't use Blend: it asks for gradients"):
                require(blend, Differentiable, "a test", "it asks for gradients", "take another")


def test_a_simulator_is_asked_from_observations() -> None:
    task = make_task("Hopper-v5")
    blend = Blend(ensemble(), SimulatorModel(threads=1), 0.5)
    blend.build(task)
    obs = torch.zeros(4, 11)
    obs[:, 0] = 1.25
    said = blend.predict(obs, torch.zeros(4, 3))
    assert said.mean.shape == (3, 4, 11) and not blend.row_extras(task)


def test_unequal_numbers_of_members_and_weights_beyond_its_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="equally many members, or one without, got 3 and 2"):
        Blend(ensemble(), ensemble(members=2))
    with pytest.raises(ConfigError, match="weight"):
        Blend(ensemble(), Pendulum(), 1.5)


@pytest.mark.parametrize(("weight", "elites"), [(0.4, 1), (0.5, 1), (0.6, 2)])
def test_members_are_drawn_as_of_the_model_of_more_weight(weight: float, elites: int) -> None:
    blend = Blend(ensemble(elites=1), ensemble(elites=2), weight)
    blend.build(TASK)
    assert len(blend.drawn_members) == elites


def test_what_either_projects_or_halts_is_projected_or_halted() -> None:
    class Part(LinearModel):
        """Halts beyond a bound on its own dimension, which it clips at 2."""

        def __init__(self, dim: int) -> None:
            super().__init__()
            self.dim = dim

        def project(self, next_obs: torch.Tensor) -> torch.Tensor:
            clipped = next_obs.clone()
            clipped[..., self.dim].clamp_(-2, 2)
            return clipped

        def halted(self, obs: torch.Tensor, action: torch.Tensor, next_obs: torch.Tensor) -> torch.Tensor:
            return next_obs[..., self.dim].abs() > 1

    blend = Blend(Part(0), Part(1), 0.5)
    blend.build(linear_task())
    led_to = torch.tensor([[3.0, 0.0], [0.0, 3.0], [0.5, -0.5]])
    assert torch.equal(blend.project(led_to), led_to.clamp(-2, 2))
    assert blend.halted(led_to, led_to[:, :1], led_to).tolist() == [True, True, False]  # type: ignore[union-attr]
