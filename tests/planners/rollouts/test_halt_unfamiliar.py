"""`HaltUnfamiliar` ends rollouts where two members disagree more than anywhere in the data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.data import Prediction, Transitions
from mbrl.errors import ConfigError, DivergedError, MbrlWarning, NotBuiltError, UnsupportedError
from mbrl.models import HasMembers
from mbrl.parts import states_of_parts
from mbrl.planners import HaltUnfamiliar, RolloutContext
from mbrl.policies import SAC
from mbrl.testing import LinearModel
from mbrl.testing.clauses import through_bytes
from mbrl.uncertainty import MaxPairwiseDistance, ValueSpread
from tests.planners.exact_models import WALK, WalkModel
from tests.planners.rollouts.test_imagination import imagine
from tests.planners.test_offline_dyna import began, made

TASK = replace(WALK, known_terminated="mbrl.envs.terminations.never")
DATA = (-0.5, 0.1, 0.3)


class Apart(LinearModel, HasMembers):
    """s' = s + 0.1 a ± gap |s| / 2: two members that are `gap` |s| apart."""

    def __init__(self, gap: float = 1.0) -> None:
        super().__init__([[1.0]], [[0.1]], members=2, learn_reward=True)
        self.gap = gap

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        said = super().predict(obs, action, member)
        sign = torch.tensor([-0.5, 0.5])
        off = (sign.view(-1, *[1] * obs.ndim) if member is None else sign[member].unsqueeze(-1)) * self.gap * obs.abs()
        return replace(said, mean=said.mean + off)


def data(scale: float = 1.0, shift: float = 0.0) -> Transitions:
    rows = Transitions.from_obs(torch.tensor(DATA).unsqueeze(-1), 1)
    return replace(rows, reward=scale * (torch.tensor([1.0, 3.0, 2.0]) + shift))


def ready(gap: float = 1.0, rows: Transitions | None = None, **options: Any) -> tuple[HaltUnfamiliar, Apart]:
    model = Apart(gap)
    model.build(TASK)
    hook = HaltUnfamiliar(**options)
    hook.check(model)
    hook.fitted(model, data() if rows is None else rows)
    return hook, model


def one_step(hook: HaltUnfamiliar, model: Apart, obs: list[float]) -> tuple[Any, Any, dict[str, float]]:
    starts, said = Transitions.from_obs(torch.tensor(obs).unsqueeze(-1), 1), {}
    step = model.step(model.start(starts, torch.Generator()), torch.zeros(len(obs), 1), hook.want)
    report = lambda found: said.update({name: float(value) for name, value in found.items()})  # noqa: E731
    return step, hook.applied(step, RolloutContext(0, model, torch.Generator(), report=report)), said


@pytest.mark.parametrize(("pessimism", "ended"), [(1.0, [False, False, True]), (2.0, [False, True, True])])
def test_the_threshold_is_the_largest_disagreement_at_one_input(pessimism: float, ended: list[bool]) -> None:
    hook, model = ready(pessimism=pessimism)
    step, made_of, said = one_step(hook, model, [0.2, -0.4, 0.6])  # the data lie up to 0.8 apart, members up to 0.5
    shares = {"halted": pytest.approx(sum(ended) / 3), "unmeasured": 0.0}
    assert said == {"halt_threshold": pytest.approx(0.5 / pessimism), **shares}
    assert made_of.terminated.tolist() == ended
    assert torch.equal(made_of.reward, torch.where(torch.tensor(ended), torch.tensor(-1.0), step.reward))


def test_rollouts_that_ended_before_do_not_count_in_the_share() -> None:
    hook, model = ready()
    step, _, said = one_step(hook, model, [0.2, 0.6, 0.6, 0.7])
    alive = torch.tensor([True, True, False, False])
    hook(step, RolloutContext(1, model, torch.Generator(), alive=alive, report=lambda found: said.update(found)))
    assert float(said["halted"]) == 0.5


def test_what_the_task_ended_stays_ended() -> None:
    hook, model = ready()
    step, _, _ = one_step(hook, model, [0.1, 0.2, 0.9])
    ended = replace(step, terminated=torch.tensor([True, False, True]))
    made_of = hook(ended, RolloutContext(0, model, torch.Generator()))
    assert made_of.terminated.tolist() == [True, False, True]
    assert torch.equal(made_of.reward[:2], step.reward[:2]), "an end that is familiar costs nothing"


def test_it_is_over_all_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mbrl.planners.rollouts.halt_unfamiliar._CHUNK", 2)
    assert float(ready()[0].state_dict()["largest"]) == pytest.approx(0.5)
    assert not ready()[0].state_dict()["largest"].requires_grad


@pytest.mark.parametrize("drop", [True, False])
def test_the_step_is_terminal_the_last_and_costs_kappa(drop: bool) -> None:
    hook, model = ready(cost=7.0)
    starts = Transitions.from_obs(torch.tensor([[0.05], [0.45], [0.9]]), 1)
    rows = Transitions.cat(imagine(model, starts, 6, hooks=[hook], drop=drop)[0])
    beyond = rows.obs[:, 0].abs() > 0.5
    assert torch.equal(rows.terminated, beyond) and bool((rows.reward[beyond] == -7.0).all())
    assert not bool(rows.truncated.any()) and not bool(rows.extras["cut"][beyond].any())
    for number in range(3):
        of = rows.select(rows.extras["rollout"][:, 0] == number)
        assert not bool(of.terminated[of.extras["depth"][:, 0].argsort()][:-1].any()), "nothing follows a halt"
    assert (rows.extras["rollout"][:, 0] == 2).sum() == 1


def test_targets_do_not_bootstrap_from_it() -> None:
    hook, model = ready(cost=7.0)
    _, step, _ = one_step(hook, model, [0.9] * 4)
    batch = Transitions(step.obs, step.action, step.reward, step.next_obs, step.terminated, torch.zeros(4, dtype=torch.bool))
    learner = SAC(hidden=[8])
    learner.build(TASK, 0)
    assert torch.allclose(learner.target(batch, torch.Generator()), torch.tensor(-7.0))


def test_identical_members_never_halt_and_a_disagreement_that_is_no_number_does() -> None:
    hook, model = ready(gap=0.0)
    assert one_step(hook, model, [0.2, 5.0, 1e4])[2] == {"halt_threshold": 0.0, "halted": 0.0, "unmeasured": 0.0}
    hook, model = ready()
    step, _, _ = one_step(hook, model, [0.2])
    step.prediction.mean[1] = torch.nan
    assert hook(step, RolloutContext(0, model, torch.Generator())).terminated.all()


def test_the_cost_follows_the_rewards() -> None:
    for shift, worst in ((0.0, -1.0), (-4.0, -300.0), (9.0, 8.0)):  # rewards of 1…3, −3…−1, 10…12
        for scale in (1.0, 1e4):
            hook, model = ready(rows=data(scale, shift))
            assert one_step(hook, model, [0.9])[1].reward.item() == pytest.approx(worst * scale)


def unmeasured_at(monkeypatch: pytest.MonkeyPatch, bad: list[bool], value: float = torch.nan) -> None:
    """Has the measure say nothing of these rows."""
    real = MaxPairwiseDistance.__call__
    gaps = torch.where(torch.tensor(bad), value, 0.0)

    def call(*asked: Any, **named: Any) -> Tensor:
        found = real(*asked, **named)
        return found + gaps[: len(found)]  # `check` looks at two

    monkeypatch.setattr(MaxPairwiseDistance, "__call__", call)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_rows_whose_measure_is_not_finite_set_no_threshold(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    """The largest disagreement of the others still does, so that not everything halts, nor nothing."""
    unmeasured_at(monkeypatch, [True, False, False], value)
    with pytest.warns(MbrlWarning, match=r"MaxPairwiseDistance to be finite .* got 1 of 3 where it isn't, which set no"):
        hook, model = ready()
    monkeypatch.undo()
    _, step, said = one_step(hook, model, [0.2, 0.29, 0.4])
    assert said["halt_threshold"] == pytest.approx(0.3) and step.terminated.tolist() == [False, False, True]
    unmeasured_at(monkeypatch, [True, True, True])
    with pytest.raises(DivergedError, match="to be finite on rows of the dataset, got none of 3; the model has diverged"):
        ready()


def test_steps_whose_measure_is_not_finite_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    hook, model = ready()
    for value in (torch.nan, torch.inf, -torch.inf):
        unmeasured_at(monkeypatch, [True, False, False], value)
        _, step, said = one_step(hook, model, [0.2, 0.2, 0.2])
        monkeypatch.undo()
        assert step.terminated.tolist() == [True, False, False] and said["unmeasured"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("discount", "worst"), [(None, -300.0), (0.5, -300.0), (0.99, -300.0), (0.999, -3000.0), (0.995, -600.0)]
)
def test_the_cost_follows_the_learners_discount(discount: float | None, worst: float) -> None:
    """No return of rewards of −3…−1 is lower than −3 / (1 − γ)."""
    hook, model = ready(rows=data(1.0, -4.0))
    value = None if discount is None else SAC(hidden=[4], discount=discount)
    starts = Transitions.from_obs(torch.tensor([[0.9]]), 1)
    step = model.step(model.start(starts, torch.Generator()), torch.zeros(1, 1), hook.want)
    halted = hook(step, RolloutContext(0, model, torch.Generator(), value=value))
    assert halted.reward.item() == pytest.approx(worst, rel=1e-5)
    if discount == 0.99:
        assert halted.reward.item() == -300.0, "bit for bit what it was"
    older = hook.state_dict()
    del older["lowest"]
    hook.load_state_dict(older)
    assert hook(step, RolloutContext(0, model, torch.Generator(), value=value)).reward.item() == -300.0


def test_resume_keeps_the_threshold(tmp_path: Path) -> None:
    planner = began(tmp_path, rollout_hooks=[HaltUnfamiliar()])
    planner.tick()
    line = planner.metrics.pop()
    assert 0 <= line["rollout/halted"] <= 1 and line["rollout/halt_threshold"] > 0
    mine = states_of_parts(planner)["rollout_hooks.0"]
    other = HaltUnfamiliar()
    other.load_state_dict(through_bytes(states_of_parts(planner))["rollout_hooks.0"])
    assert mine and all(torch.equal(value, other.state_dict()[name]) for name, value in mine.items())
    assert line["rollout/halt_threshold"] == pytest.approx(float(mine["largest"]))
    planner.build(planner.built_task)
    assert states_of_parts(planner) == {}


def test_refusals() -> None:
    for bad in (0.0, -1.0):
        with pytest.raises(ConfigError, match="pessimism"):
            HaltUnfamiliar(pessimism=bad)
    with pytest.raises(ConfigError, match="cost"):
        HaltUnfamiliar(cost=-1.0)
    with pytest.raises(ConfigError, match=r"expected a measure of the prediction alone, got ValueSpread, .* take another"):
        HaltUnfamiliar(ValueSpread())
    one = LinearModel([[1.0]], [[0.1]])
    one.build(TASK)
    with pytest.raises(UnsupportedError, match="needs 2 members and there is 1; raise members"):
        HaltUnfamiliar(MaxPairwiseDistance()).check(one)
    model = WalkModel()
    model.build(TASK)
    with pytest.raises(NotBuiltError, match=r"HaltUnfamiliar: expected a fit before rollouts, .* got none; have the"):
        imagine(model, data(), 1, hooks=[HaltUnfamiliar()])
    assert isinstance(made(rollout_hooks=[HaltUnfamiliar()]).rollout_hooks[0].measure, MaxPairwiseDistance)  # type: ignore[attr-defined]
