"""What the members' disagreement is worth: in rollouts, batches, UP-MPC and plans; and planners without critics."""

from __future__ import annotations

import statistics
from collections import defaultdict
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.data import ModelStep, Prediction, Transitions, make_generator
from mbrl.errors import CheckpointError, ConfigError, ShapeError, UnsupportedError
from mbrl.planners import (
    UPMPC,
    BatchContext,
    BatchHook,
    BatchPenalty,
    RolloutContext,
    RolloutHook,
    UncertaintyBonus,
    UncertaintyPenalty,
    check_measure,
)
from mbrl.planners.rollouts.imagination import Imagination
from mbrl.planners.rollouts.selectors import PolicySample
from mbrl.policies import SAC
from mbrl.testing import LinearModel, NoScalarReadback, linear_task
from mbrl.uncertainty import MeanDisagreement, SampleSpread, UncertaintyMeasure, ValueSpread
from tests.planners.exact_models import WALK, WalkModel
from tests.planners.rollouts.test_imagination import NoisyPolicy
from tests.planners.rollouts.test_penalties import LINEAR, model
from tests.planners.rollouts.test_up_mpc import situation
from tests.planners.test_dyna import dyna, run
from tests.planners.test_pets import pets

SD = statistics.stdev([-0.2, 0.0, 0.2])  # of what members that are off by these expect of a value that is the sum


class Sum:
    """V = 1,000 + the sum of the observation's dims."""

    def value(self, obs: Tensor) -> Tensor:
        return 1000 + obs.sum(-1)[None]


class Walk(WalkModel):
    """The walk, whose three members disagree on where it leads by −0.2, 0 and 0.2, and agree on the reward −s²."""

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        off, mean = 0.2 * (torch.arange(3) - 1.0), obs + 0.1 * action
        mean = mean + (off.view(3, *[1] * mean.ndim) if member is None else off[member].unsqueeze(-1))
        reward = -obs[..., 0].square().expand(mean.shape[:-1])
        return Prediction(mean, torch.zeros_like(mean), reward, torch.zeros_like(reward))

    def refit(self, rows: Transitions, generator: torch.Generator, value: Any = None) -> dict[str, float | Tensor]:
        return {}


def imagined(*hooks: RolloutHook, drop: bool = True, report: Any = None, ends: bool = False) -> Transitions:
    """Four steps from 50 states of a linear system whose members are off by −0.2, 0, 0.2 in each of two dims."""
    task = linear_task(ends=ends)
    dynamics = LinearModel(noise=1.0 if ends else 0.0, members=3, spread=0.2)
    dynamics.build(task)
    obs = torch.rand(50, task.obs_size, generator=make_generator("cpu", "starts")) * 2 - 1
    stored: list[Transitions] = []
    told = {} if report is None else {"report": report}
    rollouts = Imagination(dynamics, NoisyPolicy(), PolicySample(), hooks, 3, 30, drop, Sum(), **told)
    rollouts.run(Transitions.from_obs(obs, task.action_size), 4, 0, stored.append)
    return Transitions.cat(stored)


# rollouts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hook", "sign"), [(UncertaintyPenalty, -1.0), (UncertaintyBonus, 1.0)])
def test_rollouts_are_penalised_for_values_that_are_uncertain(hook: type[UncertaintyPenalty], sign: float) -> None:
    plain, changed = imagined(), imagined(hook(ValueSpread(samples=2), weight=3.0))
    assert torch.allclose(changed.reward, plain.reward + sign * 3 * 2 * SD, atol=2e-3)  # float32 of values near 1,000
    assert torch.equal(changed.next_obs, plain.next_obs) and torch.equal(changed.action, plain.action)


def test_dyna_gives_its_critics_to_rollouts_and_batches() -> None:
    """Recorder's value is the sum; the rewards of real rows stay as they are."""
    hooks: dict[str, Any] = {
        "rollout_hooks": [UncertaintyPenalty(ValueSpread(), weight=1.0)],
        "batch_hooks": [BatchPenalty(ValueSpread(), weight=10.0)],
    }
    plain, changed = (dyna(dynamics=Walk(), batch_size=16, real_ratio=0.25, **options) for options in ({}, hooks))
    for planner in (plain, changed):
        run(planner, 22)
    off = plain.learner.batches[-1].reward - changed.learner.batches[-1].reward
    assert torch.allclose(off[:4], torch.zeros(4)) and torch.allclose(off[4:], torch.tensor(11 * SD), atol=1e-4)
    assert torch.equal(plain.learner.batches[-1].next_obs, changed.learner.batches[-1].next_obs)
    kept = changed.model_buffer.all().reward
    assert torch.allclose(plain.model_buffer.all().reward - kept, torch.tensor(SD), atol=1e-4)  # the buffer's own: once


@pytest.mark.check("offline-9.2")
def test_without_a_weight_rewards_are_the_same_bit_for_bit() -> None:
    idle = {"rollout_hooks": [UncertaintyPenalty(ValueSpread(), 0.0)], "batch_hooks": [BatchPenalty(ValueSpread(), 0.0)]}
    plain, changed = (dyna(dynamics=Walk(), batch_size=16, **options) for options in ({}, idle))
    for planner in (plain, changed):
        run(planner, 22)
    for before, after in zip(plain.learner.batches, changed.learner.batches, strict=True):
        assert torch.equal(before.reward, after.reward)
    assert torch.equal(plain.model_buffer.all().reward, changed.model_buffer.all().reward)


@pytest.mark.parametrize("weight", [0.0, 100.0])
def test_members_that_agree_leave_every_bit_of_training_as_it_was(weight: float) -> None:
    """Of a certain model each kind of penalty is nothing, whatever its weight."""

    def trained(*hooks: Any) -> dict[str, Tensor]:
        planner = dyna(
            dynamics=WalkModel(), batch_size=16, updates_per_step=1,
            rollout_hooks=[UncertaintyPenalty(measure, w) for measure, w in hooks],
            batch_hooks=[BatchPenalty(measure, w) for measure, w in hooks],
        )  # fmt: skip
        planner.learner = SAC(hidden=[8, 8])
        planner.build(WALK, seed=1)
        planner.make_optimizers()
        run(planner, 26)
        return dict(planner.learner.state_dict())

    plain, penalised = trained(), trained((ValueSpread(samples=2), weight))
    assert all(torch.equal(value, penalised[name]) for name, value in plain.items() if isinstance(value, Tensor))


def test_dropping_and_masking_tune_alike() -> None:
    """A weight that is tuned looks at rollouts that go on, and nobody keeps the steps of others."""

    def found(drop: bool) -> Transitions:
        hook = UncertaintyPenalty(ValueSpread(samples=1), 1.0, target=0.1, weight_lr=0.3)
        rows = imagined(hook, drop=drop, ends=True)
        assert 50 + 20 < len(rows) < 200 - 20  # many went on, and many were dropped on the way
        return rows

    dropped, masked = found(True), found(False)  # equal to rounding, which depends on the processor
    assert torch.allclose(dropped.next_obs, masked.next_obs, atol=1e-6)
    assert torch.allclose(dropped.reward, masked.reward, atol=1e-5)


def test_a_tuned_weight_is_told_and_falls_towards_its_target() -> None:
    metrics: dict[str, list[float]] = defaultdict(list)

    def report(found: Any) -> None:
        for name, value in found.items():
            metrics[name].append(value.item())

    hook = UncertaintyPenalty(ValueSpread(samples=1), 1.0, target=SD, weight_lr=0.1)
    rows = imagined(hook, report=report)
    told = metrics["penalty_weight"]
    assert len(told) == 2 * 4 and told[0] == 1.0 and told[1] == pytest.approx(torch.tensor(-0.1).exp().item())
    assert all(later < earlier for earlier, later in pairwise(told))
    plain = imagined()
    assert (plain.reward - rows.reward)[:30].tolist() == pytest.approx([2 * SD] * 30, abs=1e-3)
    imagined(UncertaintyBonus(ValueSpread(), 1.0, target=SD), report=report)
    assert len(told) == 2 * 4 and len(metrics["bonus_weight"]) == 2 * 4


# batches -------------------------------------------------------------------------------------------------------------


def context(learner: Any = None, rows: slice = slice(4, 16)) -> BatchContext:
    return BatchContext(learner or Sum(), model(noise=0.0), make_generator("cpu", "hook"), rows)


def batch() -> Transitions:
    rows = Transitions.from_obs(torch.rand(16, 2, generator=make_generator("cpu", "batch")), 1)
    rows.reward = torch.arange(16.0)
    return rows


def test_a_batch_is_penalised_by_model_and_critics_as_they_are_now() -> None:
    given, hook = batch(), BatchPenalty(ValueSpread(samples=1), weight=2.0)
    found = hook(given, context())
    assert torch.equal(given.reward, torch.arange(16.0)) and torch.equal(found.reward[:4], given.reward[:4])
    assert torch.allclose(found.reward[4:], given.reward[4:] - 2 * 2 * SD, atol=2e-3)

    class Steeper(Sum):
        def value(self, obs: Tensor) -> Tensor:
            return 3 * super().value(obs)

    assert torch.allclose(hook(given, context(Steeper())).reward[4:], given.reward[4:] - 3 * 4 * SD, atol=5e-3)
    with NoScalarReadback():
        BatchPenalty(SampleSpread(), 1.0, target=1.0)(given, context())


def test_any_measure_can_penalise_a_batch() -> None:
    found = BatchPenalty(MeanDisagreement(), weight=1.0)(batch(), context())
    assert torch.allclose(found.reward[4:], batch().reward[4:] - 0.2 * (2 / 3) ** 0.5, atol=1e-5)


def test_a_batch_without_model_rows_stays_as_it_is() -> None:
    given = batch()
    assert BatchPenalty(MeanDisagreement(), weight=1.0)(given, context(rows=slice(16, 16))) is given


def test_batch_hooks_draw_from_streams_of_their_own_and_see_where_rows_went() -> None:
    seen: list[tuple[slice, float]] = []

    class Last(BatchHook):
        """Takes the real rows away."""

        def __call__(self, batch: Transitions, context: BatchContext) -> Transitions:
            noise = torch.rand(1, generator=context.generator)  # type: ignore[arg-type]
            seen.append((context.model_rows, noise.item()))
            rows = batch.select(context.model_rows)
            context.model_rows = slice(0, len(rows))
            return rows

    plain, hooked = (
        dyna(dynamics=Walk(), batch_size=16, real_ratio=0.25, batch_hooks=hooks) for hooks in ([], [Last(), Last()])
    )
    for planner in (plain, hooked):
        run(planner, 21)
    assert [rows for rows, _ in seen[:4]] == [slice(4, 16), slice(0, 12)] * 2
    assert len({noise for _, noise in seen}) == len(seen)
    for before, after in zip(plain.learner.batches, hooked.learner.batches, strict=True):
        assert torch.equal(before.obs[4:], after.obs)  # the draws of replay are as they were
    assert {"batch hook 0", "batch hook 1"} <= set(hooked.streams.state_dict())


def test_dyna_refuses_what_a_batch_penalty_cannot_use() -> None:
    class Lone(WalkModel):
        """One member."""

        members = 1

    with pytest.raises(UnsupportedError, match=r"BatchPenalty\(measure=ValueSpread\) can't use Lone: it needs 2 members"):
        dyna(dynamics=Lone(), batch_hooks=[BatchPenalty(ValueSpread(), weight=1.0)])


# UP-MPC and plans ----------------------------------------------------------------------------------------------------


def test_up_mpc_scores_by_the_spread_of_values() -> None:
    dynamics = model(noise=0.0)
    scorer = UPMPC(1.0, candidates=3, horizon=1, uncertainty=ValueSpread(samples=1))
    with torch.no_grad():
        found = scorer.scores(situation(dynamics, n=6, task=LINEAR, value=Sum()))
        assert torch.allclose(found.uncertainty, torch.tensor(2 * SD), atol=1e-3)
        with pytest.raises(ConfigError, match="ValueSpread: expected critics"):
            scorer.scores(situation(dynamics, n=6, task=LINEAR))


def test_plans_avoid_what_the_critics_are_uncertain_of() -> None:
    options: dict[str, Any] = {"dynamics": LinearModel(noise=0.1, members=3, spread=0.2), "particles": 3}
    asked = pets(learner=SAC(hidden=[8]), uncertainty=ValueSpread(samples=2), uncertainty_rate=-1.0, **options)
    obs = torch.tensor([[0.5, 0.1], [-0.5, 0.1]])
    found, again = (asked.plan(obs, asked.memory(2, torch.Generator().manual_seed(0)), explore=False) for _ in range(2))
    assert torch.equal(found.value, again.value)
    alone = asked.plan(obs[:1], asked.memory(1, torch.Generator().manual_seed(0)), explore=False)
    assert torch.allclose(found.actions[:1], alone.actions, atol=1e-5)
    plain = pets(**options).plan(obs, asked.memory(2, torch.Generator().manual_seed(0)), explore=False)
    assert (found.value < plain.value).all()


def test_plans_without_critics_are_refused_before_training() -> None:
    with pytest.raises(UnsupportedError, match=r"^PETS\(uncertainty=ValueSpread\) needs critics .* set learner"):
        pets(dynamics=LinearModel(members=3, spread=0.2), uncertainty=ValueSpread(), uncertainty_rate=-1.0)


# measures of one's own -----------------------------------------------------------------------------------------------


class Short(UncertaintyMeasure):
    """Takes too little."""

    def __call__(self, prediction: Prediction, drawn: Tensor) -> Tensor:  # type: ignore[override]
        return prediction.mean.std(0).mean(-1)


class Renamed(UncertaintyMeasure):
    """Names its arguments as nobody else does."""

    def __call__(self, said: Prediction, members: Tensor, draw: Any = None, noise: Any = None) -> Tensor:
        return said.mean.std(0).mean(-1)


class Wide(UncertaintyMeasure):
    """Forgets the dims."""

    def __call__(self, prediction: Prediction, drawn: Tensor, sample: Any = None, generator: Any = None) -> Tensor:
        return prediction.mean.std(0)


@pytest.mark.parametrize(("measure", "got"), [(Short(), "prediction, drawn"), (Renamed(), "said, members, draw, noise")])
def test_a_measure_that_cannot_be_called_is_refused_before_training(measure: UncertaintyMeasure, got: str) -> None:
    expected = r"expected __call__\(self, prediction, drawn, sample=None, generator=None\), got __call__\(self, "
    with pytest.raises(ConfigError, match=f"^{type(measure).__name__}: {expected}{got}\\); take all four"):
        dyna(rollout_hooks=[UncertaintyPenalty(measure, weight=1.0)])


def test_a_measure_with_more_than_one_number_a_row_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"PETS\(uncertainty=Wide\): expected shape 2, got 2 x 2; .* one number per row"):
        check_measure("PETS", "uncertainty", Wide(), model())


# states of parts -----------------------------------------------------------------------------------------------------


class Counting(RolloutHook):
    """Counts its calls, and has a measure that counts, too."""

    def __init__(self, inner: RolloutHook | None = None) -> None:
        self.calls, self.inner = 0, inner

    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        self.calls += 1
        return step if self.inner is None else self.inner(step, context)

    def reset(self) -> None:
        self.calls = 0

    def state_dict(self) -> dict[str, Any]:
        return {"calls": self.calls}

    def load_state_dict(self, state: Any) -> None:
        self.calls = state["calls"]


def test_a_checkpoint_keeps_the_states_of_parts_and_of_parts_within() -> None:
    def made() -> Any:
        return dyna(rollout_hooks=[Counting(Counting()), UncertaintyPenalty(SampleSpread(), 1.0)], dynamics=Walk())

    planner, checkpoint = made(), {}
    run(planner, 20)
    planner.on_save_checkpoint(checkpoint)
    assert checkpoint["mbrl"]["parts"] == {"rollout_hooks.0": {"calls": 1}, "rollout_hooks.0.inner": {"calls": 1}}
    other = made()
    run(other, 40)
    assert other.rollout_hooks[0].calls == 3
    other.on_load_checkpoint(checkpoint)
    other.on_fit_start()
    assert (other.rollout_hooks[0].calls, other.rollout_hooks[0].inner.calls) == (1, 1)
    other.build(WALK)
    assert (other.rollout_hooks[0].calls, other.rollout_hooks[0].inner.calls) == (0, 0)


def test_a_part_that_cannot_take_its_state_back_is_refused() -> None:
    class Forgetful(Counting):
        """Saves and doesn't load."""

        load_state_dict = RolloutHook.load_state_dict

    planner, checkpoint = dyna(rollout_hooks=[Forgetful()]), {}
    planner.on_save_checkpoint(checkpoint)
    planner.on_load_checkpoint(checkpoint)
    with pytest.raises(CheckpointError, match="Forgetful: expected load_state_dict beside a non-empty state_dict"):
        planner.on_fit_start()
