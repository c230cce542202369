"""A learned termination that depends on where a step leads."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.data import Task, Transitions, make_generator
from mbrl.errors import ConfigError
from mbrl.models import GaussianEnsemble
from mbrl.models.predict_members import predict_members
from mbrl.planners.plans.propagation import PROPAGATIONS, follow_plans, mixture
from mbrl.testing import check_dynamics_model
from mbrl.uncertainty import ValueSpread, draw_sample
from tests.models.fitting.test_lightning_fit import Interrupt, Rows, trainer


def no_reward(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    return 0 * next_obs.sum(-1)


TASK = Task("", 2, 1, (-1.0,), (1.0,), known_reward="tests.models.test_termination_head.no_reward")


def falls(n: int, seed: int = 0) -> Transitions:
    """Steps of which nobody can tell from (s, a) whether they end: s' = s + 0.2 a + noise of 1, ended where s'_0 > 1."""
    generator = make_generator("cpu", seed, "falls")
    obs = 0.3 * torch.randn(n, 2, generator=generator)
    action = torch.rand(n, 1, generator=generator) * 2 - 1
    next_obs = obs + 0.2 * action + torch.randn(n, 2, generator=generator)
    return Transitions(obs, action, 0 * obs[:, 0], next_obs, next_obs[:, 0] > 1, torch.zeros(n, dtype=torch.bool))


def ensemble(termination_input: Any = "next_obs", **options: Any) -> GaussianEnsemble:
    small = {"members": 3, "elites": 2, "hidden": [32, 32], "lr": 3e-3, "batch_size": 128, "max_epochs": 25}
    return GaussianEnsemble(**{**small, "termination_input": termination_input, **options})


def fitted(termination_input: Any) -> GaussianEnsemble:
    model = ensemble(termination_input)
    model.build(TASK, 0)
    model.refit(falls(2000), make_generator("cpu", 0, "fit"))
    return model


@pytest.fixture(scope="module")
def asks() -> GaussianEnsemble:
    return fitted("next_obs")


def auroc(score: Tensor, truth: Tensor) -> float:
    ranks = score.argsort().argsort().double() + 1
    positive = int(truth.sum())
    area = ranks[truth].sum() - positive * (positive + 1) / 2
    return (area / (positive * (len(truth) - positive))).item()


def test_ends_beyond_the_noise_are_learned_with_it_alone(asks: GaussianEnsemble) -> None:
    rows, blind = falls(1000, seed=1), fitted("obs_action")
    with torch.no_grad():
        said = asks.predict(rows.obs, rows.action)
        unsure = blind.predict(rows.obs, rows.action).end_logit(rows.next_obs)
        sure = said.end_logit(rows.next_obs.expand(3, -1, -1))
    assert sure is not None and unsure is not None and said.terminated_logit is not None
    assert auroc(sure.mean(0), rows.terminated) > 0.99
    assert auroc(unsure.mean(0), rows.terminated) < 0.75
    assert auroc(said.terminated_logit.mean(0), rows.terminated) < 0.75  # that of the mean
    assert asks.score(rows).mean() < blind.score(rows).mean() - 0.2  # early stopping and elites see it


@pytest.mark.parametrize("follow", [True, False])
def test_steps_end_where_they_lead(asks: GaussianEnsemble, follow: bool) -> None:
    rows = falls(2000, seed=2)
    with torch.no_grad():
        state = asks.start(rows, make_generator("cpu", 5), follow=follow)
        ways = {
            "step": asks.step(state, rows.action),
            "wanted": asks.step(asks.start(rows, make_generator("cpu", 5), follow=follow), rows.action, ("prediction",)),
            "rollout": asks.rollout(asks.start(rows, make_generator("cpu", 5), follow=follow), rows.action[:, None])[0],
        }
    for step in ways.values():
        clear = (step.next_obs[:, 0] - 1).abs() > 0.3
        agree = step.terminated == (step.next_obs[:, 0] > 1)
        assert agree[clear].double().mean() > 0.98
        assert 0.1 < step.terminated.double().mean() < 0.3
    assert (ways["step"].terminated == ways["rollout"].terminated).double().mean() > 0.999
    assert (ways["step"].terminated == ways["wanted"].terminated).double().mean() > 0.999


@pytest.mark.parametrize("propagation", PROPAGATIONS)
def test_plans_end_where_they_lead(asks: GaussianEnsemble, propagation: Any) -> None:
    rows = falls(20, seed=3)
    particles = 1 if propagation == "expectation" else 30
    with torch.no_grad():
        state = asks.start(rows, make_generator("cpu", 5))
        (step,) = follow_plans(asks, state, torch.zeros(20, 4, 1, 1), particles, propagation)
    beyond = step.next_obs[:, 0] > 1
    if propagation == "expectation":  # where it is likelier than not, at the mean
        assert torch.equal(step.terminated, beyond)
    elif propagation == "mm":  # the particles of a plan share their chance of an end
        assert step.terminated.double().mean().item() == pytest.approx(beyond.double().mean().item(), abs=0.05)
    else:
        clear = (step.next_obs[:, 0] - 1).abs() > 0.3
        assert (step.terminated == beyond)[clear].double().mean() > 0.97


@pytest.mark.parametrize("propagation", PROPAGATIONS)
def test_plans_end_where_the_model_projects_to(
    asks: GaussianEnsemble, monkeypatch: pytest.MonkeyPatch, propagation: Any
) -> None:
    monkeypatch.setattr(asks, "project", lambda next_obs: next_obs * 0 + 3)  # where all steps end
    with torch.no_grad():
        state = asks.start(falls(20, seed=3), make_generator("cpu", 5))
        (step,) = follow_plans(asks, state, torch.zeros(20, 4, 1, 1), 1 if propagation == "expectation" else 30, propagation)
    assert step.terminated.double().mean() > 0.99


def test_few_members_and_measures_ask_it_too(asks: GaussianEnsemble) -> None:
    rows, members = falls(12, seed=4), torch.tensor([2, 0])
    with torch.no_grad():
        said, some = (
            asks.predict(rows.obs, rows.action),
            predict_members(asks, asks.start(rows, make_generator("cpu", 6)), rows.action, members),
        )
        expected = said.end_logit(rows.next_obs, members)
        place = torch.arange(12) % 2
        for found, wanted in (
            (some.end_logit(rows.next_obs.expand(2, -1, -1)), expected),
            (some.end_logit(rows.next_obs, torch.tensor([1])), expected[1:]),  # type: ignore[index]
            (some.of_member(place).end_logit(rows.next_obs), expected[place, torch.arange(12)]),  # type: ignore[index]
            (said.of_member(members[place]).end_logit(rows.next_obs), expected[place, torch.arange(12)]),  # type: ignore[index]
        ):
            torch.testing.assert_close(found, wanted)
        mixed = mixture(said, members).end_logit(rows.next_obs)
        torch.testing.assert_close(mixed.sigmoid(), expected.sigmoid().mean(0))  # type: ignore[union-attr]

        class One:
            def value(self, obs: Tensor, action: Any = None, critics: Any = "online") -> Tensor:
                return torch.ones(1, len(obs))

        measure = ValueSpread(samples=20, mask_terminations=True)
        sample = draw_sample(said, asks.drawn_members, make_generator("cpu", 1))
        sample = sample.valued(One(), TASK, rows.obs, rows.action)
        spread = measure(said, asks.drawn_members, sample, make_generator("cpu", 2))
    assert (spread > 0).any()  # values of 1 differ by the ends of the next observations that were drawn


def test_it_keeps_the_contract() -> None:
    check_dynamics_model(lambda: ensemble(max_epochs=2), Task("", 3, 2, (-1, -2), (1, 3)))
    check_dynamics_model(lambda: ensemble(max_epochs=2, precision="bf16"), TASK, tolerance=2e-2)


def test_a_resumed_fit_equals_the_whole_one(tmp_path: Path) -> None:
    class Falls(Rows):
        task = TASK

    rows, path = falls(200), tmp_path / "epoch.ckpt"
    whole = ensemble(threshold=0.99, patience=50)
    trainer(tmp_path, max_epochs=5, callbacks=[Interrupt(2, path)]).fit(whole, datamodule=Falls(rows))
    resumed = ensemble(threshold=0.99, patience=50)
    trainer(tmp_path, max_epochs=5).fit(resumed, datamodule=Falls(rows), ckpt_path=path, weights_only=True)
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter, resumed.get_parameter(name)), name
    assert {"termination_head.network.weights.0"} <= whole.own_parameters()


def test_only_where_a_termination_is_learned() -> None:
    with pytest.raises(ConfigError, match=r"termination_input=….*: expected learn_terminated, got False; leave one out"):
        ensemble(learn_terminated=False)
    known = ensemble()
    known.build(Task("", 2, 1, (-1.0,), (1.0,), known_terminated="mbrl.envs.terminations.never"))
    assert not known.ends_at_next_obs
    model = ensemble()
    model.build(TASK)
    said = model.predict(torch.zeros(2, 2), torch.zeros(2, 1))
    again = pickle.loads(pickle.dumps(model.state_dict()))
    assert again.keys() == model.state_dict().keys()
    assert said.terminated_at is not None
    assert model.predict_step(falls(4)).keys() == {"mean", "var", "terminated_logit"}
    weights = {id(group["params"][0]): group["weight_decay"] for group in model.parameter_groups()[:-1]}
    assert len(weights) == 3 and all(len(group["params"]) == 2 for group in model.parameter_groups()[:-1])


@pytest.mark.parametrize("where", ["next_obs", "obs_action"])
@pytest.mark.parametrize("ends", [0, 3])
def test_a_first_fit_begins_at_the_share_of_ends_and_a_later_one_where_it_stood(where: str, ends: int) -> None:
    rows = falls(400)
    rows.terminated = torch.arange(400) < ends
    model = ensemble(where, lr=1e-9, max_epochs=1)
    model.build(TASK, 0)

    def share() -> float:
        with torch.no_grad():
            logit = model.predict(rows.obs, rows.action).terminated_logit
        assert logit is not None
        return float(logit.sigmoid().mean())

    assert share() == pytest.approx(0.5, abs=0.1)
    model.refit(rows, make_generator("cpu", 0, "fit"))
    assert share() == pytest.approx((ends + 0.5) / 401, rel=0.6)
    before = share()
    rows.terminated = torch.arange(400) < 200
    model.refit(rows, make_generator("cpu", 1, "fit"))
    assert share() == pytest.approx(before, rel=0.05)
